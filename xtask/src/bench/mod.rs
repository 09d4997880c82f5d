//! `cargo xtask bench`: signatures and handshakes, ours against others, in one table and one file.
//!
//! This part makes what is measured (a lab, a SoftHSM2 token), writes plans, and shows what `signbench` of crate `e2e`
//! answers. A table is a list of *groups*; a group is one plan, whose subjects are measured in turns. A new table is a
//! new file like `signatures` and `handshakes`.

mod attestation;
mod handshakes;
mod machine;
mod runner;
mod show;
mod signatures;
mod softhsm;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use self::attestation::Attestation;
use self::machine::Machine;
use self::runner::{Measured, Runner};
use crate::build;
use crate::lab::{self, Enclave, Lab};
use crate::paths::Paths;
use crate::process;
use crate::progress::title;

/// How long to measure, and where to write.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A third of the rounds: a first look, in minutes
    #[arg(long)]
    quick: bool,
    /// Only this part; repeat it for more
    #[arg(long, value_enum, value_name = "NAME")]
    part: Vec<Part>,
    /// The JSON file; by default below the user's state directory
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Signatures,
    Handshakes,
    Attestation,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }
}

/// All that was measured, as it is written to the file.
#[derive(Serialize)]
struct Results {
    command: String,
    machine: Machine,
    load_before: String,
    load_after: String,
    signatures: Vec<Measured>,
    handshakes: Vec<Measured>,
    attestation: Option<Attestation>,
}

impl Results {
    fn lack_something(&self) -> bool {
        let mut groups = self.signatures.iter().chain(&self.handshakes);
        groups.any(|group| group.report.subjects.iter().any(|subject| subject.error.is_some()))
    }
}

/// Measures, prints the tables and writes the file.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    build::lab(paths)?;
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random)?;
    let dir = env::temp_dir().join(format!("enclave-tls-bench-{}", hex::encode(random)));
    let lab = lab::up(paths, &dir, Enclave::Process)?;
    let measured = measure(paths, &lab, &dir.join("bench"), options);
    if measured.as_ref().map_or(true, Results::lack_something) {
        let kept = dir.with_extension("logs");
        process::run(Command::new("cp").arg("-r").arg(lab.place().logs()).arg(&kept))?;
        println!("  Not all of it could be measured. The lab's logs: {}", kept.display());
    }
    lab::down(paths, &dir)?;
    let results = measured?;
    let file = match &options.out {
        Some(file) => file.clone(),
        None => paths
            .state()
            .join(format!("bench-{}.json", results.machine.date.replace(':', ""))),
    };
    let text = serde_json::to_string_pretty(&results)? + "\n";
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    println!("\n  All of it, with quartiles: {}", file.display());
    Ok(())
}

fn measure(paths: &Paths, lab: &Lab, work: &Path, options: &Options) -> Result<Results> {
    std::fs::create_dir(work)?;
    let runner = Runner::new(paths, lab, work, options.quick)?;
    let load_before = machine::load()?;
    let signatures = match options.wants(Part::Signatures) {
        true => signatures::measure(&runner, lab.description())?,
        false => Vec::new(),
    };
    let handshakes = match options.wants(Part::Handshakes) {
        true => handshakes::measure(&runner, lab.description())?,
        false => Vec::new(),
    };
    let attestation = match options.wants(Part::Attestation) {
        true => Some(attestation::measure(paths, lab, options.quick)?),
        false => None,
    };
    let results = Results {
        command: env::args()
            .skip(1)
            .fold("cargo xtask".to_owned(), |line, word| line + " " + &word),
        machine: Machine::describe(paths)?,
        load_before,
        load_after: machine::load()?,
        signatures,
        handshakes,
        attestation,
    };
    title("The machine");
    results.machine.print();
    println!("  load: {} before, {} after", results.load_before, results.load_after);
    if options.wants(Part::Signatures) {
        title(signatures::TITLE);
        signatures::print(&results.signatures);
    }
    if options.wants(Part::Handshakes) {
        title(handshakes::TITLE);
        handshakes::print(&results.handshakes);
    }
    if let Some(attestation) = &results.attestation {
        title(attestation::TITLE);
        attestation::print(attestation);
    }
    Ok(results)
}
