//! `[servers.NAME]`: the web servers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use enclave_wire::Name;
use serde::Deserialize;
use toml::Spanned;

use crate::form::{Table, Word};
use crate::listeners::{self, Listener};
use crate::paths;
use crate::reading::{Reading, Refused};

/// A web server: one master process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// `kind`: what program it is.
    pub kind: Kind,
    /// `client`: whose credential it has. In [`Config::clients`](crate::Config::clients).
    pub client: Name,
    /// `key`: how it takes its keys.
    pub key: KeyAccess,
    /// `program`: the executable, which also tests a configuration.
    pub program: PathBuf,
    /// `config`: its main configuration file.
    pub config: PathBuf,
    /// `pid_file`: where its master's pid is. No two servers have the same.
    pub pid_file: PathBuf,
    /// `openssl_conf`: the OpenSSL configuration in its environment, where it is not the client's own.
    pub openssl_conf: Option<PathBuf>,
    /// `listeners` and `proxy_protocol`: where clients reach it. None: nobody looks at what they see.
    pub listeners: Vec<Listener>,
}

impl Server {
    /// The OpenSSL configuration that the server runs with. `directory` is where `enclave-tls-apply` writes
    /// ([`DEFAULT_DIRECTORY`](crate::DEFAULT_DIRECTORY)).
    #[must_use]
    pub fn openssl_conf(&self, directory: &Path) -> PathBuf {
        let own = directory.join("clients").join(self.client.as_str());
        match (&self.openssl_conf, self.key) {
            (Some(path), _) => path.clone(),
            (None, KeyAccess::Engine) => own.join("engine.cnf"),
            (None, KeyAccess::Provider | KeyAccess::Store) => own.join("provider.cnf"),
        }
    }
}

/// The programs that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `nginx`
    Nginx,
    /// `httpd`: Apache.
    Httpd,
    /// `haproxy`
    Haproxy,
}

impl Kind {
    /// As the file writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Httpd => "httpd",
            Self::Haproxy => "haproxy",
        }
    }

    /// As Amazon Linux has them; Debian's nginx and HAProxy have the same. Nothing is looked for: one file means one thing everywhere.
    fn defaults(self) -> Defaults {
        let (program, config, pid_file) = match self {
            Self::Nginx => ("/usr/sbin/nginx", "/etc/nginx/nginx.conf", "/run/nginx.pid"),
            Self::Httpd => ("/usr/sbin/httpd", "/etc/httpd/conf/httpd.conf", "/run/httpd/httpd.pid"),
            Self::Haproxy => ("/usr/sbin/haproxy", "/etc/haproxy/haproxy.cfg", "/run/haproxy.pid"),
        };
        Defaults {
            program,
            config,
            pid_file,
        }
    }
}

/// How a server takes its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyAccess {
    /// `provider`: a PEM file that names the key, through OpenSSL's provider.
    Provider,
    /// `engine`: OpenSSL's engine, which signs digests only. Not HAProxy.
    Engine,
    /// `store`: a `store:` URI. NGINX only.
    Store,
}

impl KeyAccess {
    /// As the file writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Engine => "engine",
            Self::Store => "store",
        }
    }
}

struct Defaults {
    program: &'static str,
    config: &'static str,
    pid_file: &'static str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    kind: Option<Word>,
    client: Option<Word>,
    key: Option<Word>,
    program: Option<Word>,
    config: Option<Word>,
    pid_file: Option<Word>,
    openssl_conf: Option<Word>,
    listeners: Option<Spanned<Vec<Word>>>,
    proxy_protocol: Option<Word>,
}

pub(crate) type Forms = BTreeMap<Word, Table<Form>>;

