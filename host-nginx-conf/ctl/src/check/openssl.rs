//! The OpenSSL configuration that each server runs with, and what it loads.

use std::path::Path;

use enclave_tls_config::{KeyAccess, Server};
use enclave_wire::Name;

use super::{Context, Finding, read_text, rights};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let all = context.config.servers.iter();
    all.flat_map(|(name, server)| of_server(context, name, server))
        .collect()
}

fn of_server(context: &Context<'_>, name: &Name, server: &Server) -> Vec<Finding> {
    let path = server.openssl_conf(&context.options.base);
    if rights::is_denied(&path) {
        return Vec::new();
    }
    let Some(text) = read_text(&path) else {
        return vec![match &server.openssl_conf {
            Some(_) => Finding::error(
                AREA,
                format!("{name}: {} is not there", path.display()),
                format!("write it, or remove openssl_conf under [servers.{name}]: then one is written for you"),
            ),
            None => Finding::warning(
                AREA,
                format!("{name}: {} is not there yet", path.display()),
                "start the agent, which has enclave-tls-apply write it",
            ),
        }];
    };
    if !text.contains(MODULE) {
        return vec![Finding::error(
            AREA,
            format!("{name}: {} does not load {MODULE}", path.display()),
            format!(
                "take {}/{} for an example, or remove openssl_conf under [servers.{name}]",
                "clients/CLIENT",
                file(server)
            ),
        )];
    }
    let mut findings = vec![Finding::ok(AREA, format!("{name}: {}", path.display()))];
    findings.extend(values(&text).filter(|value| !Path::new(value).exists()).map(|missing| {
        Finding::error(
            AREA,
            format!("{name}: {} names {missing}, which is not there", path.display()),
            install(server.key, missing),
        )
    }));
    findings
}

/// The paths that it loads.
fn values(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let loads = matches!(
            key.trim(),
            "module" | "pkcs11-module-path" | "dynamic_path" | "MODULE_PATH"
        );
        loads.then(|| value.trim())
    })
}

fn install(key: KeyAccess, missing: &str) -> String {
    match (missing.contains(MODULE), key) {
        (true, _) => "install the package enclave-tls".to_owned(),
        (false, KeyAccess::Provider | KeyAccess::Store) => {
            "install pkcs11-provider (Amazon Linux and Fedora: dnf install pkcs11-provider; Debian: apt install pkcs11-provider)".to_owned()
        }
        (false, KeyAccess::Engine) => {
            "install libp11's engine (Amazon Linux: dnf install openssl-pkcs11; Debian: apt install libengine-pkcs11-openssl)".to_owned()
        }
    }
}

fn file(server: &Server) -> &'static str {
    match server.key {
        KeyAccess::Engine => "engine.cnf",
        KeyAccess::Provider | KeyAccess::Store => "provider.cnf",
    }
}

const AREA: &str = "openssl";
const MODULE: &str = "libenclave_tls_pkcs11";
