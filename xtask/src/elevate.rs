//! Root where it is needed: packages, NGINX's master, files of group `www-data`.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::Enclave;
use crate::paths::Paths;
use crate::process;

/// What to do as the user, before root takes over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepare {
    Nothing,
    /// Build: so that no file below `target/` or `~/.cargo` comes to belong to root.
    Build(Enclave),
}

/// Goes on as root: returns where it is root already, else begins this command again through sudo.
pub(crate) fn to_root(paths: &Paths, prepare: Prepare) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    fs::create_dir_all(paths.state())?;
    fs::create_dir_all(paths.cache("").parent().unwrap_or(paths.state()))?;
    // The compiler is among the packages.
    match prepare {
        Prepare::Nothing => {}
        Prepare::Build(enclave) => {
            let machine: &[&str] = if enclave == Enclave::Emulated {
                &["--machine"]
            } else {
                &[]
            };
            process::show(sudo(paths)?.arg("setup").args(machine))?;
            enclave.build(paths)?;
        }
    }
    let failed = sudo(paths)?.args(env::args_os().skip(1)).exec();
    Err(failed).context("root is needed, and sudo cannot be run")
}

/// This program again, as root, with the variables that say where things are.
pub(crate) fn sudo(paths: &Paths) -> Result<Command> {
    let mut command = Command::new("sudo");
    command.arg("env");
    for (name, value) in env::vars().filter(|(name, _)| KEPT.contains(&name.as_str())) {
        command.arg(format!("{name}={value}"));
    }
    command.arg(format!("{PREBUILT}=1")).arg(format!(
        "CARGO_MANIFEST_DIR={}",
        paths.workspace().join("xtask").display()
    ));
    command.arg(env::current_exe()?);
    Ok(command)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the user built everything before sudo.
pub(crate) fn is_prebuilt() -> bool {
    env::var_os(PREBUILT).is_some()
}

const PREBUILT: &str = "ENCLAVE_TLS_PREBUILT";

/// sudo forgets these, and resets PATH.
const KEPT: [&str; 10] = [
    "PATH",
    "HOME",
    "CARGO",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "CARGO_TARGET_DIR",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "TERM",
    "NO_COLOR",
];
