//! What signatures and handshakes must hold, beside what was measured.

use super::handshakes::{Handshakes, KINDS, LIBRARIES, SIGN_ALONE, VERSIONS, WORKERS, far_name, on_softhsm};
use super::runner::Subject;
use super::signatures::{self, Signatures};
use crate::lab::peers::Client;
use crate::table::{Table, Verdict};

pub(super) const TITLE: &str = "Targets";

/// Rows for what was measured.
pub(super) fn judge(signatures: Option<&Signatures>, handshakes: Option<&Handshakes>) -> Table {
    let mut targets = Targets(Table::new(["must hold", "is"]));
    if let Some(signatures) = signatures {
        targets.signatures(signatures);
    }
    if let Some(handshakes) = handshakes {
        targets.near(handshakes);
        targets.far(handshakes);
        targets.against_softhsm(handshakes);
    }
    targets.0
}

struct Targets(Table);

impl Targets {
    fn signatures(&mut self, measured: &Signatures) {
        for (mechanism, limit) in [("P-256", 8.0), ("RSA-2048 PKCS#1", 14.0), ("RSA-2048 PSS", 14.0)] {
            let p50 = |name| measured.single(mechanism, name).and_then(|one| one.figure("p50"));
            let over = p50(signatures::OURS)
                .zip(p50(signatures::RAW))
                .map(|(ours, raw)| ours - raw);
            let socket = p50(signatures::SOCKET)
                .map_or_else(String::new, |p50| format!(", of which the bare socket's {p50:.1}"));
            self.at_most(
                &format!("C_Sign, {mechanism}: p50 over the raw library{socket}"),
                over,
                limit,
                "µs",
            );
        }
        let behind = measured.single("P-256", signatures::OURS);
        let behind = behind.and_then(|ours| ours.ratio(signatures::BEHIND, "p50"));
        self.at_most(
            "C_Sign, P-256: p50 by that of SoftHSM2 behind p11-kit",
            behind.map(|ratio| ratio.median),
            0.5,
            "times",
        );
        for (mechanism, ratio) in measured.threads_by_processes() {
            self.at_least(
                &format!("C_Sign, {mechanism}: four threads by four processes"),
                ratio,
                0.9,
            );
        }
    }

    /// CPU, a worker and the service near it.
    fn near(&mut self, measured: &Handshakes) {
        for tls in VERSIONS {
            for kind in KINDS {
                for client in LIBRARIES {
                    let subject = measured.near(tls, kind, client.name());
                    let ratio = |figure| Some(subject?.ratio(Client::File.name(), figure)?.median);
                    let (worker, both) = match (kind, client) {
                        ("P-256", Client::Engine) => (1.25, 1.45),
                        ("P-256", _) => (1.12, 1.45),
                        _ => (0.70, 1.25),
                    };
                    let what = format!("TLS {tls}, {kind}, {}", client.name());
                    self.at_most(
                        &format!("{what}: CPU of the worker by that with a file"),
                        ratio("cpu.worker"),
                        worker,
                        "times",
                    );
                    self.at_most(&format!("{what}: with the service's"), ratio("cpu"), both, "times");
                }
            }
        }
    }

    /// The worker pays what the client library costs it with another module, less what that module itself costs, and 12 µs. All three are
    /// of the same rounds.
    fn against_softhsm(&mut self, handshakes: &Handshakes) {
        for tls in VERSIONS {
            for kind in KINDS {
                let module = handshakes.near(tls, kind, SIGN_ALONE);
                let module = module.and_then(|alone| alone.figure("cpu.client"));
                for client in LIBRARIES {
                    let reference = on_softhsm(client.name());
                    let worker = |name: &str| handshakes.near(tls, kind, name)?.figure("cpu.worker");
                    let theirs = worker(&reference);
                    let ours = handshakes.near(tls, kind, client.name());
                    let ratio = ours.and_then(|ours| ours.ratio(&reference, "cpu.worker"));
                    let ours = theirs.zip(ratio).map(|(theirs, ratio)| theirs * ratio.median);
                    let limit = theirs.zip(module).map(|(worker, module)| worker - module + 12.0);
                    let what = format!(
                        "TLS {tls}, {kind}, {}: CPU of the worker by SoftHSM2's, less its own",
                        client.name()
                    );
                    self.at_most(&what, ours, limit.unwrap_or_default(), "µs");
                }
            }
        }
    }

    /// The best count of workers, far from the service. Here the client has a core as small as the worker's: where that one is full, it sets
    /// the rate, and the target is the same part of what the fuller core allows.
    fn far(&mut self, measured: &Handshakes) {
        for tls in VERSIONS {
            for kind in KINDS {
                for client in LIBRARIES {
                    self.best_far(measured, tls, kind, client);
                }
            }
        }
    }

