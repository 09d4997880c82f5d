//! What the lab runs, built by cargo.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::elevate;
use crate::paths::Paths;
use crate::process;

/// The programs of a lab.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// The service on the NSM stand-in.
    pub(crate) service: PathBuf,
    pub(crate) emulator_kms: PathBuf,
    pub(crate) emulator_nsm: PathBuf,
    pub(crate) agent: PathBuf,
    pub(crate) apply: PathBuf,
    pub(crate) ctl: PathBuf,
    /// Stands for AWS's program of this name.
    pub(crate) nitro_cli: PathBuf,
    pub(crate) module: PathBuf,
    pub(crate) keyscan: PathBuf,
    pub(crate) bridge: PathBuf,
    /// Makes handshakes, and verifies each.
    pub(crate) tlsload: PathBuf,
}

impl Binaries {
    pub(crate) fn of(paths: &Paths) -> Self {
        let release = paths.target().join("release");
        Self {
            service: release.join("lab-service"),
            emulator_kms: release.join("emulator-kms"),
            emulator_nsm: release.join("emulator-nsm"),
            agent: release.join("enclave-tls-agent"),
            apply: release.join("enclave-tls-apply"),
            ctl: release.join("enclave-tlsctl"),
            nitro_cli: release.join("nitro-cli-stand-in"),
            module: paths.target().join("module/libenclave_tls_pkcs11.so"),
            keyscan: release.join("keyscan"),
            bridge: release.join("vsock-bridge"),
            tlsload: release.join("tlsload"),
        }
    }
}

/// Builds all that a lab and the demo run; cargo shows its progress.
pub(crate) fn lab(paths: &Paths) -> Result<Binaries> {
    let binaries = Binaries::of(paths);
    if elevate::is_prebuilt() && elevate::is_root() {
        ensure!(binaries.module.exists(), "{} was not built", binaries.module.display());
        return Ok(binaries);
    }
    eprintln!("  building service, command, module, emulators and test tools (release)");
    for group in [SHIPPED, ENCLAVE, TOOLS] {
        group.build(paths)?;
    }
    module(paths)?;
    Ok(binaries)
}

/// Builds the module, which has a profile of its own.
pub(crate) fn module(paths: &Paths) -> Result<()> {
    process::show(cargo(paths).args(["build", "--profile", "module", "-penclave-tls-pkcs11"]))
}

/// Packages whose programs are always built together. What they depend on has the features that any of them wants: chosen otherwise, the
/// same programs would be others, and hundreds of crates be compiled once more.
#[derive(Clone, Copy)]
pub(crate) struct Group(&'static [&'static str]);

/// The programs that packages have, each of its cargo package's name.
pub(crate) const SHIPPED: Group = Group(&["enclave-tls-agent", "enclave-tls-apply", "enclave-tlsctl"]);
/// The service, and what stands for the machine and for AWS around it.
pub(crate) const ENCLAVE: Group = Group(&[
    "enclave-tls",
    "lab-service",
    "emulator-kms",
    "emulator-nsm",
    "nitro-cli-stand-in",
]);
/// The tools of tests. Alone, as their tests are built.
const TOOLS: Group = Group(&["e2e"]);

impl Group {
    /// Builds them; cargo shows its progress.
    pub(crate) fn build(self, paths: &Paths) -> Result<()> {
        let packages = self.0.iter().map(|name| format!("-p{name}"));
        process::show(cargo(paths).args(["build", "--release", "--bins"]).args(packages))
    }

    /// The packages.
    pub(crate) const fn packages(self) -> &'static [&'static str] {
        self.0
    }
}

/// Cargo, in the workspace.
pub(crate) fn cargo(paths: &Paths) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths.workspace()).stdin(Stdio::null());
    command.env("CARGO_TARGET_DIR", paths.target());
    // Cargo told us about our own package; the cargo that we start is not of it.
    for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
        command.env_remove(name);
    }
    command
}
