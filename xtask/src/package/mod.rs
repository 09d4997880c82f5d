//! `cargo xtask package`: a deb and an RPM, both made from the list in `packaging/files.txt`. The same inputs give the same bytes.

mod deb;
mod list;
mod programs;
mod rpm;
mod stage;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use self::programs::Programs;
use crate::paths::Paths;
use crate::process;
use crate::progress;
use crate::setup;

pub(crate) use self::list::{Entry, List, Source};

/// Which packages to make, and where they go.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this one
    #[arg(long, value_enum)]
    only: Option<Format>,
    /// Where they go, by default target/package
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take this image, with its .json beside it, instead of building one
    #[arg(long, value_name = "FILE.eif")]
    image: Option<PathBuf>,
}

/// Whose package manager it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Debian's
    Deb,
    /// Amazon Linux's
    Rpm,
}

/// All that goes into packages.
pub(crate) struct Inputs {
    list: List,
    programs: Programs,
    /// Of the commit, or by `SOURCE_DATE_EPOCH`.
    epoch: u64,
}

/// `cargo xtask package`.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    let inputs = Inputs::build(paths, options.image.as_deref())?;
    let out = options.out.clone().unwrap_or_else(|| paths.target().join("package"));
    let formats = options.only.map_or(vec![Format::Deb, Format::Rpm], |only| vec![only]);
    for format in formats {
        let file = inputs.write(paths, format, &out)?;
        let bytes = fs::read(&file)?;
        println!("{}, {:.1} MB", file.display(), bytes.len() as f64 / 1e6);
        println!("  SHA-256  {}", hex::encode(Sha256::digest(&bytes)));
    }
    println!("{}", inputs.programs.glibc.told());
    Ok(())
}

/// What else has to be installed: rpmbuild, and systemd where the machine is a container.
pub(crate) fn install(paths: &Paths) -> Result<()> {
    setup::install(paths, &["binutils", "rpm", "systemd", "zstd"])
}

impl Inputs {
    /// Builds the programs and the image, which takes minutes the first time.
    pub(crate) fn build(paths: &Paths, image: Option<&Path>) -> Result<Self> {
        // The list's paths, the control file and the spec name it.
        ensure!(
            env::consts::ARCH == "x86_64",
            "packages are made on x86_64 only, as the image is"
        );
        Ok(Self {
            list: List::read(&paths.workspace().join("packaging/files.txt"))?,
            epoch: epoch(paths)?,
            programs: Programs::build(paths, image)?,
        })
    }

    pub(crate) fn list(&self) -> &List {
        &self.list
    }

    /// Makes one package in `out`, and says where it is.
    pub(crate) fn write(&self, paths: &Paths, format: Format, out: &Path) -> Result<PathBuf> {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let out = out.canonicalize()?;
        // Of this process alone: another may make the same now.
        let work = paths.target().join(format!("package-{}", std::process::id()));
        drop(fs::remove_dir_all(&work));
        let made = progress::step(&format!("making the {}", format.name()), || match format {
            Format::Deb => deb::write(self, paths, &work, &out),
            Format::Rpm => rpm::write(self, paths, &work, &out),
        });
        drop(fs::remove_dir_all(&work));
        made
    }
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        }
    }
}

/// A template of `packaging/`, each `@WORD@` of which is replaced.
fn filled(template: &Path, words: &[(&str, &str)]) -> Result<String> {
    let mut text = fs::read_to_string(template).with_context(|| template.display().to_string())?;
    for (word, value) in words {
        ensure!(text.contains(word), "{} has no {word}", template.display());
        text = text.replace(word, value);
    }
    Ok(text)
}

/// The time that every file in a package has.
fn epoch(paths: &Paths) -> Result<u64> {
    let text = match env::var(EPOCH) {
        Ok(text) => text,
        Err(_) => {
            let mut git = Command::new("git");
            git.current_dir(paths.workspace()).args(["log", "-1", "--format=%ct"]);
            process::capture(&mut git).with_context(|| format!("outside of git, set {EPOCH}"))?
        }
    };
    text.trim()
        .parse()
        .with_context(|| format!("{EPOCH} is no number of seconds"))
}

/// As <https://reproducible-builds.org/specs/source-date-epoch/> says.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// Packages have the workspace's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
