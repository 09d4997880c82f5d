//! The units of web servers: whether each is started with its OpenSSL configuration. And SELinux, which has a say in both.

use std::path::Path;

use enclave_tls_config::{Kind, Server};
use enclave_wire::Name;

use super::{Context, Finding, read_text};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let all = context.config.servers.iter();
    let mut findings: Vec<_> = all.map(|(name, server)| of_server(context, name, server)).collect();
    findings.extend(selinux(context));
    findings
}

fn of_server(context: &Context<'_>, name: &Name, server: &Server) -> Finding {
    let wanted = server.openssl_conf(&context.options.base);
    let units = units(server.kind);
    let said = units.iter().find_map(|unit| environment(context, unit));
    match said {
        Some(path) if Path::new(&path) == wanted => {
            Finding::ok(AREA, format!("{name}: its unit sets OPENSSL_CONF={path}"))
        }
        Some(path) => Finding::warning(
            AREA,
            format!(
                "{name}: its unit sets OPENSSL_CONF={path}, and the configuration wants {}",
                wanted.display()
            ),
            format!("correct the unit, or set openssl_conf = \"{path}\" under [servers.{name}]"),
        ),
        None => {
            let unit = installed(context, units);
            let wanted = wanted.display();
            Finding::warning(
                AREA,
                format!(
                    "{name}: no unit of {unit} sets OPENSSL_CONF, so a server that systemd starts does not find its keys"
                ),
                format!(
                    "mkdir -p /etc/systemd/system/{unit}.d && printf '[Service]\\nEnvironment=OPENSSL_CONF=%s\\n' {wanted} \
                     > /etc/systemd/system/{unit}.d/enclave-tls.conf && systemctl daemon-reload; restart {unit} once its certificates are live"
                ),
            )
        }
    }
}

/// What a unit's files set it to. The last one counts, as for systemd.
fn environment(context: &Context<'_>, unit: &str) -> Option<String> {
    let mut files = Vec::new();
    for directory in UNITS {
        files.push(context.machine_file(&format!("{directory}/{unit}")));
        let drop_ins = context.machine_file(&format!("{directory}/{unit}.d"));
        let entries = std::fs::read_dir(drop_ins).into_iter().flatten().flatten();
        let mut drop_ins: Vec<_> = entries.map(|entry| entry.path()).collect();
        drop_ins.sort();
        files.extend(
            drop_ins
                .into_iter()
                .filter(|path| path.extension().is_some_and(|end| end == "conf")),
        );
    }
    files
        .iter()
        .filter_map(|path| read_text(path))
        .filter_map(|text| set_in(&text))
        .next_back()
}

fn set_in(text: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.trim().strip_prefix("Environment="));
    let words = values.flat_map(|value| value.split_whitespace().map(|word| word.trim_matches(['"', '\''])));
    words
        .filter_map(|word| word.strip_prefix("OPENSSL_CONF="))
        .next_back()
        .map(str::to_owned)
}

fn units(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Nginx => &["nginx.service"],
        Kind::Httpd => &["httpd.service", "apache2.service"],
        Kind::Haproxy => &["haproxy.service"],
    }
}

/// The one of them that this machine has.
fn installed(context: &Context<'_>, units: &'static [&'static str]) -> &'static str {
    let exists = |unit: &&&str| {
        UNITS
            .iter()
            .any(|directory| context.machine_file(&format!("{directory}/{unit}")).exists())
    };
    units
        .iter()
        .find(exists)
        .or(units.first())
        .copied()
        .unwrap_or("the server")
}

fn selinux(context: &Context<'_>) -> Option<Finding> {
    let enforces = context
        .machine_text("/sys/fs/selinux/enforce")
        .is_some_and(|text| text.trim() == "1");
    enforces.then(|| {
        Finding::ok(
            "SELinux",
            "it enforces: where a handshake fails for no other reason, `ausearch -m avc -ts recent` says what it refused the web server",
        )
    })
}

const AREA: &str = "systemd";
/// The weakest first.
const UNITS: [&str; 3] = ["/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_found_among_others() {
        assert_eq!(
            set_in("[Service]\nEnvironment=A=1 \"OPENSSL_CONF=/x\"\n").as_deref(),
            Some("/x")
        );
        assert_eq!(
            set_in("Environment=OPENSSL_CONF=/x\nEnvironment=OPENSSL_CONF=/y\n").as_deref(),
            Some("/y")
        );
        assert_eq!(set_in("#Environment=OPENSSL_CONF=/x\n"), None);
    }
}
