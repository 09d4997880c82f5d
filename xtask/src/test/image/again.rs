//! threat_55: the image built again, under other circumstances, is the same bytes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Place, SKIPPED, Stage, verdict};
use crate::elevate;
use crate::image::{self, INIT, Image, Inputs};
use crate::paths::{self, Paths};
use crate::process;
use crate::progress;
use crate::setup;
use crate::test::count::Counts;

/// The command, in another directory, time zone and locale, with another umask. It compiles nothing again: what is tried is how the
/// parts are put together. The stage `reproducible` builds everything again.
pub(super) fn quick(stage: &Stage<'_>) -> Result<()> {
    let mut images = Vec::new();
    for (name, umask, zone, locale) in [("a", "022", "UTC", "C"), ("b", "077", "Asia/Tokyo", "de_DE.UTF-8")] {
        let dir = stage.place.directory(name)?;
        let mut command = Command::new("sh");
        command
            .current_dir(&dir)
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .env("USER", name);
        command.args(["-c", "umask $1; exec \"$2\" image --out image.eif", "sh", umask]);
        process::run(command.arg(env::current_exe()?))?;
        images.push((fs::read(dir.join("image.eif"))?, fs::read(dir.join("image.json"))?));
    }
    ensure!(images.first() == images.last(), "the two images differ");
    Ok(())
}

/// The committed tree, built by another user, elsewhere, on a host of another name, years later, in another locale and time zone, with
/// another umask and another number of jobs. Compiler, linker and AWS's builder are this machine's.
pub(in crate::test) fn reproducible(paths: &Paths) -> Result<Counts> {
    if let Some(reason) = obstacle(paths)? {
        println!("SKIPPED threat_55_another_user_path_host_time_and_jobs: {reason}");
        return Ok(SKIPPED);
    }
    let (time, skipped) = another_time(paths);
    let counts = verdict("threat_55_another_user_path_host_time_and_jobs", elsewhere(paths, time));
    Ok(counts + skipped)
}

/// Why it cannot be tried here.
fn obstacle(paths: &Paths) -> Result<Option<String>> {
    let mut git = Command::new("git");
    git.current_dir(paths.workspace()).args(["status", "--porcelain", "--"]);
    let changed =
        process::capture(git.args(OF_THE_IMAGE)).context("only a clone of the repository has a committed tree")?;
    if !changed.is_empty() {
        return Ok(Some(format!(
            "not committed: {}",
            changed.split_whitespace().collect::<Vec<_>>().join(" ")
        )));
    }
    let mut unshare = as_root("unshare");
    let alone = process::run(unshare.args(["--uts", "--mount", "true"]));
    Ok(alone
        .err()
        .map(|error| format!("no other host name and mounts: {error:#}")))
}

/// Variables that make the clock of programs another, or none, and then that is skipped.
pub(super) fn another_time(paths: &Paths) -> (Variables, Counts) {
    match faketime(paths) {
        Ok(()) => (LATER, Counts::default()),
        Err(error) => {
            println!("SKIPPED threat_55 at another time: {error:#}");
            (&[], SKIPPED)
        }
    }
}

/// Names and values.
pub(super) type Variables = &'static [(&'static str, &'static str)];

fn faketime(paths: &Paths) -> Result<()> {
    setup::install(paths, &["faketime"])?;
    let mut date = Command::new("date");
    let now = process::capture(date.arg("+%s"))?.trim().parse::<u64>()?;
    let then = process::capture(date.envs(LATER.iter().copied()))?
        .trim()
        .parse::<u64>()?;
    ensure!(then > now + 86_400, "faketime has no effect");
    Ok(())
}

fn elsewhere(paths: &Paths, time: Variables) -> Result<()> {
    let here = Place::new()?;
    let inputs = Inputs::collect(paths, INIT, None)?;
    let wanted = image::write(paths, &inputs, &here.file("image.eif"))?;
    let there = Elsewhere::new()?;
    let place = there.0.as_path();
    progress::step("copying the committed tree and cargo's downloads", || {
        copy(paths, place)
    })?;
    let mut command = as_root("unshare");
    command.args(["--uts", "--mount", "sh", "-c", SCRIPT, "sh"]);
    let sysroot = process::capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    command.arg(place).arg(sysroot.trim()).arg(USER);
    command.args(time.iter().map(|(name, value)| format!("{name}={value}")));
    progress::step("building the image elsewhere", || process::run(&mut command))?;
    let found: Image = serde_json::from_slice(&fs::read(place.join("out/image.json"))?)?;
    let others: Vec<&str> = wanted
        .sha256
        .iter()
        .filter(|(name, hash)| found.sha256.get(*name) != Some(*hash))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(others.is_empty(), "other bytes: {}", others.join(", "));
    for name in ["image.eif", "image.json"] {
        ensure!(
            fs::read(here.file(name))? == fs::read(place.join("out").join(name))?,
            "another {name}"
        );
    }
    Ok(())
}

