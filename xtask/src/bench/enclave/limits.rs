//! How many certificates fit in how much memory: what an administrator gives `nitro-cli run-enclave --memory`.
//!
//! The same certificates go into guests of more and more memory, until all fit. Each guest is filled until it refuses, so one series answers
//! for every number of certificates.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::guest::{Crowd, Fill, Outcome, smallest};
use super::mebibytes;
use super::workshop::Workshop;
use crate::bench::show::Columns;
use crate::progress;
use crate::table::{Table, Verdict};

/// All guests that were filled.
#[derive(Deserialize, Serialize)]
pub(super) struct Limits {
    p256: Vec<Fill>,
    rsa: Vec<Fill>,
    /// The smallest guest that holds any, filled until it refused.
    refusal: Fill,
}

pub(super) fn measure(workshop: &Workshop, quick: bool) -> Result<Limits> {
    let marks: &[usize] = if quick { &QUICK_MARKS } else { &MARKS };
    let p256 = series(workshop, "P-256", marks, &SIZES)?;
    let first = p256.iter().position(|fill| fill.installed > 0);
    let first = first.context("no guest holds a certificate")?;
    let holding = SIZES.get(first..).unwrap_or_default();
    let rsa = series(workshop, "RSA-2048", &RSA_MARKS, holding)?;
    let refusal = match p256.get(first) {
        Some(fill) if fill.outcome == Outcome::Full => fill.clone(),
        Some(_) | None => fill(workshop, "P-256", &[SERVICES_OWN], *holding.first().context("no size")?)?,
    };
    Ok(Limits { p256, rsa, refusal })
}

/// Larger and larger guests, until all certificates fit.
fn series(workshop: &Workshop, kind: &str, marks: &[usize], sizes: &[u32]) -> Result<Vec<Fill>> {
    let mut fills = Vec::new();
    for &size in sizes {
        let filled = fill(workshop, kind, marks, size)?;
        let all = filled.outcome == Outcome::All;
        fills.push(filled);
        if all {
            break;
        }
    }
    Ok(fills)
}

fn fill(workshop: &Workshop, kind: &str, marks: &[usize], size: u32) -> Result<Fill> {
    let most = marks.last().copied().unwrap_or_default();
    progress::step(&format!("{most} certificates, {kind}, -m {size}"), || {
        let machine = workshop.machine(&format!("fill-{kind}-{most}-{size}"), size)?;
        let plan = json!({ "machine": machine, "kind": kind, "marks": marks, "crowd": CROWD });
        workshop.measure("fill", &plan, [])
    })
}

impl Limits {
    pub(super) fn print(&self) {
        self.print_guests();
        println!();
        self.print_numbers();
        if let Some(boots) = self.smallest_that_boots() {
            println!("  It boots with -m {boots}; a real enclave has at least 64.");
        }
    }

    /// A row for each guest.
    fn print_guests(&self) {
        let mut columns = Columns::new([
            "-m",
            "keys",
            "in use without any, MiB",
            "certificates",
            "then",
            "with long requests",
        ]);
        let series = [("P-256", &self.p256), ("RSA-2048", &self.rsa)];
        let all = series
            .iter()
            .flat_map(|(kind, fills)| fills.iter().map(move |fill| (*kind, fill)));
        for (kind, fill) in all.chain([("P-256", &self.refusal)]) {
            columns.cells(vec![
                fill.mebibytes.to_string(),
                kind.to_owned(),
                match fill.used_at_ready {
                    0 => "–".to_owned(),
                    used => format!("{:.1}", mebibytes(used)),
                },
                fill.installed.to_string(),
                match &fill.outcome {
                    Outcome::All => "all of them".to_owned(),
                    Outcome::Full if fill.installed == 0 => "MemoryFull".to_owned(),
                    Outcome::Full => "MemoryFull, and the others sign".to_owned(),
                    Outcome::NoBoot { .. } => "does not boot".to_owned(),
                    Outcome::Ended { .. } => "ENDED".to_owned(),
                },
                match &fill.crowd {
                    Crowd::NotTried => "–".to_owned(),
                    Crowd::Stood {
                        connections,
                        used_before,
                        used,
                    } => {
                        let more = mebibytes(*used) - mebibytes(*used_before);
                        format!("{connections}, {more:+.1} MiB")
                    }
                    Crowd::Ended { .. } => "ENDED".to_owned(),
                },
            ]);
        }
        columns.print();
        for fill in self.all() {
            fill.whys().for_each(|why| println!("  -m {}: {why}", fill.mebibytes));
        }
    }

