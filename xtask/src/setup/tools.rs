//! Tools built from others' sources, once, into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::once::once;
use crate::build;
use crate::paths::{self, Paths};
use crate::process;
use crate::progress;

/// A program from crates.io, at one version.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) build: Build,
    /// Mended before it is built.
    pub(crate) mends: &'static [Mend],
}

/// How much work a tool's own speed is worth.
#[derive(Clone, Copy)]
pub(crate) enum Build {
    /// It runs for a second, and would build for minutes longer.
    Quick,
    Optimised,
}

/// A few words of a tool's source, and what must stand there instead.
#[derive(Debug)]
pub(crate) struct Mend {
    pub(crate) file: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// The tool's program; it is built if the cache has none by this recipe.
pub(crate) fn cargo_tool(paths: &Paths, tool: &Tool) -> Result<PathBuf> {
    let Tool { name, version, .. } = tool;
    let profile = match tool.build {
        Build::Quick => "--profile=dev",
        Build::Optimised => "--profile=release",
    };
    let recipe = format!("cargo install --locked {profile} {name}@{version} {:?}", tool.mends);
    let root = paths.cache(&recipe);
    let program = root.join("bin").join(name);
    once(&root, &program, || {
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        progress::step(&format!("building {name} {version} once, for the cache"), || {
            let work = root.join("build");
            let mut cargo = build::cargo(paths);
            cargo
                .args(["install", "--locked", profile, "--root"])
                .arg(&root)
                .arg("--target-dir")
                .arg(&work);
            match tool.mends {
                [] => cargo.arg(format!("{name}@{version}")),
                _ => cargo.arg("--path").arg(mended(paths, tool, &root)?),
            };
            process::run(&mut cargo)?;
            Ok(fs::remove_dir_all(&work)?)
        })
    })?;
    Ok(program)
}

/// The tool's source, as crates.io has it, with its mends.
fn mended(paths: &Paths, tool: &Tool, root: &Path) -> Result<PathBuf> {
    let Tool { name, version, .. } = tool;
    // A package that wants it: cargo's way to fetch one without building it.
    let wants = root.join("wants");
    fs::create_dir_all(&wants)?;
    let manifest = format!(
        "[package]\nname = \"wants\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n[dependencies]\n{name} = \"={version}\"\n"
    );
    fs::write(wants.join("Cargo.toml"), manifest)?;
    fs::write(wants.join("lib.rs"), "")?;
    process::run(build::cargo(paths).current_dir(&wants).args(["fetch", "--quiet"]))?;
    let registries = paths::cargo_home()?.join("registry/src");
    let fetched = fs::read_dir(&registries)
        .with_context(|| registries.display().to_string())?
        .flatten()
        .map(|registry| registry.path().join(format!("{name}-{version}")))
        .find(|source| source.exists())
        .with_context(|| format!("cargo fetched no {name}"))?;
    let source = root.join("source");
    drop(fs::remove_dir_all(&source)); // what an interrupted run left
    process::run(Command::new("cp").arg("-r").arg(fetched).arg(&source))?;
    for mend in tool.mends {
        let file = source.join(mend.file);
        let text = fs::read_to_string(&file)?;
        ensure!(
            text.matches(mend.from).count() == 1,
            "{name}'s {} does not read as it did",
            mend.file
        );
        fs::write(&file, text.replace(mend.from, mend.to))?;
    }
    Ok(source)
}
