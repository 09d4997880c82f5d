//! How far units are confined, by systemd's own measure: 0 is best, 10 is a service without any confinement.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::process::output;
use crate::process::text;

/// A unit, and what it may not exceed.
pub(super) struct Unit {
    pub(super) name: &'static str,
    most: f64,
}

/// The helper is root, and runs web servers' own tests.
pub(super) const CONFINED: [&Unit; 3] = [
    &Unit {
        name: "enclave-tls-agent.service",
        most: 2.4,
    },
    &Unit {
        name: "enclave-tls-enclave.service",
        most: 2.0,
    },
    &Unit {
        name: "enclave-tls-apply.service",
        most: 3.6,
    },
];

pub(super) fn is_confined(paths: &Paths, unit: &Unit) -> Result<()> {
    let file = paths.workspace().join("packaging/systemd").join(unit.name);
    let mut analyze = Command::new("systemd-analyze");
    analyze.env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0");
    let said = output(analyze.args(["security", "--offline=true", "--no-pager"]).arg(file))?;
    let said = text(&said.stdout);
    let level = exposure(&said).with_context(|| format!("systemd-analyze says no level: {said}"))?;
    ensure!(level <= unit.most, "its exposure is {level}, above {}", unit.most);
    Ok(())
}

/// `→ Overall exposure level for NAME: 2.0 OK 🙂`
fn exposure(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains("Overall exposure level"))?;
    line.rsplit_once(": ")?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_level_is_read() {
        let said = "✗ IPAddressDeny= …\n\n→ Overall exposure level for a.service: 2.1 OK :-)\n";
        assert_eq!(super::exposure(said), Some(2.1));
        assert_eq!(super::exposure("Failed to load"), None);
    }
}
