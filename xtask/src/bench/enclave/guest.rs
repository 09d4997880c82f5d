//! One guest that was filled with certificates, as `machinebench` reports it.

use serde::{Deserialize, Serialize};

use super::boots::Cpu;
use super::mebibytes;

/// As `machinebench` reports it.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Fill {
    pub(super) mebibytes: u32,
    pub(super) outcome: Outcome,
    pub(super) installed: usize,
    chain_bytes: usize,
    pub(super) used_at_ready: u64,
    marks: Vec<Mark>,
    pub(super) crowd: Crowd,
}

/// What many connections at once did to it.
#[derive(Clone, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Crowd {
    NotTried,
    Stood {
        connections: usize,
        used_before: u64,
        used: u64,
    },
    Ended {
        why: String,
    },
}

#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Outcome {
    All,
    Full,
    NoBoot { why: String },
    Ended { why: String },
}

#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Mark {
    pub(super) certificates: usize,
    pub(super) used: u64,
    making: Cpu,
    signing: Cpu,
    making_s: f64,
}

/// The smallest guest that held so many.
pub(super) fn smallest(fills: &[Fill], certificates: usize) -> Option<(&Fill, &Mark)> {
    let marked = fills
        .iter()
        .flat_map(|fill| fill.marks.iter().map(move |mark| (fill, mark)));
    marked.into_iter().find(|(_, mark)| mark.certificates == certificates)
}

impl Fill {
    /// What went wrong with the guest.
    pub(super) fn whys(&self) -> impl Iterator<Item = &str> {
        let outcome = match &self.outcome {
            Outcome::All | Outcome::Full => None,
            Outcome::NoBoot { why } | Outcome::Ended { why } => Some(why.as_str()),
        };
        let crowd = match &self.crowd {
            Crowd::NotTried | Crowd::Stood { .. } => None,
            Crowd::Ended { why } => Some(why.as_str()),
        };
        outcome.into_iter().chain(crowd)
    }
}

impl Mark {
    pub(super) fn cells(&self, fill: &Fill) -> [String; 5] {
        let cpu = |cpu: Cpu| format!("{:.2}", cpu.qemu_s + cpu.device_s);
        [
            fill.mebibytes.to_string(),
            format!("{:.1}", mebibytes(self.used)),
            self.each(fill)
                .map_or_else(|| "–".to_owned(), |each| format!("{each:.1}")),
            cpu(self.making),
            cpu(self.signing),
        ]
    }

    /// KiB that a certificate took since the mark before. Below a hundred or so what the service leaves of its own start outweighs it.
    fn each(&self, fill: &Fill) -> Option<f64> {
        let before = fill
            .marks
            .iter()
            .rev()
            .find(|mark| mark.certificates < self.certificates)?;
        let count = self.certificates - before.certificates;
        let grown = mebibytes(self.used) - mebibytes(before.used);
        (count >= ENOUGH).then_some(grown * 1_024.0 / count as f64)
    }
}

const ENOUGH: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    /// With 10 KiB for each certificate.
    fn fill(mebibytes: u32, outcome: Outcome, marks: &[usize]) -> Fill {
        let cpu = Cpu {
            qemu_s: 1.0,
            device_s: 0.5,
        };
        let mark = |&certificates| Mark {
            certificates,
            used: (20 << 20) + 10_240 * certificates as u64,
            making: cpu,
            signing: cpu,
            making_s: 2.0,
        };
        Fill {
            mebibytes,
            outcome,
            installed: marks.last().copied().unwrap_or_default(),
            chain_bytes: 2_100,
            used_at_ready: 20 << 20,
            marks: marks.iter().map(mark).collect(),
            crowd: Crowd::NotTried,
        }
    }

    #[test]
    fn the_smallest_guest_that_reached_a_number_counts() {
        let why = String::new();
        let fills = [
            fill(32, Outcome::NoBoot { why }, &[]),
            fill(64, Outcome::Full, &[1, 100]),
            fill(96, Outcome::All, &[1, 100, 1_000]),
        ];
        let size = |number| smallest(&fills, number).map(|(fill, _)| fill.mebibytes);
        assert_eq!([1, 100, 1_000, 10_000].map(size), [Some(64), Some(64), Some(96), None]);
    }

    #[test]
    fn a_certificates_memory_is_what_came_since_the_mark_before() {
        let fill = fill(64, Outcome::All, &[100, 1_124]);
        let [few, many] = [0, 1].map(|number: usize| fill.marks.get(number).map(|mark| mark.cells(&fill)));
        assert_eq!(few.unwrap(), ["64", "21.0", "–", "1.50", "1.50"]);
        assert_eq!(many.unwrap(), ["64", "31.0", "10.0", "1.50", "1.50"]);
    }

    #[test]
    fn outcomes_are_read_as_machinebench_writes_them() {
        let read = |text| serde_json::from_str::<Outcome>(text).unwrap();
        assert!(read(r#"{"kind": "all"}"#) == Outcome::All);
        assert!(matches!(
            read(r#"{"kind": "no-boot", "why": "x"}"#),
            Outcome::NoBoot { .. }
        ));
    }
}
