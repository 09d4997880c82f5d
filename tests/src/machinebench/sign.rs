//! What a signature through the module costs on a lab whose service runs in an emulated machine.
//!
//! Three subjects, all over the lab's bridge: C_SignInit and C_Sign through the module (C), the same request by a client that only writes
//! and reads frames (S), and an empty exchange (P). A round is P S C C S P, so each has two slices around one middle; figures are compared
//! within a round only.
//!
//! It shows what the module adds to the exchange that it makes (C / S). S − P is the service's time for a signature *under emulation*, some
//! thirty times what a processor takes: nobody can look into the guest, and the same library outside would not be emulated. So
//! C / (P + (S − P)) is C / S by another name, and says that the module makes one exchange a signature and does little besides. How fast a
//! real enclave signs it does not show, and a slow signature hides what the module takes; the part `signatures` shows both, on a process.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use enclave_wire::signing::{Reply, Request, Sign as SignRequest};
use enclave_wire::{KeyId, Mechanism};
use serde::Serialize;

use super::plan::SignPlan;
use crate::lab::signing::Connection;
use crate::signbench;
use crate::signbench::plan::{Mechanism as ModuleMechanism, Plan, SubjectPlan, Work};
use crate::signbench::report::Spread;

/// Medians with quartiles, over the rounds that count.
#[derive(Clone, Debug, Serialize)]
pub struct Sign {
    /// Rounds that were run.
    pub rounds: usize,
    /// Rounds that count: in the others the machine moved, and they were made again.
    pub kept: usize,
    /// Whether it moved in nearly all, so that all count.
    pub disturbed: bool,
    /// C_SignInit and C_Sign: p50, µs.
    pub module_us: Spread,
    /// The same request without the module: p50, µs.
    pub raw_us: Spread,
    /// An empty exchange: p50, µs.
    pub ping_us: Spread,
    /// The request's time over the empty exchange's: what the service takes for a signature under emulation.
    pub service_us: Spread,
    /// The module's time by that of the exchange that it makes.
    pub module_by_raw: Spread,
}

/// Measures a lab that is up.
pub fn sign(plan: &SignPlan) -> Result<Sign> {
    let mut raw = Raw::open(plan)?;
    let module = module(plan);
    let mut rounds = Vec::new();
    while is_wanting(plan.rounds, &rounds) {
        rounds.push(round(plan, &mut raw, &module)?);
    }
    report(&rounds)
}

/// The p50 of one round, µs.
#[derive(Clone, Copy, Debug)]
struct Round {
    module: f64,
    raw: f64,
    ping: f64,
    disturbed: bool,
}

/// Whether there is to be one more: until so many count, or thrice as many were made.
fn is_wanting(wanted: usize, rounds: &[Round]) -> bool {
    let steady = rounds.iter().filter(|round| !round.disturbed).count();
    steady < wanted && rounds.len() < wanted * 3
}

fn round(plan: &SignPlan, raw: &mut Raw, module: &Plan) -> Result<Round> {
    let slice = Duration::from_millis(plan.slice_ms);
    let before = [raw.slice(slice, Raw::ping)?, raw.slice(slice, Raw::sign)?];
    let report = signbench::run(module)?; // one round of it is two slices
    let after = [raw.slice(slice, Raw::sign)?, raw.slice(slice, Raw::ping)?];
    let subject = report.subjects.first().context("no subject")?;
    if let Some(error) = &subject.error {
        bail!("the module: {error}");
    }
    let ([ping_before, raw_before], [raw_after, ping_after]) = (before, after);
    Ok(Round {
        module: subject.figures.get("p50").context("no p50")?.median,
        raw: f64::midpoint(raw_before, raw_after),
        ping: f64::midpoint(ping_before, ping_after),
        disturbed: subject.disturbed,
    })
}

/// A client that only writes and reads frames.
struct Raw {
    connection: Connection,
    key: KeyId,
}

impl Raw {
    fn open(plan: &SignPlan) -> Result<Self> {
        let id = hex::decode(&plan.id)?
            .try_into()
            .ok()
            .context("a key id has 32 bytes")?;
        Ok(Self {
            connection: Connection::authenticated(&plan.signing, &plan.credential)?,
            key: KeyId(id),
        })
    }

    fn sign(&mut self) -> Result<()> {
        let request = SignRequest {
            key: self.key,
            mechanism: Mechanism::Ecdsa,
            input: &[0x5a; 32],
        };
        let reply = self.connection.ask(&Request::Sign(request))?;
        ensure!(matches!(reply, Reply::Signature(_)), "no signature: {reply:?}");
        Ok(())
    }

