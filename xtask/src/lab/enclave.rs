//! Where the lab's service runs: as a process on a stand-in for the NSM, or in an image that an emulated machine boots.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::measure::{self, Measured};
use super::place::Place;
use super::service;
use crate::build::{self, Binaries};
use crate::image;
use crate::machine::{self, Boot, VM};
use crate::paths::Paths;
use crate::progress;

/// Where the service runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Enclave {
    /// A process of this machine, on a stand-in for the NSM
    #[default]
    Process,
    /// The real image, booted by an emulated machine whose NSM has real registers and signs nothing
    Emulated,
}

impl Enclave {
    /// Builds all that a lab of this kind runs, as this user: what needs root was installed before.
    pub(crate) fn build(self, paths: &Paths) -> Result<()> {
        build::lab(paths)?;
        if self == Self::Emulated {
            machine::set_up(paths)?;
            image::prepare(paths)?;
        }
        Ok(())
    }

    /// As it stands on a command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Emulated => "emulated",
        }
    }

    /// What the service will be measured as: the stand-in is told, the image is built.
    pub(super) fn measure(self, paths: &Paths, place: &Place, binaries: &Binaries) -> Result<Measured> {
        match self {
            Self::Process => measure::stand_in(place, binaries),
            Self::Emulated => progress::step("writing the image with the lab's policy", || {
                measure::image(paths, place, binaries)
            }),
        }
    }

    /// The processes that are an enclave here, in the order in which they start.
    pub(super) fn parts(self, paths: &Paths, place: &Place, binaries: &Binaries, signing: &str) -> Result<Vec<Part>> {
        match self {
            Self::Process => Ok(vec![Part {
                name: SERVICE,
                words: service::process_command(place, binaries, signing),
                ready: None,
            }]),
            Self::Emulated => machine(paths, place, binaries, signing),
        }
    }

    /// Where the agent waits for what the service dials hosts outside by.
    pub(super) fn egress_address(self, place: &Place) -> String {
        match self {
            Self::Process => place.egress_address(),
            Self::Emulated => format!("unix:{}_441", place.control().join(VM).display()),
        }
    }
}

/// A process of an enclave's.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) words: Vec<String>,
    /// The next one starts when this file is there.
    pub(super) ready: Option<PathBuf>,
}

/// The guest's vsock device and the bridge to it; QEMU comes last.
fn machine(paths: &Paths, place: &Place, binaries: &Binaries, signing: &str) -> Result<Vec<Part>> {
    let machine = machine::set_up(paths)?;
    let dir = place.control();
    let path = |address: String| address.trim_start_matches("unix:").to_owned();
    let bridge = [
        binaries.bridge.display().to_string(),
        "--vm".into(),
        dir.join(VM).display().to_string(),
        "--signing".into(),
        signing.to_owned(),
        "--control".into(),
        path(place.control_address()),
        "--logs".into(),
        path(place.logs_address()),
    ];
    let qemu = machine.qemu_words(&Boot {
        image: &place.image(),
        dir: &dir,
        mebibytes: MEBIBYTES,
        cpus: CPUS,
        append: "parent_cid=2",
        knock: LOGS,
    });
    Ok(vec![
        Part {
            name: "bridge",
            words: bridge.into(),
            ready: None,
        },
        Part {
            name: "vsock",
            words: machine.vsock_words(&dir),
            ready: Some(machine::device_socket(&dir)),
        },
        Part {
            name: SERVICE,
            words: qemu,
            ready: None,
        },
    ])
}

/// The last of an enclave's processes, whose life is the enclave's.
const SERVICE: &str = "service";
/// Of the guest. A real enclave has 64 MiB at the least.
pub(super) const MEBIBYTES: u32 = 256;
/// A real enclave has whole cores, of two threads each.
pub(super) const CPUS: u32 = 2;
/// Where PID 1 dials first of all.
const LOGS: u32 = 442;
