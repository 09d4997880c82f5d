//! What goes into the bundle: the closed list, and the one way in.

use std::path::{Path, PathBuf};

use enclave_tls_config::{Config, Kind};
use enclave_tls_nitro::NitroCli;
use enclave_wire::credential::PREFIX;

use super::Options;
use crate::colour::Painter;
use crate::commands::{Session, line_text, newest_lines, status_report};
use crate::{check, programs};
use enclave_tls_admin::files;

/// A file of the bundle.
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) text: String,
}

/// What may be in it. Whatever is added here must hold no secret by its form, and needs a line in the command's help.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    /// The report of `status`.
    Status,
    /// The inventory, out of that report.
    Certificates,
    /// The newest lines that the agent keeps. The log says no secret.
    Logs,
    /// config.toml, which has none: keys and credentials are in files of their own, and AWS's come from elsewhere.
    Configuration,
    /// The parent's policy.
    Policy,
    /// The findings of `check`.
    Check,
    /// Of this program, agent, service, nitro-cli, servers, OpenSSL, kernel and distribution.
    Versions,
    /// `pkcs11.toml`, `provider.cnf` or `engine.cnf` of a client. Its `credential` is not among them.
    OfClient { client: String, file: &'static str },
}

/// The only files of a client that are no secret and of use.
const OF_CLIENTS: [&str; 3] = ["pkcs11.toml", "provider.cnf", "engine.cnf"];

/// All of it. What cannot be had is said in its place: why it cannot is often what helps.
pub(super) fn gather(session: &Session, options: &Options) -> Vec<Piece> {
    let config = Config::load(&options.config).ok();
    let mut items = vec![
        Item::Status,
        Item::Certificates,
        Item::Logs,
        Item::Configuration,
        Item::Policy,
        Item::Check,
        Item::Versions,
    ];
    for client in config.iter().flat_map(|config| config.clients.keys()) {
        items.extend(OF_CLIENTS.map(|file| Item::OfClient {
            client: client.to_string(),
            file,
        }));
    }
    let piece = |item: &Item| Piece {
        name: item.name(),
        text: kept_or_refused(item.text(session, options, config.as_ref())),
    };
    items.iter().map(piece).collect()
}

impl Item {
    fn name(&self) -> String {
        match self {
            Self::Status => "status.json".to_owned(),
            Self::Certificates => "certificates.json".to_owned(),
            Self::Logs => "logs.txt".to_owned(),
            Self::Configuration => "config.toml".to_owned(),
            Self::Policy => "policy.toml".to_owned(),
            Self::Check => "check.json".to_owned(),
            Self::Versions => "versions.txt".to_owned(),
            Self::OfClient { client, file } => format!("clients/{client}/{file}"),
        }
    }

    fn text(&self, session: &Session, options: &Options, config: Option<&Config>) -> String {
        match self {
            Self::Status => match status_report(session) {
                Ok(status) => json(&status),
                Err(error) => format!("{error}\n"),
            },
            Self::Certificates => match status_report(session) {
                Ok(status) => json(&status.agent().certificates),
                Err(error) => format!("{error}\n"),
            },
            Self::Logs => match newest_lines(&session.client) {
                Ok(lines) => lines.iter().map(|line| line_text(line, Painter::never())).collect(),
                Err(error) => format!("{error}\n"),
            },
            Self::Configuration => file(&options.config),
            Self::Policy => match config.and_then(|config| config.enclave.policy.as_deref()) {
                Some(path) => file(path),
                None => "[enclave] names none\n".to_owned(),
            },
            Self::Check => json(&check::look(&check::Options {
                config: options.config.clone(),
                image_policy: None,
                online: false,
                role: None,
                base: options.base.clone(),
                root: PathBuf::from("/"),
            })),
            Self::Versions => versions(config),
            Self::OfClient { client, file: name } => file(&options.base.join("clients").join(client).join(name)),
        }
    }
}

/// The last look, should an item ever hold what none may: an administrator can paste a key into any file.
fn kept_or_refused(text: String) -> String {
    let secrets = ["PRIVATE KEY-----", PREFIX, "aws_secret_access_key", "aws_session_token"];
    match secrets.iter().find(|secret| text.contains(**secret)) {
        None => text,
        Some(_) => {
            "left out: it holds what looks like a private key or a credential; find out how it came there\n".to_owned()
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    match serde_json::to_string_pretty(value) {
        Ok(text) => text + "\n",
        Err(error) => format!("{error}\n"),
    }
}

fn file(path: &Path) -> String {
    match files::read_public(path, MAX_FILE) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("{}: {error}\n", path.display()),
    }
}

fn versions(config: Option<&Config>) -> String {
    let mut text = format!("enclave-tlsctl {}\n", env!("CARGO_PKG_VERSION"));
    let mut add = |what: &str, said: &str| text.push_str(&format!("\n== {what}\n{}\n", said.trim_end()));
    if let Some(config) = config {
        let said = NitroCli::new(&config.enclave.nitro_cli).version();
        add("nitro-cli --version", &said.unwrap_or_else(|error| error.to_string()));
        for (name, server) in &config.servers {
            let asks = match server.kind {
                Kind::Nginx | Kind::Httpd => "-V",
                Kind::Haproxy => "-vv",
            };
            add(
                &format!("server {name}: {} {asks}", server.program.display()),
                &programs::output(&server.program, &[asks]),
            );
        }
    }
    add(
        "openssl version -a",
        &programs::output(Path::new("/usr/bin/openssl"), &["version", "-a"]),
    );
    add("kernel", &file(Path::new("/proc/version")));
    add("distribution", &file(Path::new("/etc/os-release")));
    text
}

/// A configuration of 10,000 certificates.
const MAX_FILE: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_came_into_a_file_does_not_leave_with_it() {
        for secret in [
            "x\n-----BEGIN PRIVATE KEY-----\nAAAA\n",
            "-----BEGIN RSA PRIVATE KEY-----",
            &format!("{PREFIX}00"),
            "aws_secret_access_key = x",
        ] {
            assert!(kept_or_refused(secret.to_owned()).starts_with("left out"), "{secret}");
        }
        assert_eq!(kept_or_refused("image = \"x\"\n".to_owned()), "image = \"x\"\n");
    }

    #[test]
    fn no_item_is_a_credential() {
        assert!(!OF_CLIENTS.contains(&"credential"));
    }
}
