//! What the parent's agent takes: at rest, with the lab's certificates and with a thousand; how long a thousand take until they are served;
//! what a server's start costs with them. `agentbench` of crate `e2e` measures; this part makes labs and plans, and shows what it answers.

mod certificates;
mod rest;
mod starts;
mod workshop;

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use self::certificates::Certificates;
use self::rest::Rest;
use self::starts::Starts;
use self::workshop::Workshop;
use super::machine;
use crate::lab::{Many, Via};
use crate::paths::Paths;
use crate::table::Table;

pub(super) const TITLE: &str = "The agent";

/// All figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Agent {
    /// With the certificates of a lab.
    few: Rest,
    certificates: Certificates,
    provider: Starts,
    /// The same with keys for digests, which an engine needs.
    engine: Option<Starts>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_error: Option<String>,
    /// The load averages before each of the four and after the last.
    load: [String; 5],
}

/// Measures in a directory of its own.
pub(super) fn measure(paths: &Paths, dir: &Path, quick: bool) -> Result<Agent> {
    let workshop = Workshop::open(paths, dir, quick)?;
    let first = machine::load()?;
    let few = rest::of_a_lab(&workshop)?;
    let second = machine::load()?;
    let with_provider = |many: &Many| -> Result<_> {
        let certificates = certificates::measure(&workshop, many)?;
        Ok((certificates, machine::load()?, starts::measure(&workshop, many)?))
    };
    let (certificates, third, provider) = workshop.with_many(Via::Provider, with_provider)?;
    let fourth = machine::load()?;
    let with_engine = |many: &Many| -> Result<_> {
        certificates::fill(&workshop, many)?;
        starts::measure(&workshop, many)
    };
    let engine = workshop.with_many(Via::Engine, with_engine);
    Ok(Agent {
        few,
        certificates,
        provider,
        engine_error: engine.as_ref().err().map(|error| format!("{error:#}")),
        engine: engine.ok(),
        load: [first, second, third, fourth, machine::load()?],
    })
}

impl Agent {
    /// Whether a part of it is missing.
    pub(super) fn lacks_something(&self) -> bool {
        self.engine.is_none()
    }
}

pub(super) fn print(measured: &Agent) {
    let Agent {
        few,
        certificates,
        provider,
        engine,
        engine_error,
        load: [first, second, third, fourth, last],
    } = measured;
    println!("  At rest (load {first} before, {second} after)");
    rest::print(&[
        ("a lab's certificates", few),
        (&certificates.count(), certificates.rest()),
    ]);
    println!(
        "\n  {} certificates (load {second} before, {third} after)",
        certificates.count()
    );
    certificates.print();
    println!("\n  NGINX's start with as many server blocks (load {third} before, {last} after)");
    let mut all = vec![("provider", provider)];
    all.extend(engine.iter().map(|engine| ("engine", engine)));
    starts::print(&all);
    if let Some(error) = engine_error {
        println!("  n/a: the engine (load {fourth} before): {error}");
    }
    let mut table = Table::new(["must hold", "is"]);
    few.judge(&mut table, "with a lab's certificates");
    certificates.judge(&mut table);
    provider.judge(&mut table);
    println!();
    table.print();
}