    fn best_far(&mut self, measured: &Handshakes, tls: &str, kind: &str, client: Client) {
        let one_by_file = far_name(Client::File.name(), 1);
        let file = measured.far(tls, kind, &one_by_file);
        if file.is_none() {
            return; // nothing of it was measured
        }
        let rates = WORKERS.into_iter().filter_map(|workers| {
            let subject = measured.far(tls, kind, &far_name(client.name(), workers))?;
            let ratio = subject.ratio(&one_by_file, "rate")?.median;
            Some((workers, subject, ratio))
        });
        let best = rates.max_by(|(_, _, one), (_, _, other)| one.total_cmp(other));
        let part = if kind == "P-256" { 0.8 } else { 0.9 };
        let file = file_us(file);
        let (workers, judge) = match best {
            Some((workers, subject, _)) => (workers, Judge::of(&Cores::of(subject), file)),
            None => (0, Judge::File),
        };
        let what = format!(
            "TLS {tls}, {kind}, {}, far: a second with {workers} workers by {}",
            client.name(),
            judge.words(part)
        );
        self.at_least(&what, best.map(|(_, _, ratio)| ratio), part * judge.allowed());
    }

    fn at_most(&mut self, what: &str, found: Option<f64>, limit: f64, unit: &str) {
        let holds = found.is_some_and(|found| found <= limit);
        self.row(&format!("{what} <= {limit:.2} {unit}"), found, unit, holds);
    }

    fn at_least(&mut self, what: &str, found: Option<f64>, limit: f64) {
        let holds = found.is_some_and(|found| found >= limit);
        self.row(&format!("{what} >= {limit:.2} times"), found, "times", holds);
    }

    fn row(&mut self, what: &str, found: Option<f64>, unit: &str, holds: bool) {
        let found = found.map_or_else(|| "not measured".to_owned(), |found| format!("{found:.2} {unit}"));
        self.0.row([what.to_owned(), found], Verdict::of(holds));
    }
}

/// What a handshake takes on a worker's core with the key in a file: nothing else limits it there.
fn file_us(file: Option<&Subject>) -> Option<f64> {
    Some(1e6 / file?.figure("rate")?)
}

/// What both cores had to do for a handshake, µs.
struct Cores {
    worker: Option<f64>,
    /// Of the client, the service, and what delays its replies, which has the core with them.
    other: Option<f64>,
    /// Of a hundred.
    other_idle: Option<f64>,
}

impl Cores {
    fn of(subject: &Subject) -> Self {
        let others = ["cpu.client", "cpu.service", "cpu.delay"].map(|part| subject.figure(part));
        Self {
            worker: subject.figure("cpu.worker"),
            other: others.into_iter().sum(),
            other_idle: subject.figure("idle.1"),
        }
    }
}

/// What a rate far from the service is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Judge {
    /// One worker with a file.
    File,
    /// What the fuller core allows, as a part of that; the other core was full.
    FullerCore { allowed: f64 },
}

impl Judge {
    fn of(cores: &Cores, file_us: Option<f64>) -> Self {
        let is_full = cores.other_idle.is_some_and(|idle| idle < FULL);
        let fuller = cores.worker.zip(cores.other).map(|(one, other)| one.max(other));
        match file_us.zip(fuller) {
            // More than a file allows is never asked for.
            Some((file, fuller)) if is_full && fuller > file => Self::FullerCore { allowed: file / fuller },
            _ => Self::File,
        }
    }

    fn allowed(self) -> f64 {
        match self {
            Self::File => 1.0,
            Self::FullerCore { allowed } => allowed,
        }
    }

    fn words(self, part: f64) -> String {
        match self {
            Self::File => "a file".to_owned(),
            Self::FullerCore { allowed } => {
                format!("a file, the client's core full: {part} of {allowed:.2}, which the fuller core allows,")
            }
        }
    }
}

/// A core that is idle for less than so many hundredths of the time is full.
const FULL: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(worker: f64, other: f64, other_idle: f64) -> Cores {
        Cores {
            worker: Some(worker),
            other: Some(other),
            other_idle: Some(other_idle),
        }
    }

    #[test]
    fn a_full_core_of_the_clients_sets_the_rate() {
        let judge = Judge::of(&cores(200.0, 400.0, 1.0), Some(300.0));
        assert_eq!(judge, Judge::FullerCore { allowed: 0.75 });
        assert!(judge.words(0.8).contains("0.8 of 0.75"));
        // The worker's may be the fuller one.
        assert_eq!(
            Judge::of(&cores(600.0, 400.0, 4.9), Some(300.0)),
            Judge::FullerCore { allowed: 0.5 }
        );
    }

    #[test]
    fn else_a_file_is_the_measure() {
        for (cores, file) in [
            (cores(200.0, 400.0, 5.0), Some(300.0)),
            (cores(200.0, 250.0, 0.0), Some(300.0)),
            (cores(200.0, 400.0, 0.0), None),
        ] {
            let judge = Judge::of(&cores, file);
            assert_eq!((judge, judge.allowed()), (Judge::File, 1.0));
        }
    }
}
