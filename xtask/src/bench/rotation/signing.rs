//! Signatures at rest and while certificates rotate, in turns: one pair is a run at rest and a run with rotations, in alternating order.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bench::runner::{Group, Runner, SERVER_CORE, Spread};
use crate::bench::show::{Columns, number, ratio};
use crate::bench::softhsm::signing_key;
use crate::lab::{Description, Rotations};
use crate::progress;
use crate::table::Table;

/// All pairs.
#[derive(Deserialize, Serialize)]
pub(super) struct Signing {
    /// Microseconds.
    at_rest: Figures,
    rotating: Figures,
    /// Of the figures of each pair.
    ratios: Figures,
    pairs: usize,
    /// Rotations that ended meanwhile.
    rotations: u32,
}

#[derive(Deserialize, Serialize)]
struct Figures {
    p50: Spread,
    p99: Spread,
}

/// Of one run.
#[derive(Clone, Copy)]
struct Run {
    p50: f64,
    p99: f64,
}

pub(super) fn measure(rotations: &Rotations<'_>, lab: &Description, runner: &Runner, quick: bool) -> Result<Signing> {
    let pairs = if quick { QUICK_PAIRS } else { PAIRS };
    let (mut at_rest, mut rotating, mut ended) = (Vec::new(), Vec::new(), 0);
    progress::step(&format!("signing at rest and during rotations, {pairs} times"), || {
        for number in 0..pairs {
            let is_first = number % 2 == 0;
            if is_first {
                at_rest.push(run(lab, runner)?);
            }
            // Each time at another step of an order.
            let (run, count) = while_rotating(rotations, STEP * (number % STEPS), || self::run(lab, runner))?;
            rotating.push(run);
            ended += count;
            for name in ROTATED {
                rotations.retire_superseded(name)?;
            }
            sleep(SETTLE);
            if !is_first {
                at_rest.push(self::run(lab, runner)?);
            }
        }
        Ok(())
    })?;
    let both = at_rest.iter().zip(&rotating);
    let ratios: Vec<Run> = both.map(|(rest, rotating)| rotating.over(*rest)).collect();
    Ok(Signing {
        at_rest: Figures::of(&at_rest)?,
        rotating: Figures::of(&rotating)?,
        ratios: Figures::of(&ratios)?,
        pairs: ratios.len(),
        rotations: ended,
    })
}

pub(super) fn print(measured: &Signing) {
    let mut columns = Columns::new(["µs", "at rest", "during rotations", "ratio"]);
    let Signing {
        at_rest,
        rotating,
        ratios,
        pairs,
        rotations,
    } = measured;
    for (name, rest, rotating, both) in [
        ("p50", at_rest.p50, rotating.p50, ratios.p50),
        ("p99", at_rest.p99, rotating.p99, ratios.p99),
    ] {
        let cells = [
            number(Some(rest.median)),
            number(Some(rotating.median)),
            ratio(Some(both)),
        ];
        columns.cells([&[name.to_owned()][..], &cells].concat());
    }
    columns.print();
    println!(
        "  {pairs} pairs; {rotations} rotations of {} ended meanwhile",
        ROTATED.join(" and ")
    );
}

impl Signing {
    pub(super) fn judge(&self, table: &mut Table) {
        let what = "p50 of a signature during rotations, over that at rest";
        table.below(what, self.ratios.p50.median, RATIO, "times");
    }
}

impl Figures {
    fn of(runs: &[Run]) -> Result<Self> {
        let spread = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure).collect()).context("no run");
        Ok(Self {
            p50: spread(|run| run.p50)?,
            p99: spread(|run| run.p99)?,
        })
    }
}

impl Run {
    fn over(self, other: Self) -> Self {
        Self {
            p50: self.p50 / other.p50,
            p99: self.p99 / other.p99,
        }
    }
}

/// Signs while certificates rotate, one after the other of each; how many rotations ended.
fn while_rotating(rotations: &Rotations<'_>, wait: Duration, work: impl FnOnce() -> Result<Run>) -> Result<(Run, u32)> {
    let (is_over, ended) = (AtomicBool::new(false), AtomicU32::new(0));
    let again = |name: &str| -> Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            let rotation = rotations.begin(name)?;
            rotations.wait(&rotation, "deployed")?;
            ended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let again = &again;
    let run = thread::scope(|scope| {
        let threads = ROTATED.map(|name| scope.spawn(move || again(name)));
        sleep(BEGUN + wait);
        let run = if threads.iter().any(thread::ScopedJoinHandle::is_finished) {
            Err(anyhow!("nothing rotates"))
        } else {
            work()
        };
        is_over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a rotation panicked"))??;
        }
        run
    })?;
    Ok((run, ended.into_inner()))
}

fn run(lab: &Description, runner: &Runner) -> Result<Run> {
    let key = signing_key(lab, "P-256")?;
    let service = lab.pids.get("service").context("the lab has no service")?;
    let report = runner.ask(&Group {
        title: vec!["rotation".to_owned()],
        core: Some(SERVER_CORE),
        references: Vec::new(),
        count_client: true,
        subjects: vec![json!({
            "name": "ours",
            "watch": [{ "part": "service", "pid": service, "core": SERVER_CORE }],
            "work": {
                "kind": "pkcs11", "signer": runner.signer(), "module": lab.module, "token": lab.token, "label": key.label,
                "pin": null, "mechanism": "ecdsa",
            },
        })],
    }, ROUNDS)?;
    let subject = report.subjects.first().context("no subject")?;
    ensure!(subject.error.is_none(), "not signed: {:?}", subject.error);
    Ok(Run {
        p50: subject.figure("p50").context("no median")?,
        p99: subject.figure("p99").context("no p99")?,
    })
}

/// One that the enclave orders, and one that a CA is asked for by hand.
const ROTATED: [&str; 2] = ["lab-acme-p256", "lab-sealed-p256"];
const RATIO: f64 = 1.2;
const PAIRS: u32 = 16;
const QUICK_PAIRS: u32 = 4;
/// Of 600 ms each.
const ROUNDS: usize = 5;
/// Until the keys are made.
const BEGUN: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(1_500);
const STEPS: u32 = 4;
/// Workers end.
const SETTLE: Duration = Duration::from_secs(2);