    /// A row for each number of certificates.
    fn print_numbers(&self) {
        let mut columns = Columns::new([
            "certificates",
            "keys",
            "smallest -m",
            "in use, MiB",
            "KiB each",
            "CPU to make them, s",
            "to sign once each, s",
        ]);
        for (kind, fills, marks) in [
            ("P-256", &self.p256, &MARKS[..]),
            ("RSA-2048", &self.rsa, &RSA_MARKS[1..]),
        ] {
            for &mark in marks {
                let mut cells = vec![mark.to_string(), kind.to_owned()];
                match smallest(fills, mark) {
                    Some((fill, found)) => cells.extend(found.cells(fill)),
                    None => cells.push("not tried".to_owned()),
                }
                columns.cells(cells);
            }
        }
        columns.print();
    }

    fn all(&self) -> impl Iterator<Item = &Fill> {
        self.p256.iter().chain(&self.rsa).chain([&self.refusal])
    }

    fn smallest_that_boots(&self) -> Option<u32> {
        let boots = |fill: &&Fill| !matches!(fill.outcome, Outcome::NoBoot { .. });
        self.p256.iter().find(boots).map(|fill| fill.mebibytes)
    }

    pub(super) fn judge(&self, table: &mut Table) {
        let hundred = smallest(&self.p256, 100);
        let (size, used) = hundred.map_or((f64::INFINITY, f64::INFINITY), |(fill, mark)| {
            (f64::from(fill.mebibytes), mebibytes(mark.used))
        });
        table.below("memory in use with 100 certificates", used, SMALL, "MiB");
        table.row(
            [format!("100 certificates fit in -m {SMALL}"), format!("-m {size}")],
            Verdict::of(size <= SMALL),
        );
        let ended = self
            .all()
            .filter(|fill| matches!(fill.outcome, Outcome::Ended { .. }))
            .count();
        table.row(
            [
                "no guest ends for want of memory".into(),
                format!("{ended} of {}", self.all().count()),
            ],
            Verdict::of(ended == 0),
        );
        let crowded = self
            .all()
            .filter(|fill| matches!(fill.crowd, Crowd::Ended { .. }))
            .count();
        let stood = self
            .all()
            .filter(|fill| matches!(fill.crowd, Crowd::Stood { .. }))
            .count();
        table.row(
            [
                "a full guest stands as many connections as it takes, each with long requests".into(),
                format!("{crowded} of {} ended", crowded + stood),
            ],
            Verdict::of(crowded == 0),
        );
        table.row(
            [
                "a certificate too many is refused, and the others sign".into(),
                format!(
                    "the {}th with -m {}",
                    self.refusal.installed + 1,
                    self.refusal.mebibytes
                ),
            ],
            Verdict::of(self.refusal.outcome == Outcome::Full && self.refusal.installed > 0),
        );
    }
}

const MARKS: [usize; 4] = [1, 100, 1_000, 10_000];
const QUICK_MARKS: [usize; 3] = [1, 100, 1_000];
const RSA_MARKS: [usize; 2] = [1, 100];
/// More than the service takes of any: memory ends first.
const SERVICES_OWN: usize = 20_000;
/// From too small to more than enough. Nitro gives 64 MiB at the least: what is below says how far that is from the edge.
const SIZES: [u32; 10] = [32, 48, 56, 64, 80, 96, 128, 192, 256, 512];
/// Connections: nearly as many as the service takes.
const CROWD: usize = 1_000;
/// Mebibytes: the least that an enclave can have.
const SMALL: f64 = 64.0;
