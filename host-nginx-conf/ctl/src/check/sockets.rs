//! Where sockets and state will be: that the directories are there, and nobody else's.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use enclave_tls_config::Metrics;
use enclave_wire::address::Address;

use super::{Context, Finding};

pub(super) fn look(context: &Context<'_>) -> Vec<Finding> {
    let (agent, enclave) = (&context.config.agent, &context.config.enclave);
    let metrics = match &agent.metrics {
        Metrics::Unix(path) => Some(path.as_path()),
        Metrics::None | Metrics::Loopback(_) => None,
    };
    let planes = [&enclave.control, &enclave.egress, &enclave.logs].map(|address| match address {
        Address::UnixPath(path) => Some(Path::new(path)),
        Address::UnixAbstract(_) | Address::Vsock { .. } => None,
    });
    let sockets = [
        Some(agent.admin_socket.as_path()),
        Some(agent.apply_socket.as_path()),
        metrics,
    ];
    let all: Vec<_> = sockets.into_iter().chain(planes).flatten().collect();
    let mut findings: Vec<_> = all.iter().filter_map(|path| directory(path)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(AREA, "every socket has its directory"));
    }
    findings.push(state(&agent.state));
    findings
}

fn directory(socket: &Path) -> Option<Finding> {
    let directory = socket.parent().unwrap_or(Path::new("/"));
    if directory == Path::new(RUN) || directory.is_dir() {
        return None;
    }
    Some(Finding::error(
        AREA,
        format!("{} has no directory {}", socket.display(), directory.display()),
        format!(
            "install -d -o enclave-tls -g enclave-tls -m 0750 {}",
            directory.display()
        ),
    ))
}

/// Sealed states, verifiers, kept keys.
fn state(path: &Path) -> Finding {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() && found.mode() & 0o077 == 0 => {
            Finding::ok(AREA, format!("{} is the agent's alone", path.display()))
        }
        Ok(found) if found.is_dir() => Finding::error(
            AREA,
            format!(
                "{} has mode {:04o}, and what is in it is secret",
                path.display(),
                found.mode() & 0o7777
            ),
            format!("chmod 0700 {}", path.display()),
        ),
        Ok(_) => Finding::error(
            AREA,
            format!("{} is no directory", path.display()),
            "correct state under [agent] in config.toml",
        ),
        Err(_) if path == Path::new(STATE) => Finding::ok(AREA, format!("{STATE} is made when the agent starts")),
        Err(error) => Finding::warning(
            AREA,
            format!("{}: {error}", path.display()),
            format!("install -d -o enclave-tls -g enclave-tls -m 0700 {}", path.display()),
        ),
    }
}

const AREA: &str = "sockets";
/// systemd makes these when the units start.
const RUN: &str = "/run/enclave-tls";
const STATE: &str = "/var/lib/enclave-tls";
