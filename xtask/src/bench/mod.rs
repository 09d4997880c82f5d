//! `cargo xtask bench`: signatures and handshakes, ours against others, rotation, attestation, the agent, and the image on an emulated machine, in
//! tables and one file.
//!
//! This part makes what is measured (a lab, a SoftHSM2 token, an image), writes plans, and shows what `signbench`, `agentbench` and
//! `machinebench` of crate `e2e` answer. A table of `signbench`'s is a list of *groups*; a group is one plan, whose subjects are measured in turns. A new table is
//! a new file like `signatures` and `handshakes`.

mod agent;
mod attestation;
mod delay;
mod enclave;
mod handshakes;
mod keys;
mod machine;
mod plot;
mod rotation;
mod runner;
mod show;
mod signatures;
mod softhsm;
mod start;
mod targets;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use self::agent::Agent;
use self::attestation::Attestation;
use self::enclave::Enclave;
use self::handshakes::Handshakes;
use self::keys::Keys;
use self::machine::Machine;
use self::rotation::Rotation;
use self::runner::Runner;
use self::signatures::Signatures;
use crate::build;
use crate::lab::{self, Lab};
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
    /// Measure nothing: show the tables of such a file, and draw its plots again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "part", "out"])]
    read: Option<PathBuf>,
}

/// What can be measured by itself.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Signatures,
    Handshakes,
    /// A service with ten keys and one with ten thousand
    Keys,
    /// Certificates that renew and rotate
    Rotation,
    Attestation,
    /// The parent's agent, and servers with many certificates
    Agent,
    /// The image, on an emulated machine
    Enclave,
}

impl Options {
    /// What must be built for it.
    pub(crate) fn lab(&self) -> lab::Enclave {
        match self.wants(Part::Enclave) {
            true => lab::Enclave::Emulated,
            false => lab::Enclave::Process,
        }
    }

    /// Whether nothing is to be measured.
    pub(crate) fn only_reads(&self) -> bool {
        self.read.is_some()
    }

    fn wants(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    /// Whether a part is measured on a lab whose service is a process.
    fn wants_lab(&self) -> bool {
        [
            Part::Signatures,
            Part::Handshakes,
            Part::Keys,
            Part::Rotation,
            Part::Attestation,
        ]
        .into_iter()
        .any(|part| self.wants(part))
    }
}

/// All that was measured, as it is written to the file.
#[derive(Deserialize, Serialize)]
struct Results {
    command: String,
    machine: Machine,
    load_before: String,
    load_after: String,
    #[serde(flatten)]
    on_lab: OnLab,
    agent: Option<Agent>,
    enclave: Option<Enclave>,
}

/// What is measured on a lab whose service is a process.
#[derive(Default, Deserialize, Serialize)]
struct OnLab {
    signatures: Option<Signatures>,
    handshakes: Option<Handshakes>,
    keys: Option<Keys>,
    rotation: Option<Rotation>,
    attestation: Option<Attestation>,
}

impl OnLab {
    fn plots(&self) -> Vec<(&'static str, String)> {
        let signatures = self.signatures.iter().flat_map(Signatures::plots);
        signatures
            .chain(self.handshakes.iter().flat_map(Handshakes::plots))
            .collect()
    }

    fn lacks_something(&self) -> bool {
        self.handshakes.as_ref().is_some_and(Handshakes::lacks_something)
            || self.signatures.as_ref().is_some_and(Signatures::lacks_something)
    }
}

/// Measures, prints the tables and writes the file.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    if let Some(file) = &options.read {
        return read(file);
    }
    // Before it is built: the tree may be worked on meanwhile.
    let machine = Machine::describe(paths)?;
    build::lab(paths)?;
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random)?;
    let dir = env::temp_dir().join(format!("enclave-tls-bench-{}", hex::encode(random)));
    let load_before = machine::load()?;
    let on_lab = match options.wants_lab() {
        true => measure_on_lab(paths, &dir, options)?,
        false => OnLab::default(),
    };
    let agent = match options.wants(Part::Agent) {
        true => Some(measure_agent(paths, &dir, options)?),
        false => None,
    };
    let enclave = match options.wants(Part::Enclave) {
        true => Some(measure_enclave(paths, &dir, options)?),
        false => None,
    };
    let results = Results {
        command: env::args()
            .skip(1)
            .fold("cargo xtask".to_owned(), |line, word| line + " " + &word),
        machine,
        load_before,
        load_after: machine::load()?,
        on_lab,
        agent,
        enclave,
    };
    let file = match &options.out {
        Some(file) => file.clone(),
        None => paths
            .state()
            .join(format!("bench-{}.json", results.machine.date.replace(':', ""))),
    };
    let text = serde_json::to_string_pretty(&results)? + "\n";
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    show(&results, &file)?;
    println!("  All of it, with quartiles: {}", file.display());
    Ok(())
}

