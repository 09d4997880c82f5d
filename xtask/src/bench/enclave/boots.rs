//! From QEMU's start to the first signature.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::workshop::Workshop;
use crate::bench::show::Columns;
use crate::progress;
use crate::table::Table;

/// All boots, in the order in which they were made.
#[derive(Deserialize, Serialize)]
pub(super) struct Boots {
    mebibytes: u32,
    boots: Vec<Boot>,
}

/// As `machinebench` reports it: milliseconds since QEMU's start.
#[derive(Deserialize, Serialize)]
struct Boot {
    first_record_ms: f64,
    control_ms: f64,
    key_ms: f64,
    signature_ms: f64,
    cpu: Cpu,
}

/// Seconds on a processor.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Cpu {
    pub(super) qemu_s: f64,
    pub(super) device_s: f64,
}

/// Boots the image again and again, each time on a new machine.
pub(super) fn measure(workshop: &Workshop, quick: bool) -> Result<Boots> {
    let count = if quick { 3 } else { 5 };
    let boots = (1..=count).map(|number| {
        progress::step(&format!("boot {number} of {count}"), || {
            let machine = workshop.machine(&format!("boot-{number}"), MEBIBYTES)?;
            workshop.measure("boot", &machine, [])
        })
    });
    Ok(Boots {
        mebibytes: MEBIBYTES,
        boots: boots.collect::<Result<_>>().context("no boot")?,
    })
}

impl Boots {
    /// The parts, each by its own median: of three boots no one is the middle in all.
    pub(super) fn print(&self) {
        let mut columns = Columns::new([
            "since QEMU's start, ms",
            "PID 1's record",
            "control",
            "a key",
            "a signature",
            "CPU QEMU, s",
            "device, s",
        ]);
        for (name, of) in [
            ("median", median as fn(Vec<f64>) -> f64),
            ("least", least),
            ("most", most),
        ] {
            let figure = |figure: fn(&Boot) -> f64| of(self.boots.iter().map(figure).collect());
            columns.cells(vec![
                format!("{name} of {}, -m {}", self.boots.len(), self.mebibytes),
                format!("{:.0}", figure(|boot| boot.first_record_ms)),
                format!("{:.0}", figure(|boot| boot.control_ms)),
                format!("{:.0}", figure(|boot| boot.key_ms)),
                format!("{:.0}", figure(|boot| boot.signature_ms)),
                format!("{:.2}", figure(|boot| boot.cpu.qemu_s)),
                format!("{:.3}", figure(|boot| boot.cpu.device_s)),
            ]);
        }
        columns.print();
    }

    pub(super) fn judge(&self, table: &mut Table) {
        let median = median(self.boots.iter().map(|boot| boot.signature_ms / 1e3).collect());
        table.below("boot to the first signature, median", median, SECONDS, "s");
    }
}

/// The middle one; of an even number the lower of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

fn least(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

fn most(values: Vec<f64>) -> f64 {
    values.into_iter().fold(f64::NEG_INFINITY, f64::max)
}

/// As the lab's.
const MEBIBYTES: u32 = 256;
/// On an idle machine.
const SECONDS: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_value_that_was_seen() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
        assert_eq!((least(vec![2.0, 1.0]), most(vec![2.0, 1.0])), (1.0, 2.0));
    }
}
