//! Whether times tell secrets: statistics over the signing socket of a lab, for `cargo xtask test --part timing`.
//!
//! They decide by statistics of samples whose sizes are fixed beforehand, never by how long anything takes. What passes by chance is
//! tried again with new keys and new random numbers, twice at most ([`GOES`]): a leak is there each time. A control has one go.

mod keys;
mod leaky;
mod oracle;
mod signing;

use std::process::ExitCode;

use anyhow::{Result, bail};
use e2e::lab::suite::{self, Needs};

fn main() -> ExitCode {
    suite::main(Needs::ALab, &[signing::TESTS, oracle::TESTS])
}

/// Holds if any of a few goes finds nothing.
fn nothing_is_found(what: &str, mut finds: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..GOES {
        if !finds()? {
            return Ok(());
        }
    }
    bail!("{what}: {GOES} times in a row the classes differ by more than chance")
}

const GOES: usize = 3;