    fn ping(&mut self) -> Result<()> {
        let reply = self.connection.ask(&Request::Ping)?;
        ensure!(matches!(reply, Reply::Pong(_)), "no answer: {reply:?}");
        Ok(())
    }

    /// The median time of one operation, µs.
    fn slice(&mut self, length: Duration, once: impl Fn(&mut Self) -> Result<()>) -> Result<f64> {
        let mut times = Vec::new();
        let mut before = Instant::now();
        let end = before + length;
        while before < end {
            once(self)?;
            let now = Instant::now();
            times.push((now - before).as_secs_f64() * 1e6);
            before = now;
        }
        Ok(spread(times)?.median)
    }
}

/// One round of `signbench`, with the module alone.
fn module(plan: &SignPlan) -> Plan {
    Plan {
        core: None,
        slice_ms: plan.slice_ms,
        rounds: 1,
        most_rounds: None,
        references: Vec::new(),
        count_client: true,
        subjects: vec![SubjectPlan {
            name: "module".to_owned(),
            threads: 1,
            processes: 1,
            environment: BTreeMap::new(),
            watch: Vec::new(),
            work: Work::Pkcs11 {
                signer: Path::to_owned(&plan.signer),
                module: Path::to_owned(&plan.module),
                token: plan.token.clone(),
                label: plan.label.clone(),
                pin: None,
                mechanism: ModuleMechanism::Ecdsa,
            },
        }],
    }
}

fn report(rounds: &[Round]) -> Result<Sign> {
    let steady = rounds.iter().filter(|round| !round.disturbed).count();
    let disturbed = steady < rounds.len().min(LEAST);
    let kept: Vec<&Round> = rounds.iter().filter(|round| disturbed || !round.disturbed).collect();
    let of = |figure: fn(&Round) -> f64| spread(kept.iter().map(|round| figure(round)).collect());
    Ok(Sign {
        rounds: rounds.len(),
        kept: kept.len(),
        disturbed,
        module_us: of(|round| round.module)?,
        raw_us: of(|round| round.raw)?,
        ping_us: of(|round| round.ping)?,
        service_us: of(|round| round.raw - round.ping)?,
        module_by_raw: of(|round| round.module / round.raw)?,
    })
}

/// The values at a quarter, half and three quarters: values that were seen.
fn spread(mut values: Vec<f64>) -> Result<Spread> {
    values.sort_unstable_by(f64::total_cmp);
    let at = |quarters: usize| -> Result<f64> {
        let place = values.len().saturating_sub(1) * quarters / 4;
        values.get(place).copied().context("nothing was measured")
    };
    Ok(Spread {
        q1: at(1)?,
        median: at(2)?,
        q3: at(3)?,
    })
}

/// With fewer steady rounds than these there is no median worth the name.
const LEAST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn round(module: f64, raw: f64, disturbed: bool) -> Round {
        Round {
            module,
            raw,
            ping: 1.0,
            disturbed,
        }
    }

    #[test]
    fn ratios_are_made_within_a_round_and_disturbed_ones_do_not_count() {
        // The machine is twice as slow in the second round: the ratio does not see it.
        let rounds = [
            round(4.0, 2.0, false),
            round(8.0, 4.0, false),
            round(4.0, 2.0, false),
            round(90.0, 2.0, true),
        ];
        let report = report(&rounds).unwrap();
        assert_eq!((report.rounds, report.kept, report.disturbed), (4, 3, false));
        assert_eq!((report.module_by_raw.q1, report.module_by_raw.q3), (2.0, 2.0));
        assert_eq!((report.module_us.median, report.service_us.median), (4.0, 1.0));
    }

    #[test]
    fn if_nearly_all_were_disturbed_all_count() {
        let rounds = [round(1.0, 1.0, true), round(2.0, 1.0, true), round(3.0, 1.0, false)];
        let report = report(&rounds).unwrap();
        assert_eq!((report.kept, report.disturbed), (3, true));
        assert_eq!(report.module_us.median, 2.0);
    }

    #[test]
    fn a_disturbed_round_is_made_again_up_to_a_limit() {
        let (steady, moved) = (round(1.0, 1.0, false), round(1.0, 1.0, true));
        assert!(is_wanting(2, &[]) && is_wanting(2, &[steady, moved]));
        assert!(!is_wanting(2, &[steady, moved, steady]));
        assert!(!is_wanting(2, &[moved; 6]) && is_wanting(2, &[moved; 5]));
    }

    #[test]
    fn nothing_measured_is_an_error() {
        assert!(spread(Vec::new()).is_err());
    }
}
