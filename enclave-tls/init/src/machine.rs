//! The machine that PID 1 finds, so that a test can bring another.

use std::path::{Path, PathBuf};
use std::process::Command;

use enclave_wire::address::Address;

/// What PID 1 looks at and speaks to.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where `/proc`, `/sys`, `/dev` and the policy are.
    pub root: PathBuf,
    /// Where the planes are on a parent with this CID.
    pub planes: fn(u32) -> Planes,
    /// The service, given the policy's path and the planes.
    pub service: fn(&Path, &Planes) -> Command,
}

impl Machine {
    /// An enclave: its own root, its parent over vsock, and this program as the service.
    #[must_use]
    pub fn enclave() -> Self {
        Self {
            root: "/".into(),
            planes: Planes::of_parent,
            service: release,
        }
    }

    /// A path below the root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }
}

/// Addresses, as `PROTOCOL.md` gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planes {
    /// Listened on, for web servers.
    pub signing: Address,
    /// Dialled.
    pub control: Address,
    /// Dialled.
    pub egress: Address,
    /// Dialled, by PID 1.
    pub logs: Address,
    /// Nitro's own, by which the parent learns that the enclave runs.
    pub heartbeat: Address,
}

impl Planes {
    fn of_parent(cid: u32) -> Self {
        let vsock = |cid, port| Address::Vsock { cid, port };
        Self {
            signing: vsock(None, 4_430),
            control: vsock(Some(cid), 440),
            egress: vsock(Some(cid), 441),
            logs: vsock(Some(cid), 442),
            // Nitro's parent is always CID 3, whatever our planes' is.
            heartbeat: vsock(Some(3), 9_000),
        }
    }
}

/// This program again. The link is the kernel's own: no path that could name another file.
fn release(policy: &Path, planes: &Planes) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--policy")
        .arg(policy)
        .args(["--signing", &planes.signing.to_string()])
        .args(["--control", &planes.control.to_string()])
        .args(["--egress", &planes.egress.to_string()]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_told_where_the_parent_is() {
        let planes = Planes::of_parent(2);
        let command = release(Path::new("/policy.toml"), &planes);
        let arguments: Vec<_> = command.get_args().map(|a| a.to_str().unwrap()).collect();
        assert_eq!(command.get_program(), "/proc/self/exe");
        assert_eq!(
            arguments.join(" "),
            "--policy /policy.toml --signing vsock:any:4430 --control vsock:2:440 --egress vsock:2:441"
        );
        assert_eq!(planes.logs.to_string(), "vsock:2:442");
        assert_eq!(planes.heartbeat.to_string(), "vsock:3:9000");
    }
}
