//! The configuration file: what it says, line by line, and who may have changed it.

use std::io::ErrorKind;

use enclave_tls_config::permissions::{self, Owners, PermissionError};
use enclave_tls_config::{Config, ConfigError};

use super::{Finding, Options, rights};

/// What the file says, where it can be used.
pub(super) fn look(options: &Options) -> (Option<Config>, Vec<Finding>) {
    let path = &options.config;
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return (None, refused(options, &error)),
    };
    let mut findings = vec![Finding::ok(
        AREA,
        format!(
            "{}: {} certificates, {} servers, {} clients",
            path.display(),
            config.certificates.len(),
            config.servers.len(),
            config.clients.len()
        ),
    )];
    // The agent takes it so; the helper, which is root, does not.
    if let Err(error) = permissions::check(path, Owners::Root) {
        findings.push(Finding::error(
            AREA,
            format!("enclave-tls-apply will refuse it, since not only root can change it: {error}"),
            format!("chown root:root {0} && chmod 0644 {0}", path.display()),
        ));
    }
    findings.extend(nothing_to_do(&config));
    (Some(config), findings)
}

fn refused(options: &Options, error: &ConfigError) -> Vec<Finding> {
    let path = options.config.display();
    let again = format!("enclave-tlsctl check --config {path}");
    match error {
        ConfigError::Permission(PermissionError::Read(at, _)) if rights::is_denied(at) => {
            vec![rights::refused(options)]
        }
        ConfigError::Permission(PermissionError::Read(_, why)) if why.kind() == ErrorKind::NotFound => {
            let write =
                format!("write {path}, as the file that comes with the package shows, or name another by --config");
            vec![Finding::error(AREA, error.to_string(), write)]
        }
        ConfigError::Permission(error) => vec![Finding::error(AREA, error.to_string(), again)],
        ConfigError::Wrong { problems, .. } => problems
            .iter()
            .map(|problem| {
                let found = format!("{path}:{}: {}", problem.line, problem.message);
                Finding::error(
                    AREA,
                    found,
                    format!("edit line {} of {path}, then: {again}", problem.line),
                )
            })
            .collect(),
        other => vec![Finding::error(AREA, other.to_string(), again)],
    }
}

fn nothing_to_do(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.certificates.is_empty() {
        findings.push(Finding::warning(
            AREA,
            "there is no certificate, so the enclave will have nothing to do",
            "add [[certificates]] to config.toml; the file that comes with the package shows one",
        ));
    }
    let idle = config
        .servers
        .keys()
        .filter(|name| config.certificates_of(name).next().is_none());
    findings.extend(idle.map(|name| {
        Finding::warning(
            AREA,
            format!("server {name} serves no certificate"),
            format!("add \"{name}\" to the servers of a certificate, or remove [servers.{name}]"),
        )
    }));
    findings
}

const AREA: &str = "configuration";
