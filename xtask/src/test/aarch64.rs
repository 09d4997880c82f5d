//! What runs on x86-64 is built for 64-bit ARM too: the image's program, what packages install, and the module.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::count::Counts;
use super::e2e;
use crate::build::cargo;
use crate::paths::Paths;
use crate::process;
use crate::setup::cross::{Cross, TRIPLE};

/// Builds them, and looks at the machine that each names.
pub(super) fn build(paths: &Paths) -> Result<Counts> {
    let target = paths.target().join("aarch64");
    fs::create_dir_all(&target)?;
    process::show(cargo(paths).args(["fetch", "--locked", "--target", TRIPLE]))?;
    let cross = Cross::set_up(paths)?;
    let mut counts = Counts::default();
    let what: [(&[&str], &str, &[&str]); 2] = [
        (&PROGRAMS, "release", &FILES),
        (&["enclave-tls-pkcs11"], "module", &["libenclave_tls_pkcs11.so"]),
    ];
    for (packages, profile, outputs) in &what {
        let mut build = e2e::as_root(&BTreeMap::new());
        cross.cargo(&mut build, paths, &target)?;
        build.args([
            "build",
            "--offline",
            "--locked",
            "--target",
            TRIPLE,
            "--profile",
            profile,
        ]);
        process::show(build.args(packages.iter().map(|name| format!("-p{name}"))))?;
        for output in *outputs {
            let file = target.join(TRIPLE).join(profile).join(output);
            let machine = machine_of(&file)?;
            ensure!(machine == AARCH64, "{} is for machine {machine}", file.display());
            println!("  {} is for 64-bit ARM", file.display());
            counts = counts + Counts::ONE;
        }
    }
    Ok(counts)
}

/// What an ELF file says in `e_machine`, in its own byte order, which is the same as here.
fn machine_of(file: &Path) -> Result<u16> {
    let bytes = fs::read(file).with_context(|| format!("{} was not built", file.display()))?;
    let machine = bytes.get(18..20).and_then(|bytes| bytes.try_into().ok());
    ensure!(bytes.starts_with(b"\x7fELF"), "{} is no ELF file", file.display());
    machine
        .map(u16::from_le_bytes)
        .context("an ELF file that ends in its header")
}

const PROGRAMS: [&str; 5] = [
    "enclave-init",
    "enclave-tls",
    "enclave-tls-agent",
    "enclave-tls-apply",
    "enclave-tlsctl",
];
const FILES: [&str; 5] = [
    "init",
    "enclave-tls",
    "enclave-tls-agent",
    "enclave-tls-apply",
    "enclave-tlsctl",
];
/// `EM_AARCH64`
const AARCH64: u16 = 183;
