//! A machine that boots an enclave's image without Nitro: QEMU's `nitro-enclave` board, emulated, with vsock by
//! vhost-user. Its NSM has real registers and signs nothing.

mod guest;
mod qemu;

use std::path::PathBuf;

use anyhow::Result;

use crate::paths::Paths;
use crate::setup::{Tool, cargo_tool};

pub(crate) use self::guest::{Boot, Guest};

/// The programs of the machine, in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    qemu: PathBuf,
    /// Where QEMU finds its ROMs.
    roms: PathBuf,
    vsock: PathBuf,
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
};
