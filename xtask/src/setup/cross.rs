//! Rust for 64-bit ARM, with a C compiler for it: those of a newer Debian, since this one's are too old, unpacked beside the system and
//! run in a root of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::{PrivateApt, Suite};
use super::newer::{self, SUITE};
use super::once::once;
use crate::paths::{Paths, cargo_home};
use crate::progress;

/// A directory that is a system by itself.
pub(crate) struct Cross {
    root: PathBuf,
}

impl Cross {
    /// Downloads and unpacks it, where it is not there.
    pub(crate) fn set_up(paths: &Paths) -> Result<Self> {
        let dir = paths.cache(&format!("cross {SUITE} {PACKAGES:?} {STANDARD_LIBRARY}"));
        let root = dir.join("root");
        once(&dir, &root, || {
            progress::step(&format!("downloading Rust of Debian's {SUITE} for 64-bit ARM"), || {
                drop(fs::remove_dir_all(&dir)); // what an interrupted run left
                let (debs, unpacked) = (dir.join("debs"), dir.join("unpacked"));
                for made in [&debs, &unpacked] {
                    fs::create_dir_all(made).with_context(|| format!("cannot make {}", made.display()))?;
                }
                let (apt, _) = PrivateApt::with_lists(paths, Some(Suite::WithArm(SUITE)), &PACKAGES)?;
                apt.download_with_all_that_they_need(&debs, &PACKAGES)?;
                apt.download(&debs, STANDARD_LIBRARY, None, false)?;
                for lying in [&debs.join("archives"), &debs] {
                    newer::unpack(lying, &unpacked)?;
                }
                // What the packages' scripts would do.
                for name in ["bin", "lib", "lib64", "sbin"] {
                    if !unpacked.join(name).exists() {
                        symlink(Path::new("usr").join(name), unpacked.join(name))?;
                    }
                }
                symlink("gcc", unpacked.join("usr/bin/cc"))?;
                for name in ["dev", "proc", "tmp", WORKSPACE, TARGET, CARGO_HOME] {
                    fs::create_dir_all(unpacked.join(name.trim_start_matches('/')))?;
                }
                fs::remove_dir_all(&debs)?;
                Ok(fs::rename(&unpacked, &root)?)
            })
        })?;
        Ok(Self { root })
    }

    /// Has a command of root's run its cargo, in the workspace, with what was fetched before; what it builds goes to `target`.
    pub(crate) fn cargo(&self, command: &mut Command, paths: &Paths, target: &Path) -> Result<()> {
        command.args(["unshare", "--mount", "sh", "-ec", ENTER, "sh"]);
        command
            .arg(&self.root)
            .arg(paths.workspace())
            .arg(target)
            .arg(cargo_home()?);
        Ok(())
    }
}

/// Rust's name for what is built.
pub(crate) const TRIPLE: &str = "aarch64-unknown-linux-gnu";
/// As the root has them.
const WORKSPACE: &str = "/workspace";
const TARGET: &str = "/target";
const CARGO_HOME: &str = "/cargo";
/// Everything that is mounted goes with the process. Nothing of the caller's environment comes in.
const ENTER: &str = r#"
root=$1 workspace=$2 target=$3 cargo=$4
shift 4
mount --bind "$workspace" "$root/workspace"
mount --bind "$target" "$root/target"
mount --bind "$cargo" "$root/cargo"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" /usr/bin/env -i -C /workspace HOME=/tmp PATH=/usr/bin CARGO_HOME=/cargo CARGO_TARGET_DIR=/target \
    RUSTC=/usr/bin/rustc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc /usr/bin/cargo "$@"
"#;
const PACKAGES: [&str; 8] = [
    "rustc",
    "cargo",
    "gcc",
    "libc6-dev",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "coreutils",
    "dash",
];
const STANDARD_LIBRARY: &str = "libstd-rust-dev:arm64";
