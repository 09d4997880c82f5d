//! NGINX servers beside the lab's, to measure them against: with keys elsewhere, or with other counts of workers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::place::WORKERS;
use super::ports::Ports;
use super::state::Key;
use super::template::Template;
use super::{Lab, MODULE_CONFIG, TOKEN, nginx};
use crate::paths::Paths;
use crate::process::{self, Identity};

/// One of them, ended when this is dropped.
pub(crate) struct Peer {
    /// Its master.
    pub(crate) pid: u32,
    pub(crate) sites: Vec<Site>,
}

/// A key that it serves.
pub(crate) struct Site {
    pub(crate) key: Key,
    pub(crate) port: u16,
}

/// What it is.
pub(crate) struct Plan<'a> {
    /// Its name, which no other has.
    pub(crate) name: String,
    pub(crate) workers: usize,
    pub(crate) client: Client,
    /// Where its keys are.
    pub(crate) token: &'a Token,
    pub(crate) keys: Vec<Key>,
}

/// How it takes its keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    File,
    Engine,
    Provider,
}

/// A PKCS#11 module and what its keys are found by.
pub(crate) struct Token {
    pub(crate) module: PathBuf,
    /// Where our own module's configuration is; another reads none.
    pub(crate) config: Option<PathBuf>,
    pub(crate) softhsm: Option<OfSoftHsm>,
}

/// Of a token of SoftHSM2.
pub(crate) struct OfSoftHsm {
    /// How its configuration is found.
    pub(crate) variables: [(String, String); 2],
    pub(crate) token: &'static str,
    pub(crate) pin: &'static str,
}

impl Token {
    /// The lab's own.
    pub(crate) fn of_lab(lab: &Lab) -> Self {
        Self {
            module: lab.description.module.clone(),
            config: Some(lab.place.client(WORKERS, "pkcs11.toml")),
            softhsm: None,
        }
    }

    /// The same, through another address of the service's signing plane: in a file of its own, that workers may read.
    pub(crate) fn through(lab: &Lab, name: &str, address: &str) -> Result<Self> {
        let own = lab.place.client(WORKERS, "pkcs11.toml");
        let text = fs::read_to_string(&own)?;
        let ours = format!("\"{}\"", lab.description.signing);
        ensure!(text.contains(&ours), "{} does not name {ours}", own.display());
        let config = own.with_file_name(format!("pkcs11-{name}.toml"));
        fs::write(&config, text.replace(&ours, &format!("\"{address}\"")))?;
        Ok(Self {
            config: Some(config),
            ..Self::of_lab(lab)
        })
    }

    /// RFC 7512.
    fn uri(&self, key: &Key) -> String {
        match &self.softhsm {
            Some(OfSoftHsm { token, pin, .. }) => {
                format!("pkcs11:token={token};object={};type=private?pin-value={pin}", key.label)
            }
            None => {
                let id: Vec<_> = key.id.as_bytes().chunks(2).map(String::from_utf8_lossy).collect();
                format!("pkcs11:token={TOKEN};id=%{};type=private", id.join("%"))
            }
        }
    }

    fn environment(&self) -> Vec<(String, String)> {
        let config = self.config.iter();
        let config = config.map(|path| (MODULE_CONFIG.to_owned(), path.display().to_string()));
        let softhsm = self.softhsm.iter().flat_map(|softhsm| softhsm.variables.clone());
        config.chain(softhsm).collect()
    }
}