/// `clients` are the names that the file has, right or wrong: what is wrong with one is said once.
/// The servers that are as they should be, and whether all are.
pub(crate) fn read(
    forms: Forms,
    clients: &BTreeSet<String>,
    reading: &mut Reading,
) -> (BTreeMap<Name, Server>, Result<(), Refused>) {
    let mut servers = BTreeMap::new();
    let mut pid_files = BTreeMap::new();
    let mut outcome = Ok(());
    for (name, Table(form)) in forms {
        let at = form.pid_file.as_ref().map_or(name.span(), Spanned::span);
        match one(name, form, clients, reading) {
            Ok((name, server)) => {
                if let Some(other) = pid_files.insert(server.pid_file.clone(), name.clone()) {
                    let path = server.pid_file.display();
                    outcome = Err(reading.wrong(
                        at,
                        format!("servers {other} and {name} have the same pid_file {path}: name each server's own, or make them one server"),
                    ));
                }
                servers.insert(name, server);
            }
            Err(refused) => outcome = Err(refused),
        }
    }
    (servers, outcome)
}

fn one(name: Word, form: Form, clients: &BTreeSet<String>, reading: &mut Reading) -> Result<(Name, Server), Refused> {
    let at = name.span();
    let called = name.get_ref().escape_debug().to_string();
    let name = reading.word(name, "a server's name", crate::form::name);
    let kind = match form.kind {
        Some(kind) => reading.word(kind, "kind", kind_of),
        None => Err(reading.wrong(
            at.clone(),
            format!("[servers.{called}] has no kind: add kind = \"nginx\", \"httpd\" or \"haproxy\""),
        )),
    };
    let client = match form.client {
        Some(client) => client_of(client, clients, reading),
        None => Err(reading.wrong(
            at,
            format!("[servers.{called}] has no client: add client = \"…\", a name of [clients]"),
        )),
    };
    let key = key_of(form.key, kind.as_ref().ok().copied(), reading);
    // What a wrong kind would have had is not looked at.
    let defaults = kind.as_ref().copied().unwrap_or(Kind::Nginx).defaults();
    let program = paths::read_or(form.program, "program", defaults.program, reading);
    let config = paths::read_or(form.config, "config", defaults.config, reading);
    let pid_file = paths::read_or(form.pid_file, "pid_file", defaults.pid_file, reading);
    let openssl_conf = form
        .openssl_conf
        .map(|path| paths::read(path, "openssl_conf", reading))
        .transpose();
    let listeners = listeners::of_server(form.listeners, form.proxy_protocol, reading);
    let server = Server {
        kind: kind?,
        client: client?,
        key: key?,
        program: program?,
        config: config?,
        pid_file: pid_file?,
        openssl_conf: openssl_conf?,
        listeners: listeners?,
    };
    Ok((name?, server))
}

fn client_of(client: Word, clients: &BTreeSet<String>, reading: &mut Reading) -> Result<Name, Refused> {
    let at = client.span();
    let client = reading.word(client, "client", crate::form::name)?;
    if !clients.contains(client.as_str()) {
        return Err(reading.wrong(
            at,
            format!("there is no client {client}: add [clients.{client}], or name one that exists"),
        ));
    }
    Ok(client)
}

fn key_of(key: Option<Word>, kind: Option<Kind>, reading: &mut Reading) -> Result<KeyAccess, Refused> {
    let at = key.as_ref().map(Spanned::span);
    let key = reading.word_or(key, "key", "provider", |text| {
        [KeyAccess::Provider, KeyAccess::Engine, KeyAccess::Store]
            .into_iter()
            .find(|key| key.as_str() == text)
            .ok_or_else(|| "write provider, engine or store".to_owned())
    })?;
    let advice = match (kind, key) {
        (None | Some(Kind::Nginx), _) | (Some(_), KeyAccess::Provider) | (Some(Kind::Httpd), KeyAccess::Engine) => {
            return Ok(key);
        }
        (Some(Kind::Httpd), KeyAccess::Store) => "httpd takes no key by a store: URI: write provider or engine",
        (Some(Kind::Haproxy), KeyAccess::Engine | KeyAccess::Store) => {
            "haproxy takes its keys through the provider only: write provider"
        }
    };
    Err(reading.wrong(at.unwrap_or_default(), advice))
}

fn kind_of(text: &str) -> Result<Kind, String> {
    [Kind::Nginx, Kind::Httpd, Kind::Haproxy]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| "write nginx, httpd or haproxy".to_owned())
}
