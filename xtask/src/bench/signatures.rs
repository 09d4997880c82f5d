//! What a signature costs: ours, SoftHSM2 in the same process and behind p11-kit, the library alone, and the bare socket; one client at a
//! time, four threads of one, and four.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::plot::Plot;
use super::runner::{Group, Measured, Runner, SERVER_CORE, Subject};
use super::show::{Columns, difference, number, ratio};
use super::softhsm::{self, signing_key};
use crate::build::Binaries;
use crate::lab::{self, Description, Key, Kind, Lab};
use crate::paths::Paths;
use crate::progress::title;

pub(super) const TITLE: &str = "C_SignInit and C_Sign: client and service on one core, µs";

/// Both tables.
#[derive(serde::Deserialize, serde::Serialize)]
pub(super) struct Signatures {
    /// One group for each mechanism: client and service on one core.
    single: Vec<Measured>,
    /// The same, of four threads and of four processes, on all cores.
    many: Vec<Measured>,
}

pub(super) fn measure(paths: &Paths, lab: &Lab, runner: &Runner) -> Result<Signatures> {
    let keys = Keys::prepare(paths, lab, runner)?;
    let behind = runner.softhsm.serve()?;
    let bench = Bench {
        lab: lab.description(),
        keys: &keys,
        behind: behind.pid(),
        signer: runner.signer(),
    };
    let all = |group: &dyn Fn(&Mechanism) -> Result<Group>| {
        let measured = MECHANISMS.iter().map(|mechanism| runner.measure(group(mechanism)?));
        measured.collect::<Result<Vec<_>>>()
    };
    Ok(Signatures {
        single: all(&|mechanism| bench.single(mechanism))?,
        many: all(&|mechanism| bench.many(mechanism))?,
    })
}

impl Signatures {
    /// Plots, by the ends of their files' names.
    pub(super) fn plots(&self) -> [(&'static str, String); 2] {
        let single = Plot {
            title: "C_SignInit and C_Sign, µs at p50: client and service on one core",
            figure: "p50",
            at_most: Some(1_200.0),
            groups: &self.single,
        };
        let many = Plot {
            title: "Signatures a second on two cores: four threads of one client, and four clients",
            figure: "rate",
            at_most: Some(30_000.0),
            groups: &self.many,
        };
        [("signatures", single.svg()), ("signatures-of-four", many.svg())]
    }

    /// Of one client on one core.
    pub(super) fn single(&self, mechanism: &str, subject: &str) -> Option<&Subject> {
        of(&self.single, mechanism)?.report.subject(subject)
    }

    /// Our signatures a second, by mechanism.
    pub(super) fn threads_by_processes(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        MECHANISMS.iter().map(|mechanism| {
            let threads =
                of(&self.many, mechanism.title).and_then(|many| many.report.subject(&format!("{OURS}{THREADS}")));
            let ratio = threads.and_then(|threads| threads.ratio(&format!("{OURS}{PROCESSES}"), "rate"));
            (mechanism.title, ratio.map(|ratio| ratio.median))
        })
    }

    pub(super) fn lacks_something(&self) -> bool {
        let is_ours = |subject: &&Subject| subject.name.starts_with(OURS);
        let mut groups = self.single.iter().chain(&self.many);
        groups.any(|group| {
            group
                .report
                .subjects
                .iter()
                .filter(is_ours)
                .any(|subject| subject.error.is_some())
        })
    }

    /// A row for each subject.
    pub(super) fn print(&self) {
        let mut columns = Columns::new([
            "signature",
            "by",
            "p50",
            "over raw",
            "p99",
            "CPU client",
            "service",
            "both",
            "p50 / SoftHSM2",
            "p50 / behind p11-kit",
            "CPU / behind p11-kit",
            "rounds",
        ]);
        for group in &self.single {
            let mut subjects = group.report.subjects.iter();
            let raw = subjects
                .find(|subject| subject.name == RAW)
                .and_then(|raw| raw.figure("p50"));
            for subject in &group.report.subjects {
                let mut row = group.title.clone();
                row.push(subject.name.clone());
                row.extend(cells(subject, raw));
                columns.row(row, subject, group);
            }
        }
        columns.print();
        title("The same on all cores: four threads of one client, and four clients");
        let mut columns = Columns::new([
            "signature",
            "by",
            "a second",
            "p50",
            "p99",
            "CPU of all",
            "a second / four clients",
            "a second / behind p11-kit",
            "rounds",
        ]);
        for group in &self.many {
            for subject in &group.report.subjects {
                let mut row = group.title.iter().take(1).cloned().collect::<Vec<_>>();
                row.push(subject.name.clone());
                row.extend(cells_of_many(subject));
                columns.row(row, subject, group);
            }
        }
        columns.print();
    }
}

fn of<'a>(groups: &'a [Measured], mechanism: &str) -> Option<&'a Measured> {
    groups
        .iter()
        .find(|group| group.title.first().is_some_and(|title| title == mechanism))
}

