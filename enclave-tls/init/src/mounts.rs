//! The file systems that the service needs: processes, devices, and what the kernel says about clocks and random numbers.
//!
//! There is no place to write to: no `/tmp`, and the root, where the kernel unpacked the image, becomes read-only.

use std::io;
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_remount};

/// Mounts what is not there yet.
pub(crate) fn all(root: &Path) -> io::Result<()> {
    for place in PLACES {
        // What holds this is mounted, or is a test's.
        if !root.join(place.holds).exists() {
            let dir = root.join(place.dir);
            match rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => (),
                Err(error) => return Err(error.into()),
            }
            mount(place.kind, &dir, place.kind, place.flags, None)?;
        }
    }
    Ok(())
}

/// From here on no file can be made or changed.
pub(crate) fn close_root(root: &Path) -> io::Result<()> {
    Ok(mount_remount(root, MountFlags::RDONLY, "")?)
}

struct Place {
    dir: &'static str,
    kind: &'static str,
    flags: MountFlags,
    /// A file that is there once it is mounted.
    holds: &'static str,
}

const NO_PROGRAMS: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

const PLACES: [Place; 3] = [
    Place {
        dir: "proc",
        kind: "proc",
        flags: NO_PROGRAMS.union(MountFlags::NODEV),
        holds: "proc/cmdline",
    },
    Place {
        dir: "sys",
        kind: "sysfs",
        flags: NO_PROGRAMS.union(MountFlags::NODEV).union(MountFlags::RDONLY),
        holds: "sys/class",
    },
    Place {
        dir: "dev",
        kind: "devtmpfs",
        flags: NO_PROGRAMS,
        // The kernel's own ramdisk has a /dev/console, so an empty directory would be no sign.
        holds: "dev/urandom",
    },
];
