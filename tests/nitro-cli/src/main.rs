//! `nitro-cli` for labs: the same arguments, JSON, error form and behaviour, with processes of this machine in place of an enclave.
//!
//! What "the enclave" is stands in `lab-enclave.json` (see [`lab`]) in the directory that `ENCLAVE_TLS_NITRO_LAB` names, or, without
//! that, in the one from which this program is called, by a link for instance. Files in that directory make commands fail.

mod arguments;
mod command;
mod hold;
mod lab;
mod record;
mod refusal;

use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::lab::Lab;
use crate::refusal::Refusal;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => refusal.print(),
    }
}

fn run(words: &[String]) -> Result<(), Refusal> {
    let (program, words) = words
        .split_first()
        .map_or(("", words), |(first, rest)| (first.as_str(), rest));
    match Arguments::parse(words)? {
        Arguments::Version => println!("Nitro CLI 1.4.2"),
        Arguments::Run(wanted) => command::run(&Lab::open(program)?, &wanted)?,
        Arguments::Describe => command::describe(&Lab::open(program)?)?,
        Arguments::Terminate(which) => command::terminate(&Lab::open(program)?, &which)?,
        Arguments::Hold(id) => hold::hold(&Lab::open(program)?, &id)?,
    }
    Ok(())
}