impl Peer {
    /// Starts it.
    pub(crate) fn start(paths: &Paths, lab: &Lab, plan: Plan<'_>) -> Result<Self> {
        let prepared = Prepared::write(paths, lab, plan)?;
        let name = &prepared.name;
        process::run(&mut prepared.command()).with_context(|| format!("{name} does not start"))?;
        let mut pid = None;
        process::wait_until(Duration::from_secs(5), || {
            let text = fs::read_to_string(&prepared.pid_file).ok();
            pid = text.and_then(|text| text.trim().parse().ok());
            pid.is_some()
        });
        let pid = pid.with_context(|| format!("{name} has written no pid"))?;
        Ok(Self {
            pid,
            sites: prepared.sites,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended.
        if let Some(master) = Identity::of(self.pid) {
            drop(master.end(Duration::from_secs(5)));
        }
    }
}

/// One that has all its files and does not run.
pub(crate) struct Prepared {
    name: String,
    words: Vec<String>,
    environment: Vec<(String, String)>,
    pid_file: PathBuf,
    sites: Vec<Site>,
}

impl Prepared {
    /// Writes its files.
    pub(crate) fn write(paths: &Paths, lab: &Lab, plan: Plan<'_>) -> Result<Self> {
        let place = &lab.place;
        let mut ports = Ports::find(plan.keys.len())?;
        let (mut blocks, mut sites) = (String::new(), Vec::new());
        for key in &plan.keys {
            let port = ports.take()?;
            let where_it_is = key_of(&plan, key, &place.public(&key.label, &format!("{}.pem", plan.name)))?;
            blocks.push_str(&format!(
                "server {{\nlisten 127.0.0.1:{port} ssl;\nserver_name {};\nssl_certificate {};\nssl_certificate_key \"{where_it_is}\";\n\
                 location / {{ return 200 \"{}\\n\"; }}\n}}\n",
                key.name,
                key.chain.display(),
                plan.name
            ));
            sites.push(Site { key: key.clone(), port });
        }
        drop(ports);
        let snippets = paths.snippets();
        let files = nginx::write(place, &snippets, &plan.name, &blocks, nginx::Level::Default)?;
        let mut environment = plan.token.environment();
        let lines: String = environment.iter().map(|(name, _)| format!("env {name};\n")).collect();
        let text = fs::read_to_string(&files.conf)?;
        let ours = "worker_processes 2;";
        ensure!(text.contains(ours), "the configuration has another count of workers");
        fs::write(
            &files.conf,
            lines + &text.replace(ours, &format!("worker_processes {};", plan.workers)),
        )?;
        if let Some(name) = plan.client.openssl() {
            let file = files.conf.with_file_name("openssl.cnf");
            fs::write(&file, plan.openssl(&snippets.join(name))?)?;
            environment.push((OPENSSL_CONF.to_owned(), file.display().to_string()));
        }
        Ok(Self {
            words: nginx::words(&files),
            name: plan.name,
            environment,
            pid_file: files.pid_file,
            sites,
        })
    }

    /// Starts it.
    fn command(&self) -> Command {
        let mut command = Command::new(nginx::PROGRAM);
        command.args(self.words.iter().skip(1));
        command.env_remove(OPENSSL_CONF).envs(self.environment.clone());
        command
    }

    /// Its command as an administrator tries it: it reads its configuration, takes its keys and ends.
    pub(crate) fn test(&self) -> Command {
        let mut command = self.command();
        command.args(["-t", "-q"]);
        command
    }
}

impl Plan<'_> {
    /// The configuration of its OpenSSL, from the one that users copy.
    fn openssl(&self, snippet: &Path) -> Result<String> {
        let mut template = Template::read(snippet)?;
        template.fill("MODULE", self.token.module.display());
        template.fill("LIBDIR", LIBDIR);
        let mut text = template.finish()?;
        if let (Client::Provider, Some(softhsm)) = (self.client, &self.token.softhsm) {
            // Its workers would ask for it on a terminal; the section of the module is the last.
            text.push_str(&format!("pkcs11-module-token-pin = {}\n", softhsm.pin));
        }
        Ok(text)
    }
}

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Engine => "engine",
            Self::Provider => "provider",
        }
    }

    fn openssl(self) -> Option<&'static str> {
        match self {
            Self::File => None,
            Self::Engine => Some("openssl/engine.cnf"),
            Self::Provider => Some("openssl/provider.cnf"),
        }
    }
}

/// What `ssl_certificate_key` says.
fn key_of(plan: &Plan<'_>, key: &Key, file: &Path) -> Result<String> {
    Ok(match plan.client {
        Client::File => key
            .private_key
            .as_deref()
            .context("no file has this key")?
            .display()
            .to_string(),
        Client::Engine => format!("engine:pkcs11:{}", plan.token.uri(key)),
        Client::Provider => {
            uri_pem(&plan.token.uri(key), file)?;
            file.display().to_string()
        }
    })
}

/// Writes a URI as pkcs11-provider reads it. The script that users have writes those of our token only.
fn uri_pem(uri: &str, file: &Path) -> Result<()> {
    let script = "printf 'asn1=SEQUENCE:uri\\n[uri]\\nabout=VISIBLESTRING:PKCS\\\\#11 Provider URI v1.0\\nuri=UTF8String:%s\\n' \"$1\" | \
                  OPENSSL_CONF=/dev/null openssl asn1parse -genconf /dev/stdin -noout -out /dev/stdout | base64 -w 64";
    let text = process::capture(Command::new("sh").args(["-c", script, "sh", uri]))?;
    let (begin, end) = (
        "-----BEGIN PKCS#11 PROVIDER URI-----",
        "-----END PKCS#11 PROVIDER URI-----",
    );
    Ok(fs::write(file, format!("{begin}\n{}\n{end}\n", text.trim()))?)
}

const OPENSSL_CONF: &str = "OPENSSL_CONF";
const LIBDIR: &str = "/usr/lib/x86_64-linux-gnu";
