//! What the image costs on an emulated machine: its boot, the memory that certificates take, a signature through the bridge. `machinebench`
//! of crate `e2e` measures; this part makes image and plans, and shows what it answers.
//!
//! The machine is emulated, processor and all: its times are many times a real enclave's, and say what changes, not what is. Memory is the
//! same as there.

mod boots;
mod guest;
mod limits;
mod signature;
mod workshop;

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::boots::Boots;
use self::limits::Limits;
use self::signature::Signature;
use self::workshop::Workshop;
use super::machine;
use crate::paths::Paths;
use crate::table::Table;

pub(super) const TITLE: &str = "The image, on an emulated machine";

/// All figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Enclave {
    image: Size,
    boots: Boots,
    limits: Limits,
    signature: Option<Signature>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_error: Option<String>,
    /// The load averages before each of the three and after the last.
    load: [String; 4],
}

/// The image, as it is stored and as it is unpacked.
#[derive(Deserialize, Serialize)]
struct Size {
    bytes: u64,
    /// The files of both ramdisks.
    unpacked: u64,
}

/// Measures in a directory of its own.
pub(super) fn measure(paths: &Paths, dir: &Path, quick: bool) -> Result<Enclave> {
    let workshop = Workshop::open(paths, dir)?;
    let first = machine::load()?;
    let boots = boots::measure(&workshop, quick)?;
    let second = machine::load()?;
    let limits = limits::measure(&workshop, quick)?;
    let third = machine::load()?;
    let signature = signature::measure(paths, &workshop, quick);
    Ok(Enclave {
        image: Size {
            bytes: workshop.bytes,
            unpacked: workshop.unpacked,
        },
        boots,
        limits,
        signature_error: signature.as_ref().err().map(|error| format!("{error:#}")),
        signature: signature.ok(),
        load: [first, second, third, machine::load()?],
    })
}

impl Enclave {
    /// Whether a part of it is missing.
    pub(super) fn lacks_something(&self) -> bool {
        self.signature.is_none()
    }
}

pub(super) fn print(measured: &Enclave) {
    let Enclave {
        image,
        boots,
        limits,
        signature,
        signature_error,
        load: [first, second, third, last],
    } = measured;
    image.print();
    println!("\n  Boot (load {first} before, {second} after)");
    boots.print();
    println!("\n  Memory (load {second} before, {third} after)");
    limits.print();
    println!("\n  A P-256 signature through the bridge, p50 in µs (load {third} before, {last} after)");
    let mut table = Table::new(["must hold", "is"]);
    boots.judge(&mut table);
    limits.judge(&mut table);
    if let Some(signature) = signature {
        signature.print();
        signature.judge(&mut table);
    }
    if let Some(error) = signature_error {
        println!("  n/a: {error}");
    }
    println!();
    table.print();
}

impl Size {
    /// The kernel keeps both ramdisks unpacked in memory, in a file system that may take half of it; while it unpacks them it has the
    /// packed ones too. AWS's advice is 40 to 50 %.
    fn print(&self) {
        println!(
            "  {} bytes; unpacked {:.1} MiB, which may be at most 40 to 50 % of an enclave's memory: needs at least {} to {} MiB",
            self.bytes,
            mebibytes(self.unpacked),
            needed(self.unpacked, 50),
            needed(self.unpacked, 40),
        );
    }
}

/// Whole mebibytes of which these bytes are at most so many percent.
fn needed(bytes: u64, percent: u64) -> u64 {
    (bytes * 100).div_ceil(percent << 20)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_needs_is_rounded_up() {
        assert_eq!((needed(10 << 20, 50), needed(10 << 20, 40)), (20, 25));
        assert_eq!(needed((10 << 20) + 1, 50), 21);
    }
}
