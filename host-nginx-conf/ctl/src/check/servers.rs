//! Web servers: their programs and configuration, and whether it names the certificates that they shall serve.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use enclave_tls_config::{Certificate, KeyAccess, Kind, Server};
use enclave_wire::Name;

use super::finding::names;
use super::server_files::ServerFiles;
use super::{Context, Finding, rights};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let all = context.config.servers.iter();
    all.flat_map(|(name, server)| of_server(context, name, server))
        .collect()
}

fn of_server(context: &Context<'_>, name: &Name, server: &Server) -> Vec<Finding> {
    let mut findings = vec![program(name, server)];
    let files = ServerFiles::read(server);
    if rights::is_denied(&server.config) {
        return findings;
    }
    if !files.is_readable {
        findings.push(Finding::error(
            AREA,
            format!("{name}: {} is not there", server.config.display()),
            format!("correct config under [servers.{name}] in config.toml"),
        ));
        return findings;
    }
    findings.extend(environment(name, server, &files));
    let certificates: Vec<_> = context.config.certificates_of(name).collect();
    let missing: Vec<_> = certificates
        .iter()
        .filter(|one| !files.named.contains_key(one.name.as_str()))
        .collect();
    if let Some(first) = missing.first() {
        findings.push(Finding::warning(
            AREA,
            format!(
                "{name}: {} does not name {}",
                server.config.display(),
                names(missing.iter().map(|one| one.name.as_str()))
            ),
            edit(&context.options.base, server, first),
        ));
    }
    findings.extend(
        certificates
            .iter()
            .filter_map(|one| wrong_file(name, server, one, &files)),
    );
    if missing.is_empty() && !certificates.is_empty() {
        findings.push(Finding::ok(
            AREA,
            format!(
                "{name}: its configuration names all its {} certificates",
                certificates.len()
            ),
        ));
    }
    findings
}

fn program(name: &Name, server: &Server) -> Finding {
    let is_program = std::fs::metadata(&server.program)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    match is_program {
        true => Finding::ok(AREA, format!("{name}: {}", server.program.display())),
        false => Finding::error(
            AREA,
            format!("{name}: {} is no program", server.program.display()),
            format!(
                "install {0}, or correct program under [servers.{name}] in config.toml",
                server.kind.as_str()
            ),
        ),
    }
}

/// NGINX takes every variable from its workers that its configuration does not name.
fn environment(name: &Name, server: &Server, files: &ServerFiles) -> Option<Finding> {
    match server.kind {
        Kind::Httpd | Kind::Haproxy => None,
        Kind::Nginx => match files.environment.contains("OPENSSL_CONF") {
            true => None,
            false => Some(Finding::error(
                AREA,
                format!(
                    "{name}: {} has no `env OPENSSL_CONF;`, so its workers lose the variable",
                    server.config.display()
                ),
                format!(
                    "add the line `env OPENSSL_CONF;` at the top of {}, outside of every block",
                    server.config.display()
                ),
            )),
        },
    }
}

/// A snippet for another way to the key.
fn wrong_file(name: &Name, server: &Server, certificate: &Certificate, files: &ServerFiles) -> Option<Finding> {
    let named = files.named.get(certificate.name.as_str())?;
    let wanted = snippet(server);
    let other = SNIPPETS
        .iter()
        .find(|file| **file != wanted && named.contains(**file))?;
    (!named.contains(wanted)).then(|| {
        Finding::warning(
            AREA,
            format!(
                "{name}: includes {other} of {}, and key = \"{}\" needs {wanted}",
                certificate.name,
                server.key.as_str()
            ),
            format!(
                "name live/{}/{wanted} in its configuration, or correct key under [servers.{name}]",
                certificate.name
            ),
        )
    })
}

/// The edit that serves a certificate.
fn edit(base: &Path, server: &Server, certificate: &Certificate) -> String {
    let path = base.join("live").join(certificate.name.as_str()).join(snippet(server));
    let path = path.display();
    match server.kind {
        Kind::Nginx => format!("add `include {path};` to its server block"),
        Kind::Httpd => format!("add `Include {path}` to its <VirtualHost>"),
        Kind::Haproxy => format!("add `crt {path}` to its bind line"),
    }
}

fn snippet(server: &Server) -> &'static str {
    match (server.kind, server.key) {
        (Kind::Nginx, KeyAccess::Provider) => "nginx.conf",
        (Kind::Nginx, KeyAccess::Engine) => "nginx-engine.conf",
        (Kind::Nginx, KeyAccess::Store) => "nginx-store.conf",
        (Kind::Httpd, KeyAccess::Engine) => "httpd-engine.conf",
        (Kind::Httpd, KeyAccess::Provider | KeyAccess::Store) => "httpd.conf",
        (Kind::Haproxy, _) => "haproxy.pem",
    }
}

const AREA: &str = "servers";
const SNIPPETS: [&str; 6] = [
    "nginx.conf",
    "nginx-engine.conf",
    "nginx-store.conf",
    "httpd.conf",
    "httpd-engine.conf",
    "haproxy.pem",
];
