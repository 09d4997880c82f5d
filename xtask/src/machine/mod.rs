//! A machine that boots an enclave's image without Nitro: QEMU's `nitro-enclave` board, emulated, with vsock by
//! vhost-user. Its NSM has real registers and signs nothing.

mod document;
mod guest;
mod qemu;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::paths::Paths;
use crate::setup::{self, Build, Mend, Tool, cargo_tool};

pub(crate) use self::document::Document;
pub(crate) use self::guest::{Boot, Guest};

/// The programs of the machine, in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    qemu: PathBuf,
    /// Where QEMU finds its ROMs.
    roms: PathBuf,
    vsock: PathBuf,
}

impl Machine {
    /// The command of the guest's vsock device: its sockets lie in `dir`, the one for the host is `vm.vsock`.
    pub(crate) fn vsock_words(&self, dir: &Path) -> Vec<String> {
        vec![
            self.vsock.display().to_string(),
            "--vm".into(),
            format!(
                "guest-cid={CID},socket={},uds-path={}",
                device_socket(dir).display(),
                dir.join(VM).display()
            ),
        ]
    }

    /// The command of QEMU, with that device. The console is its standard output.
    pub(crate) fn qemu_words(&self, boot: &Boot<'_>) -> Vec<String> {
        let mut words = vec![self.qemu.display().to_string()];
        let fixed =
            "-M nitro-enclave,vsock=vsock,id=lab -accel tcg -cpu max -nographic -no-reboot -nodefaults -serial stdio";
        words.extend(fixed.split(' ').map(str::to_owned));
        let options = [
            // Else a thread of QEMU's looks into each new queue as its driver starts, and ends the NSM where it finds half a request.
            ("-global", "virtio-mmio.ioeventfd=off".to_owned()),
            ("-smp", boot.cpus.to_string()),
            ("-m", boot.mebibytes.to_string()),
            ("-kernel", boot.image.display().to_string()),
            ("-L", self.roms.display().to_string()),
            (
                "-chardev",
                format!("socket,id=vsock,path={}", device_socket(boot.dir).display()),
            ),
            // The image says reboot=k, which this machine has no keyboard controller for.
            ("-append", format!("{} reboot=t", boot.append).trim_start().to_owned()),
        ];
        words.extend(
            options
                .into_iter()
                .flat_map(|(option, value)| [option.to_owned(), value]),
        );
        words
    }

    /// The command of QEMU for a machine that is no enclave, with a kernel and a ramdisk alone. The console is its standard output.
    pub(crate) fn small_words(&self, kernel: &Path, ramdisk: &Path) -> Vec<String> {
        let fixed = "-M microvm,acpi=off -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -nographic -no-reboot -nodefaults -serial stdio";
        let mut words = vec![self.qemu.display().to_string()];
        words.extend(fixed.split(' ').map(str::to_owned));
        let paths = [("-L", &*self.roms), ("-kernel", kernel), ("-initrd", ramdisk)];
        words.extend(
            paths
                .into_iter()
                .flat_map(|(option, path)| [option.to_owned(), path.display().to_string()]),
        );
        words.extend([
            "-append".to_owned(),
            "console=ttyS0 quiet reboot=t panic=-1 tsc=reliable clocksource=tsc".to_owned(),
        ]);
        words
    }
}

/// Where QEMU reaches the guest's vsock device.
pub(crate) fn device_socket(dir: &Path) -> PathBuf {
    dir.join("vhost.sock")
}

/// What must be installed to build it.
pub(crate) fn install(paths: &Paths) -> Result<()> {
    setup::install(paths, &qemu::PACKAGES)
}

/// Builds what the cache has not: a few minutes the first time.
pub(crate) fn set_up(paths: &Paths) -> Result<Machine> {
    let (qemu, roms) = qemu::built(paths)?;
    Ok(Machine {
        qemu,
        roms,
        vsock: cargo_tool(paths, &VSOCK)?,
    })
}

/// The host's side of the guest's vsock device.
const VSOCK: Tool = Tool {
    name: "vhost-device-vsock",
    version: "0.3.0",
    build: Build::Optimised, // every byte of the guest's goes through it
    mends: &[
        // It numbers the host's connections from 0 on, and refuses all that follow the first number in use: that of a port that the guest
        // dialled, so 440.
        Mend {
            file: "src/vhu_vsock_thread.rs",
            from: "local_port: Wrapping(0),",
            to: "local_port: Wrapping(1 << 30),",
        },
        // It panics where the guest accepts a connection that the host has given up.
        Mend {
            file: "src/vsock_conn.rs",
            from: "self.stream.write_all(response.as_bytes()).unwrap();",
            to: "self.stream.write_all(response.as_bytes()).ok();",
        },
    ],
};

/// The guest's address; each machine has a device process of its own, so all may have the same.
const CID: u32 = 16;

/// The device's socket for the host; what the guest dials has the port's number behind it.
pub(crate) const VM: &str = "vm.vsock";