/// Only what cannot be had without the network is taken along: cargo's downloads, and AWS's builder, which is a program and no source here.
fn copy(paths: &Paths, place: &Path) -> Result<()> {
    for dir in ["source", "cargo/registry", "cache/enclave-tls", "out"] {
        fs::create_dir_all(place.join(dir))?;
    }
    let archive = place.join("source.tar");
    let mut git = Command::new("git");
    git.current_dir(paths.workspace()).args(["archive", "--output"]);
    process::run(git.arg(&archive).arg("HEAD"))?;
    let mut tar = Command::new("tar");
    process::run(tar.arg("-xf").arg(&archive).arg("-C").arg(place.join("source")))?;
    let registry = paths::cargo_home()?.join("registry");
    let builder = image::builder(paths)?;
    let of_builder = builder.ancestors().nth(2).context("the builder lies in no cache")?;
    for (from, to) in [
        (registry.join("cache"), "cargo/registry"),
        (registry.join("index"), "cargo/registry"),
        (of_builder.to_owned(), "cache/enclave-tls"),
    ] {
        process::run(Command::new("cp").arg("-r").arg(from).arg(place.join(to)))?;
    }
    Ok(())
}

fn as_root(program: &str) -> Command {
    if elevate::is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// A directory that comes to belong to another user.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new() -> Result<Self> {
        let mut random = [0_u8; 4];
        getrandom::fill(&mut random)?;
        let dir = Path::new("/var/tmp").join(format!("somewhere-else-entirely-{}", hex::encode(random)));
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // Mounts were the other namespace's alone; the option is for the day when somebody changes that.
        drop(process::run(
            as_root("rm").args(["-rf", "--one-file-system"]).arg(&self.0),
        ));
    }
}

/// The place, the compiler's directory, the user; then variables. The compiler is mounted below the place: it has another path then, and
/// one that another user may read.
const SCRIPT: &str = r#"set -e
place=$1 sysroot=$2 user=$3
shift 3
hostname somewhere-else
chown -R "$user:$user" "$place"
mkdir "$place/rust" "$place/bin"
mount --bind "$sysroot" "$place/rust"
mount -o remount,bind,ro "$place/rust"
printf '#!/bin/sh\nunset LD_PRELOAD\nexec %s/rust/bin/rustc "$@"\n' "$place" >"$place/bin/rustc"
chmod 755 "$place/bin/rustc"
cd "$place/source"
umask 077
setpriv --reuid="$user" --regid="$user" --clear-groups env -i "$@" \
    PATH="$place/bin:$place/rust/bin:/usr/bin:/bin" HOME="$place" USER=somebody LOGNAME=somebody TMPDIR="$place" \
    CARGO_HOME="$place/cargo" CARGO_TARGET_DIR="$place/built" CARGO_NET_OFFLINE=true CARGO_BUILD_JOBS=1 \
    XDG_CACHE_HOME="$place/cache" XDG_STATE_HOME="$place/state" \
    TZ=Pacific/Kiritimati LC_ALL=tr_TR.UTF-8 LANG=tr_TR.UTF-8 \
    cargo run --quiet --locked -p xtask -- image --out "$place/out/image.eif"
chmod -R a+rX "$place/out"
"#;

/// Nobody's.
const USER: &str = "64321";

/// By preloading Debian's libfaketime, into all but rustc, which hangs with it: its allocator asks for the time before the library is there.
/// Files keep their times, and programs wait as long as they mean to.
const LATER: Variables = &[
    ("LD_PRELOAD", "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    ("FAKETIME", "+1500d"),
    ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ("NO_FAKE_STAT", "1"),
];

/// What an image is made of, and made by.
const OF_THE_IMAGE: [&str; 5] = [
    "Cargo.toml",
    "Cargo.lock",
    "enclave-tls",
    "packaging/eif",
    "xtask/src/image",
];
