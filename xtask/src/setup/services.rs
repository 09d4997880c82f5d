//! Keeps the services of newly installed packages from starting, now and at the next boot.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// While it lives, Debian's packages start no service. Afterwards all is as it was.
pub(super) struct KeepStopped(());

impl KeepStopped {
    /// Debian asks one program, at a fixed place, whether a service may start; its exit status 101 forbids it.
    pub(super) fn begin() -> Result<Self> {
        restore()?; // what a run that was killed left behind
        if Path::new(POLICY).exists() {
            fs::rename(POLICY, ASIDE).with_context(|| format!("cannot put {POLICY} aside"))?;
        }
        fs::write(POLICY, OURS).with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self(()))
    }
}

impl Drop for KeepStopped {
    fn drop(&mut self) {
        if let Err(error) = restore() {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Disables the services of packages that were not there `before`: their files are the lab's tools, not a site.
pub(super) fn disable_new(before: &BTreeSet<String>) -> Vec<&'static str> {
    let new = SERVICES.into_iter().filter(|name| !before.contains(*name));
    new.filter(|name| process::run(Command::new("systemctl").args(["--quiet", "disable", name])).is_ok())
        .collect()
}

fn restore() -> Result<()> {
    if fs::read_to_string(POLICY).is_ok_and(|text| text == OURS) {
        fs::remove_file(POLICY).with_context(|| format!("cannot remove {POLICY}"))?;
    }
    if Path::new(ASIDE).exists() {
        fs::rename(ASIDE, POLICY).with_context(|| format!("cannot put {POLICY} back"))?;
    }
    Ok(())
}

/// Those of our packages that bring a service of the same name.
const SERVICES: [&str; 3] = ["apache2", "haproxy", "nginx"];

const POLICY: &str = "/usr/sbin/policy-rc.d";
const ASIDE: &str = "/usr/sbin/policy-rc.d.before-enclave-tls";
const OURS: &str =
    "#!/bin/sh\n# Written by enclave-tls's set-up for the time of one installation; safe to remove.\nexit 101\n";
