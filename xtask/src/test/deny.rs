//! cargo-deny: what may be depended on. `deny.toml` has the rules.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::count::Counts;
use crate::build;
use crate::paths::Paths;
use crate::setup::{Build, Tool, cargo_tool};

pub(super) fn run(paths: &Paths) -> Result<Counts> {
    let program = cargo_tool(paths, &CARGO_DENY)?;
    // The tests' and tools' trees may hold a crate twice; what is released may not.
    let everything = ["check", "--allow", "duplicate", "bans", "licenses", "sources"];
    let mut counts = Counts::of_one(deny(paths, &program, "Cargo.toml").args(everything))?;
    for released in ["enclave-tls/service", "pkcs11-module"] {
        let manifest = format!("{released}/Cargo.toml");
        counts = counts + Counts::of_one(deny(paths, &program, &manifest).args(["--exclude-dev", "check", "bans"]))?;
    }
    Ok(counts)
}

fn deny(paths: &Paths, program: &Path, manifest: &str) -> Command {
    // As cargo would start it, with cargo's own variables.
    let mut command = Command::new(program);
    let like_cargo = build::cargo(paths);
    for (name, value) in like_cargo.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(paths.workspace());
    command.args(["--log-level", "error", "--locked", "--manifest-path", manifest]);
    command
}

const CARGO_DENY: Tool = Tool {
    build: Build::Quick,
    mends: &[],
    name: "cargo-deny",
    version: "0.20.2",
};
