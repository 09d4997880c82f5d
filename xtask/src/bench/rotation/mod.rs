//! What renewal costs: processor time of an issuance, signatures while certificates rotate, and how a thousand renewals spread.

mod issuance;
mod signing;
mod spreading;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::issuance::Issuance;
use self::signing::Signing;
use self::spreading::Spreading;
use super::machine;
use super::runner::Runner;
use crate::build::Binaries;
use crate::lab::{Lab, Rotations};
use crate::paths::Paths;
use crate::table::Table;

pub(super) const TITLE: &str = "Renewal and rotation";

/// All figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Rotation {
    issuance: Issuance,
    signing: Signing,
    spreading: Vec<Spreading>,
    /// The load averages before each of the first two and after them.
    load: [String; 3],
}

/// Measures on a lab, whose CA is restarted.
pub(super) fn measure(paths: &Paths, lab: &Lab, runner: &Runner, quick: bool) -> Result<Rotation> {
    let binaries = Binaries::of(paths);
    let rotations = Rotations::of(lab, &binaries);
    let first = machine::load()?;
    // First, while the service has few keys.
    let issuance = issuance::measure(&rotations, lab, &binaries, quick)?;
    let second = machine::load()?;
    let signing = signing::measure(&rotations, lab.description(), runner, quick)?;
    let third = machine::load()?;
    Ok(Rotation {
        issuance,
        signing,
        spreading: spreading::measure(paths)?,
        load: [first, second, third],
    })
}

pub(super) fn print(measured: &Rotation) {
    let Rotation {
        issuance,
        signing,
        spreading,
        load: [first, second, third],
    } = measured;
    println!("  Processor time of the service for one certificate from pebble (load {first} before, {second} after)");
    issuance::print(issuance);
    println!("\n  C_SignInit and C_Sign, P-256, client and service on one core (load {second} before, {third} after)");
    signing::print(signing);
    println!("\n  1,000 certificates that came together: when they are renewed");
    spreading::print(spreading);
    let mut table = Table::new(["must hold", "is"]);
    issuance.judge(&mut table);
    signing.judge(&mut table);
    println!();
    table.print();
}
