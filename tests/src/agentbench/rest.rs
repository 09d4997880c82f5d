//! What a process takes that has nothing to do.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::plan::RestPlan;
use super::usage::{Memory, Spent, Usage};

/// A process at rest.
#[derive(Clone, Debug, Serialize)]
pub struct Rest {
    /// How long it was looked at.
    pub seconds: f64,
    /// Its processor time meanwhile.
    pub cpu: Spent,
    /// Of one processor, with its children.
    pub percent: f64,
    /// In the end.
    pub memory: Memory,
}

/// Looks at a process and does nothing.
pub fn rest(plan: &RestPlan) -> Result<Rest> {
    let (begin, before) = (Instant::now(), Usage::of(plan.pid)?);
    sleep(Duration::from_secs(plan.seconds));
    let cpu = Usage::of(plan.pid)? - before;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Rest {
        seconds,
        cpu,
        percent: (cpu.own_ms + cpu.children_ms) / (seconds * 10.0),
        memory: Memory::of(plan.pid)?,
    })
}
