//! Tools built from others' sources, once, into the cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::build;
use crate::paths::Paths;
use crate::process;
use crate::progress;

/// A program from crates.io, at one version.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) build: Build,
}

/// How much work a tool's own speed is worth.
#[derive(Clone, Copy)]
pub(crate) enum Build {
    /// It runs for a second, and would build for minutes longer.
    Quick,
    Optimised,
}

/// The tool's program; it is built if the cache has none by this recipe.
pub(crate) fn cargo_tool(paths: &Paths, tool: &Tool) -> Result<PathBuf> {
    let Tool { name, version, build } = tool;
    let profile = match build {
        Build::Quick => "--profile=dev",
        Build::Optimised => "--profile=release",
    };
    let recipe = format!("cargo install --locked {profile} {name}@{version}");
    let root = paths.cache(&recipe);
    let program = root.join("bin").join(name);
    if !program.exists() {
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        progress::step(&format!("building {name} {version} once, for the cache"), || {
            let work = root.join("build");
            let mut cargo = build::cargo(paths);
            cargo
                .args(["install", "--locked", profile, "--root"])
                .arg(&root)
                .arg("--target-dir")
                .arg(&work);
            process::run(cargo.arg(format!("{name}@{version}")))?;
            Ok(fs::remove_dir_all(&work)?)
        })?;
    }
    Ok(program)
}
