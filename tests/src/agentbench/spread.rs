//! When certificates that came together are renewed, by the agent's own schedule.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use enclave_tls_admin::schedule::Schedule;
use enclave_wire::KeyId;
use enclave_wire::control::Validity;
use serde::Serialize;

use super::plan::SpreadPlan;

/// How they spread.
#[derive(Clone, Debug, Serialize)]
pub struct Spreading {
    /// All of them.
    pub certificates: u32,
    /// What decided, in the agent's words.
    pub why: String,
    /// How many are renewed in the fullest hour.
    pub most_an_hour: u32,
    /// In how many hours one is.
    pub hours: usize,
}

/// Has the agent's schedule say when each of a plan's certificates is renewed.
pub fn spread(plan: &SpreadPlan) -> Result<Spreading> {
    let mut hours = BTreeMap::<i64, u32>::new();
    let mut why = "";
    for number in 0..plan.certificates {
        let window = plan.window.map(|[from, to]| days(from, to));
        let schedule = Schedule::of(key(number)?, days(0, plan.days), window);
        *hours.entry(schedule.at.div_euclid(HOUR)).or_default() += 1;
        why = schedule.why.as_str();
    }
    Ok(Spreading {
        certificates: hours.values().sum(),
        why: why.to_owned(),
        most_an_hour: hours.values().max().copied().context("no certificate")?,
        hours: hours.len(),
    })
}

fn days(from: i64, to: i64) -> Validity {
    Validity {
        not_before: ISSUED.saturating_add(from.saturating_mul(DAY)),
        not_after: ISSUED.saturating_add(to.saturating_mul(DAY)),
    }
}

/// A key's id is a digest too.
fn key(number: u32) -> Result<KeyId> {
    let digest = digest(&SHA256, &number.to_be_bytes());
    Ok(KeyId(digest.as_ref().try_into()?))
}

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const ISSUED: i64 = 1_800_000_000;
