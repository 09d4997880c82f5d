//! The one program of an image, linked statically, with nothing in it of the place where it was built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::build::cargo;
use crate::elevate;
use crate::paths::{Paths, cargo_home};
use crate::process;

/// Which program an image starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) package: &'static str,
    pub(crate) binary: &'static str,
}

/// PID 1, which is the service too.
pub(crate) const INIT: Program = Program {
    package: "enclave-init",
    binary: "init",
};

/// Builds it in a target directory of its own, as the flags differ from everything else's.
pub(super) fn build(paths: &Paths, program: Program) -> Result<PathBuf> {
    let target = paths.target().join("image");
    let built = target.join(TARGET).join("image").join(program.binary);
    if elevate::is_prebuilt() && elevate::is_root() {
        ensure!(built.exists(), "{} was not built", built.display());
        return Ok(built);
    }
    let remap = remapped(paths)?;
    let flags: Vec<String> = ["-Ctarget-feature=+crt-static".to_owned()]
        .into_iter()
        .chain(
            remap
                .iter()
                .map(|(from, to)| format!("--remap-path-prefix={from}={to}")),
        )
        .collect();
    let c_flags: Vec<String> = remap
        .iter()
        .map(|(from, to)| format!("-ffile-prefix-map={from}={to}"))
        .collect();
    let mut command = cargo(paths);
    command
        .env("CARGO_TARGET_DIR", &target)
        // Separated by a byte that no path has.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTFLAGS")
        .env("CFLAGS", c_flags.join(" "))
        .env("CARGO_INCREMENTAL", "0")
        // Random numbers are the kernel's, which has them from the NSM; a second source from the CPU's jitter would cost a boot half of its time.
        .env("AWS_LC_SYS_NO_JITTER_ENTROPY", "1")
        .envs(FIXED);
    command.args(["build", "--locked", "--profile", "image", "--target", TARGET]);
    process::show(command.args(["-p", program.package, "--bin", program.binary]))?;
    Ok(built)
}

/// Whether the image's program takes this policy: run here it reads it, and then misses the enclave's NSM.
pub(super) fn check_policy(program: &Path, policy: &Path) -> Result<()> {
    let mut service = Command::new(program);
    service.arg("--policy").arg(policy);
    let output = process::output(service.args(["--signing", "vsock:any:4430", "--control", "vsock:3:440"]))?;
    let said = process::text(&output.stderr);
    let refused = said.lines().find(|line| line.contains(": policy "));
    match refused {
        Some(why) => bail!("{}", why.trim()),
        None if said.contains("/dev/nsm") => Ok(()),
        None => bail!("the image's program does not say whether it takes the policy: {said}"),
    }
}

/// What the program was made by, each as it names itself: another version may make other bytes.
pub(super) fn tools() -> Result<Vec<(&'static str, String)>> {
    let first_line = |program: &str| -> Result<String> {
        let said = process::capture(Command::new(program).arg("--version"))?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    };
    let mut tools = Vec::new();
    // The C library is linked in, and ldd is of its version.
    for (name, program) in [("rustc", "rustc"), ("gcc", "gcc"), ("ld", "ld"), ("libc", "ldd")] {
        tools.push((name, first_line(program)?));
    }
    Ok(tools)
}

/// Places whose names would get into the program by messages of panics, and what stands there instead. The later a prefix
/// stands the sooner it is tried.
fn remapped(paths: &Paths) -> Result<Vec<(String, String)>> {
    let sysroot = process::capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    let cargo_home = cargo_home()?;
    let places = [
        (cargo_home.as_path(), "/cargo"),
        (Path::new(sysroot.trim()), "/rust"),
        (paths.workspace(), "/enclave-tls"),
        (&paths.target().join("image"), "/target"),
    ];
    Ok(places
        .into_iter()
        .map(|(from, to)| (from.display().to_string(), to.to_owned()))
        .collect())
}

/// glibc's, linked statically: musl's allocator is slow with threads, and Debian has no other C library for aws-lc.
pub(super) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What compilers and archivers would otherwise take from who builds.
const FIXED: [(&str, &str); 4] = [
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("SOURCE_DATE_EPOCH", "0"),
    ("ZERO_AR_DATE", "1"),
];