fn cells(subject: &Subject, raw: Option<f64>) -> [String; 9] {
    let figure = |name| number(subject.figure(name));
    [
        figure("p50"),
        if subject.name == RAW {
            String::new()
        } else {
            difference(subject.figure("p50"), raw)
        },
        figure("p99"),
        figure("cpu.client"),
        figure("cpu.service"),
        figure("cpu"),
        ratio(subject.ratio(SOFTHSM, "p50")),
        ratio(subject.ratio(BEHIND, "p50")),
        ratio(subject.ratio(BEHIND, "cpu")),
    ]
}

fn cells_of_many(subject: &Subject) -> [String; 6] {
    let rate = |reference: &str| ratio(subject.ratio(reference, "rate"));
    let by = subject.name.strip_suffix(THREADS);
    [
        subject
            .figure("rate")
            .map_or_else(String::new, |rate| format!("{rate:.0}")),
        number(subject.figure("p50")),
        number(subject.figure("p99")),
        number(subject.figure("cpu")),
        by.map_or_else(String::new, |by| rate(&format!("{by}{PROCESSES}"))),
        rate(&format!("{BEHIND}{PROCESSES}")),
    ]
}

/// What is signed with.
struct Keys(Vec<Key>);

impl Keys {
    /// Those that the lab has not are made and given to the service; SoftHSM2 gets all.
    fn prepare(paths: &Paths, lab: &Lab, runner: &Runner) -> Result<Self> {
        let mut keys = Vec::new();
        for kind in ["P-256", "RSA-2048"] {
            keys.push(signing_key(lab.description(), kind)?.clone());
        }
        let binaries = Binaries::of(paths);
        for (kind, usage) in [
            (Kind::P384, "digest"),
            (Kind::Rsa4096, "digest"),
            (Kind::Ed25519, "tls"),
        ] {
            keys.push(lab::to_measure(lab, &binaries, kind, usage)?);
        }
        for key in &keys {
            // Where it takes none of a kind, the row of that kind says so.
            if let Err(error) = runner.softhsm.import(key) {
                eprintln!("  SoftHSM2 takes no {}: {error}", key.kind);
            }
        }
        Ok(Self(keys))
    }

    fn of(&self, kind: &str) -> Result<&Key> {
        let mut keys = self.0.iter();
        keys.find(|key| key.kind == kind)
            .with_context(|| format!("no {kind} key"))
    }
}

struct Bench<'a> {
    lab: &'a Description,
    keys: &'a Keys,
    /// The process of `p11-kit server`.
    behind: u32,
    signer: &'a Path,
}

