//! The threats that one machine can show, each by the row's number: what is refused, and what is nowhere to be found.

mod attested;
mod canary;
mod control;
mod credential;
mod fairness;
mod logs;
mod oracle;
mod residue;
mod usage;

use std::process::ExitCode;

use e2e::lab::suite::{self, Needs};

fn main() -> ExitCode {
    suite::main(
        Needs::BornKeys,
        &[
            credential::TESTS,
            control::TESTS,
            usage::TESTS,
            oracle::TESTS,
            fairness::TESTS,
            residue::TESTS,
            canary::TESTS,
            attested::TESTS,
            logs::TESTS,
        ],
    )
}
