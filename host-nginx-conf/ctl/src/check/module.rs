//! The PKCS#11 module: that it is installed, that its own configuration is one, and that no other program loads it.

use std::path::Path;

use enclave_tls_pkcs11::config::Config;
use enclave_wire::Name;

use super::{Context, Finding, read_text, rights};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = vec![installed(context)];
    findings.extend(
        context
            .config
            .clients
            .keys()
            .map(|client| configuration(context, client)),
    );
    findings.extend(registered(context));
    findings
}

fn installed(context: &Context<'_>) -> Finding {
    let found = PLACES.iter().find(|place| context.machine_file(place).exists());
    match found {
        Some(place) => Finding::ok(AREA, *place),
        None => Finding::error(
            AREA,
            format!("libenclave_tls_pkcs11.so is in none of {}", PLACES.join(", ")),
            "install the package enclave-tls",
        ),
    }
}

/// As the module itself reads it: in a web server it refuses silently.
fn configuration(context: &Context<'_>, client: &Name) -> Finding {
    let path = context
        .options
        .base
        .join("clients")
        .join(client.as_str())
        .join("pkcs11.toml");
    if rights::is_denied(&path) {
        return not_looked_at(client);
    }
    let Some(text) = read_text(&path) else {
        return Finding::warning(
            AREA,
            format!("{} is not there yet", path.display()),
            "start the agent, which has enclave-tls-apply write it",
        );
    };
    match text.parse::<Config>() {
        Err(error) => Finding::error(
            AREA,
            format!("{}: {}", path.display(), error.to_string().trim_end()),
            format!("rm {}; enclave-tls-apply writes it again", path.display()),
        ),
        Ok(config) if !config.endpoints.contains(&context.config.enclave.signing) => Finding::warning(
            AREA,
            format!("{} names another endpoint than [enclave] signing", path.display()),
            "start the agent, which has it written again; then restart the web servers, which read it once",
        ),
        Ok(_) => credential(&path, client),
    }
}

/// Said among the rights; here nothing is said to be missing.
fn not_looked_at(client: &Name) -> Finding {
    Finding::warning(
        AREA,
        format!("the files of client {client} were not looked at"),
        rights::AS_ROOT,
    )
}

fn credential(configuration: &Path, client: &Name) -> Finding {
    let path = configuration.with_file_name("credential");
    match path.exists() {
        true => Finding::ok(
            AREA,
            format!("client {client} has its configuration and its credential"),
        ),
        false => Finding::warning(
            AREA,
            format!("client {client} has no credential yet"),
            "start the agent and the enclave, which make it; `enclave-tlsctl status` says why not",
        ),
    }
}

/// A file of p11-kit's that names the module loads it into every program that asks p11-kit for tokens.
fn registered(context: &Context<'_>) -> Vec<Finding> {
    let files = P11_KIT.iter().flat_map(|directory| {
        let entries = std::fs::read_dir(context.machine_file(directory))
            .into_iter()
            .flatten()
            .flatten();
        entries.map(|entry| entry.path())
    });
    let loads = |text: &str| text.contains("enclave_tls_pkcs11") && !text.contains("enable-in");
    files
        .filter(|path| read_text(path).is_some_and(|text| loads(&text)))
        .map(|path| {
            Finding::warning(
                AREA,
                format!(
                    "{} loads the module into every program that uses p11-kit",
                    path.display()
                ),
                format!(
                    "add `enable-in:` with the programs' names to {0}, or rm {0}",
                    path.display()
                ),
            )
        })
        .collect()
}

const AREA: &str = "module";
/// Amazon Linux, then Debian.
const PLACES: [&str; 3] = [
    "/usr/lib64/pkcs11/libenclave_tls_pkcs11.so",
    "/usr/lib/x86_64-linux-gnu/pkcs11/libenclave_tls_pkcs11.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/libenclave_tls_pkcs11.so",
];
const P11_KIT: [&str; 2] = ["/etc/pkcs11/modules", "/usr/share/p11-kit/modules"];