impl Bench<'_> {
    fn single(&self, mechanism: &Mechanism) -> Result<Group> {
        let mut subjects = Vec::new();
        for subject in [OURS, SOFTHSM, BEHIND, RAW, SOCKET] {
            subjects.push(self.subject(subject, mechanism, Some(SERVER_CORE))?);
        }
        Ok(Group {
            title: vec![mechanism.title.to_owned()],
            core: Some(SERVER_CORE),
            references: [RAW, SOFTHSM, BEHIND].map(str::to_owned).into(),
            count_client: true,
            subjects,
        })
    }

    fn many(&self, mechanism: &Mechanism) -> Result<Group> {
        let (mut subjects, mut references) = (Vec::new(), Vec::new());
        for subject in [OURS, SOFTHSM, BEHIND, RAW, SOCKET] {
            for (suffix, threads, processes) in [(THREADS, 4, 1), (PROCESSES, 1, 4)] {
                let mut planned = self.subject(subject, mechanism, None)?;
                if let Some(planned) = planned.as_object_mut() {
                    planned.insert("name".to_owned(), json!(format!("{subject}{suffix}")));
                    planned.insert("threads".to_owned(), json!(threads));
                    planned.insert("processes".to_owned(), json!(processes));
                }
                subjects.push(planned);
            }
            references.push(format!("{subject}{PROCESSES}"));
        }
        Ok(Group {
            title: vec![mechanism.title.to_owned(), "four at once".to_owned()],
            core: None,
            references,
            count_client: true,
            subjects,
        })
    }

    fn subject(&self, name: &str, mechanism: &Mechanism, core: Option<usize>) -> Result<Value> {
        let key = self.keys.of(mechanism.key)?;
        let pkcs11 = |module: &str, token: &str, pin: Option<&str>| {
            json!({
                "kind": "pkcs11", "signer": self.signer, "module": module, "token": token, "label": key.label, "pin": pin,
                "mechanism": mechanism.argument,
            })
        };
        let softhsm = |module| pkcs11(module, softhsm::TOKEN, Some(softhsm::PIN));
        let watch = |pid: u32| json!([{ "part": "service", "pid": pid, "core": core }]);
        Ok(match name {
            OURS => {
                let service = *self.lab.pids.get("service").context("the lab has no service")?;
                let module = self.lab.module.display().to_string();
                json!({ "name": name, "watch": watch(service), "work": pkcs11(&module, &self.lab.token, None) })
            }
            SOFTHSM => json!({ "name": name, "work": softhsm(softhsm::MODULE) }),
            BEHIND => json!({ "name": name, "watch": watch(self.behind), "work": softhsm(softhsm::CLIENT_MODULE) }),
            RAW => json!({ "name": name, "work": {
                "kind": "raw", "key": key.private_key, "mechanism": mechanism.argument,
            } }),
            _ => json!({ "name": SOCKET, "work": {
                "kind": "socket", "request": FRAME + mechanism.input, "reply": FRAME + mechanism.signature,
            } }),
        })
    }
}

struct Mechanism {
    title: &'static str,
    /// As signbench takes it.
    argument: &'static str,
    key: &'static str,
    /// Bytes that travel to the service and back.
    input: usize,
    signature: usize,
}

const MECHANISMS: [Mechanism; 6] = [
    Mechanism {
        title: "P-256",
        argument: "ecdsa",
        key: "P-256",
        input: 32,
        signature: 64,
    },
    Mechanism {
        title: "P-384",
        argument: "ecdsa-p384",
        key: "P-384",
        input: 48,
        signature: 96,
    },
    Mechanism {
        title: "RSA-2048 PKCS#1",
        argument: "rsa-pkcs",
        key: "RSA-2048",
        input: 51,
        signature: 256,
    },
    Mechanism {
        title: "RSA-2048 PSS",
        argument: "rsa-pss",
        key: "RSA-2048",
        input: 32,
        signature: 256,
    },
    Mechanism {
        title: "RSA-4096 PSS",
        argument: "rsa-pss",
        key: "RSA-4096",
        input: 32,
        signature: 512,
    },
    Mechanism {
        title: "Ed25519",
        argument: "ed25519",
        key: "Ed25519",
        input: 146,
        signature: 64,
    },
];

/// The rest of a sign request, and (two bytes less) of its reply: header, key id, mechanism, length.
const FRAME: usize = 14 + 32 + 1 + 2;

pub(super) const OURS: &str = "ours";
pub(super) const RAW: &str = "raw library";
pub(super) const SOCKET: &str = "bare socket";
pub(super) const SOFTHSM: &str = "SoftHSM2";
pub(super) const BEHIND: &str = "SoftHSM2 behind p11-kit";
const THREADS: &str = ", 4 threads";
const PROCESSES: &str = ", 4 processes";