/// Shows what was measured before.
fn read(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let results =
        serde_json::from_str(&text).with_context(|| format!("{} is not what `bench` wrote", file.display()))?;
    show(&results, file)
}

/// Prints the tables, and writes plots beside the file that the results are in.
fn show(results: &Results, file: &Path) -> Result<()> {
    results.print();
    println!();
    for (name, plot) in results.on_lab.plots() {
        let path = file.with_extension(format!("{name}.svg"));
        std::fs::write(&path, plot).with_context(|| format!("cannot write {}", path.display()))?;
        println!("  Plot: {}", path.display());
    }
    Ok(())
}

fn measure_on_lab(paths: &Paths, dir: &Path, options: &Options) -> Result<OnLab> {
    let lab = lab::up(paths, dir, lab::Enclave::Process)?;
    let measured = measure(paths, &lab, &dir.join("bench"), options);
    if measured.as_ref().map_or(true, OnLab::lacks_something) {
        let kept = dir.with_extension("logs");
        process::run(Command::new("cp").arg("-r").arg(lab.place().logs()).arg(&kept))?;
        println!("  Not all of it could be measured. The lab's logs: {}", kept.display());
    }
    lab::down(paths, dir)?;
    measured
}

/// In a directory beside the lab's, which stays where something could not be measured.
fn measure_agent(paths: &Paths, dir: &Path, options: &Options) -> Result<Agent> {
    let dir = dir.with_extension("agent");
    let measured = agent::measure(paths, &dir, options.quick);
    match measured.as_ref().map_or(true, Agent::lacks_something) {
        true => println!("  Not all of it could be measured. What was tried: {}", dir.display()),
        false => std::fs::remove_dir_all(&dir)?,
    }
    measured
}

/// In a directory beside the lab's, which stays where something could not be measured.
fn measure_enclave(paths: &Paths, dir: &Path, options: &Options) -> Result<Enclave> {
    let dir = dir.with_extension("enclave");
    let measured = enclave::measure(paths, &dir, options.quick);
    match measured.as_ref().map_or(true, Enclave::lacks_something) {
        true => println!("  Not all of it could be measured. What was tried: {}", dir.display()),
        false => std::fs::remove_dir_all(&dir)?,
    }
    measured
}

fn measure(paths: &Paths, lab: &Lab, work: &Path, options: &Options) -> Result<OnLab> {
    std::fs::create_dir(work)?;
    let runner = Runner::new(paths, lab, work, options.quick)?;
    Ok(OnLab {
        // First: signatures bring keys of kinds at which libp11's engine gives up.
        handshakes: match options.wants(Part::Handshakes) {
            true => Some(handshakes::measure(paths, lab, &runner)?),
            false => None,
        },
        signatures: match options.wants(Part::Signatures) {
            true => Some(signatures::measure(paths, lab, &runner)?),
            false => None,
        },
        keys: match options.wants(Part::Keys) {
            true => Some(keys::measure(paths, lab, &runner, options.quick)?),
            false => None,
        },
        rotation: match options.wants(Part::Rotation) {
            true => Some(rotation::measure(paths, lab, &runner, options.quick)?),
            false => None,
        },
        attestation: match options.wants(Part::Attestation) {
            true => Some(attestation::measure(paths, lab, options.quick)?),
            false => None,
        },
    })
}

impl Results {
    fn print(&self) {
        title("The machine");
        self.machine.print();
        println!("  load: {} before, {} after", self.load_before, self.load_after);
        if let Some(signatures) = &self.on_lab.signatures {
            title(signatures::TITLE);
            signatures.print();
        }
        if let Some(handshakes) = &self.on_lab.handshakes {
            title(handshakes::TITLE);
            handshakes.print();
        }
        let (signatures, handshakes) = (self.on_lab.signatures.as_ref(), self.on_lab.handshakes.as_ref());
        if signatures.is_some() || handshakes.is_some() {
            title(targets::TITLE);
            targets::judge(signatures, handshakes).print();
        }
        if let Some(keys) = &self.on_lab.keys {
            title(keys::TITLE);
            keys::print(keys);
        }
        if let Some(rotation) = &self.on_lab.rotation {
            title(rotation::TITLE);
            rotation::print(rotation);
        }
        if let Some(attestation) = &self.on_lab.attestation {
            title(attestation::TITLE);
            attestation::print(attestation);
        }
        if let Some(agent) = &self.agent {
            title(agent::TITLE);
            agent::print(agent);
        }
        if let Some(enclave) = &self.enclave {
            title(enclave::TITLE);
            enclave::print(enclave);
        }
    }
}
