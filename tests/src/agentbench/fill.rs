//! From the agent's start to certificates that are all served.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::inventory::Inventory;
use super::plan::FillPlan;
use super::usage::{Memory, Spent, Usage, age};
use crate::machinebench::authority::Authority;
use crate::machinebench::plan::Kind;

/// Three steps, one after the other.
#[derive(Clone, Debug, Serialize)]
pub struct Filled {
    /// From the agent's start to the last key.
    pub born: Step,
    /// From the first chain that is installed to the last; the agent deploys meanwhile what it has.
    pub installed: Step,
    /// From there until the report calls all of them served.
    pub served: Step,
    /// The agent, then.
    pub memory: Memory,
}

/// What one of them took.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Wall clock, in seconds.
    pub seconds: f64,
    /// The agent, and the `nitro-cli` that it asks.
    pub agent: Spent,
    /// The root helper, and the servers' tests that it runs.
    pub helper: Spent,
}

/// Waits for the keys, installs a chain for each and waits until all are served.
pub fn fill(plan: &FillPlan) -> Result<Filled> {
    let inventory = Inventory::new(&plan.socket);
    let patience = Duration::from_secs(plan.patience_s);
    inventory.born(plan.certificates, patience).context("no keys")?;
    let begun = Moment {
        at: Instant::now().checked_sub(age(plan.agent)?).context("no age")?,
        agent: Usage::default(),
        helper: Usage::default(),
    };
    let born = begun.step(&Moment::of(plan)?);
    let chains = chains(&inventory, plan.certificates).context("no chains")?;
    let first = Moment::of(plan)?;
    for (key, chain) in chains {
        inventory.install(key, chain)?;
    }
    let last = Moment::of(plan)?;
    inventory.served(plan.certificates, patience).context("not served")?;
    let all = Moment::of(plan)?;
    Ok(Filled {
        born,
        installed: first.step(&last),
        served: last.step(&all),
        memory: Memory::of(plan.agent)?,
    })
}

fn chains(inventory: &Inventory, count: usize) -> Result<Vec<(enclave_wire::KeyId, enclave_wire::identity::Chain)>> {
    let authority = Authority::new()?;
    let keys = inventory.keys()?;
    ensure!(keys.len() == count, "{} keys, not {count}", keys.len());
    keys.iter()
        .map(|key| {
            let host = key.dns_names.items().first().context("a key for no host")?;
            let request = inventory.request(key.id)?;
            Ok((key.id, authority.issue(&request, Kind::P256, host.as_str())?))
        })
        .collect()
}

/// What had been spent at a moment.
struct Moment {
    at: Instant,
    agent: Usage,
    helper: Usage,
}

impl Moment {
    fn of(plan: &FillPlan) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            agent: Usage::of(plan.agent)?,
            helper: Usage::of(plan.helper)?,
        })
    }

    fn step(&self, later: &Self) -> Step {
        Step {
            seconds: later.at.duration_since(self.at).as_secs_f64(),
            agent: later.agent - self.agent,
            helper: later.helper - self.helper,
        }
    }
}
