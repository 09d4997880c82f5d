//! What is measured: workers that repeat one operation, and the processes whose CPU it uses.

use std::io;
use std::time::Instant;

use super::elsewhere::Elsewhere;
use super::plan::{Plan, SubjectPlan, Watch, Work};
use super::slice::CLIENT;
use super::{handshake, pkcs11, raw, socket};

/// One operation, again and again, in one thread.
pub(super) trait Worker: Send {
    fn once(&mut self) -> Result<(), SubjectError>;

    /// Until a moment. The nanoseconds that each operation took.
    fn repeat(&mut self, end: Instant) -> Result<Vec<u32>, SubjectError> {
        let mut latencies = Vec::with_capacity(EXPECTED);
        let mut before = Instant::now();
        while before < end {
            self.once()?;
            let now = Instant::now();
            latencies.push(u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX));
            before = now;
        }
        Ok(latencies)
    }
}

/// A subject that is ready.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) workers: Vec<Box<dyn Worker>>,
    pub(super) watch: Vec<Watch>,
}

impl Subject {
    pub(super) fn open(plan: &SubjectPlan) -> Result<Self, SubjectError> {
        if plan.processes > 1 || !plan.environment.is_empty() {
            return Self::of_processes(plan);
        }
        let mut watch = plan.watch.clone();
        let mut workers: Vec<Box<dyn Worker>> = Vec::new();
        for _ in 0..plan.threads {
            workers.push(match &plan.work {
                // A process of its own does it.
                Work::Pkcs11 { .. } => return Self::of_processes(plan),
                Work::Find { module, token, by } => Box::new(pkcs11::Finder::open(module, token, by)?),
                Work::Raw { key, mechanism } => raw::open(key, *mechanism)?,
                Work::Socket { request, reply } => {
                    let peer = socket::PingPong::open(*request, *reply)?;
                    watch.push(Watch {
                        part: "service".to_owned(),
                        pid: peer.pid(),
                        core: None,
                    });
                    Box::new(peer)
                }
                Work::Handshake {
                    address,
                    name,
                    chain,
                    tls,
                } => Box::new(handshake::Client::open(address, name, chain, *tls)?),
            });
        }
        // What happens only the first time belongs to no slice; and a subject that cannot work shows it here.
        for worker in &mut workers {
            worker.once()?;
        }
        Ok(Self {
            name: plan.name.clone(),
            workers,
            watch,
        })
    }
}

impl Subject {
    /// Each process does what one alone would.
    fn of_processes(plan: &SubjectPlan) -> Result<Self, SubjectError> {
        let mut watch = plan.watch.clone();
        let mut workers: Vec<Box<dyn Worker>> = Vec::new();
        for _ in 0..plan.processes {
            let child = Elsewhere::open(plan)?;
            watch.push(Watch {
                part: CLIENT.to_owned(),
                pid: child.pid(),
                core: None,
            });
            workers.push(Box::new(child));
        }
        Ok(Self {
            name: plan.name.clone(),
            workers,
            watch,
        })
    }
}

/// A subject that cannot be measured, and why.
pub(super) type Failed = Vec<(String, SubjectError)>;

pub(super) fn open_all(plan: &Plan) -> (Vec<Subject>, Failed) {
    let (mut subjects, mut failed) = (Vec::new(), Vec::new());
    for subject in &plan.subjects {
        match Subject::open(subject) {
            Ok(ready) => subjects.push(ready),
            Err(error) => failed.push((subject.name.clone(), error)),
        }
    }
    (subjects, failed)
}

/// Why a subject cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// The module says no.
    #[error("PKCS#11: {0}")]
    Pkcs11(#[from] cryptoki::error::Error),
    /// No such token, or no such key on it.
    #[error("PKCS#11: no {0}")]
    Absent(String),
    /// A file, a socket or a process.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// The file holds no key of the mechanism's type.
    #[error("{0}: not a key of this type: {1}")]
    Key(String, String),
    /// Another process, which said why.
    #[error("{0}")]
    Elsewhere(String),
    /// The library could not sign.
    #[error("the library could not sign")]
    Sign,
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The certificate file, or the server's certificate.
    #[error("{0}")]
    Certificate(String),
}

/// More than any slice has, so that no slice is interrupted to make room.
const EXPECTED: usize = 1 << 18;
