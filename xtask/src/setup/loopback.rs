//! Debian's kernel for virtual machines, which has a loopback of vsock: this machine's own may have none. Unpacked, not installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::PrivateApt;
use super::newer::unpack;
use super::once::once;
use crate::paths::Paths;
use crate::progress;

/// What boots, with nothing else.
pub(crate) struct Loopback {
    pub(crate) kernel: PathBuf,
    /// In the order in which they are loaded.
    pub(crate) modules: [PathBuf; 3],
    pub(crate) busybox: PathBuf,
}

impl Loopback {
    pub(crate) fn set_up(paths: &Paths) -> Result<Self> {
        let dir = paths.cache(&format!("vsock loopback {PACKAGES:?}"));
        let root = dir.join("root");
        once(&dir, &root, || {
            progress::step("downloading a kernel that has a loopback of vsock", || {
                drop(fs::remove_dir_all(&dir)); // what an interrupted run left
                let (debs, unpacked) = (dir.join("debs"), dir.join("unpacked"));
                fs::create_dir_all(&debs).with_context(|| format!("cannot make {}", debs.display()))?;
                let (apt, _) = PrivateApt::with_lists(paths, None, &PACKAGES)?;
                apt.download_with_all_that_they_need(&debs, &PACKAGES)?;
                unpack(&debs.join("archives"), &unpacked)?;
                fs::remove_dir_all(&debs)?;
                Ok(fs::rename(&unpacked, &root)?)
            })
        })?;
        let version = one_of(&root.join("lib/modules"), "")?;
        let module = |name| version.join(format!("kernel/net/vmw_vsock/{name}.ko"));
        Ok(Self {
            kernel: one_of(&root.join("boot"), "vmlinuz-")?,
            modules: MODULES.map(module),
            busybox: root.join("bin/busybox"),
        })
    }
}

/// The one that begins so.
fn one_of(dir: &Path, beginning: &str) -> Result<PathBuf> {
    let files = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut files = files.flatten().map(|entry| entry.path());
    let begins = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(beginning)
    };
    files
        .find(begins)
        .with_context(|| format!("nothing in {} begins with {beginning:?}", dir.display()))
}

/// The first needs the kernel of the day, whatever its name is.
const PACKAGES: [&str; 2] = ["linux-image-cloud-amd64", "busybox-static"];
const MODULES: [&str; 3] = ["vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback"];
