//! Measures subjects against each other, so that what moves the machine moves them all: signatures through a PKCS#11
//! module, signatures in process, a bare socket, TLS handshakes with a server.
//!
//! A *slice* runs one subject for about 300 ms. A *round* is A B C … C B A: each subject has two slices whose middle is
//! the middle of the round, so a machine that drifts moves no ratio. Ratios are made within a round; what is reported is
//! their median and quartiles. A control loop runs between slices, and a round in which it moved is dropped; where the plan
//! allows it, another is run for it.
//!
//! | file | |
//! |---|---|
//! | [`plan`] | what to measure, as read from JSON |
//! | `subject` | what one operation is: `pkcs11`, `raw`, `socket`, `handshake`; `elsewhere` has processes of their own do it |
//! | [`keys`] | a service with ten keys and one with very many |
//! | [`delay`](delay()) | has a service seem further away |
//! | `slice` | one subject, timed; `cpu` what it cost, `control` whether the machine was steady |
//! | `rounds` | the order of the slices, and which rounds count |
//! | [`report`] | medians, quartiles and ratios; `stats` |

pub mod plan;
pub mod report;

mod control;
pub(crate) mod cpu;
mod delay;
mod elsewhere;
mod handshake;
pub mod keys;
mod pkcs11;
mod raw;
mod rounds;
mod slice;
mod socket;
pub(crate) mod stats;
mod subject;

use std::io;

pub use self::cpu::CpuError;
use self::cpu::{Pinned, this_process};
pub use self::delay::delay;
pub use self::elsewhere::work;
use self::plan::Plan;
use self::report::Report;
pub use self::socket::echo;
pub use self::subject::SubjectError;

/// Measures all subjects of a plan. One that cannot be run is reported with its error; the others are measured.
pub fn run(plan: &Plan) -> Result<Report, BenchError> {
    let load_before = load()?;
    // Before any subject starts: its threads and children inherit the core.
    let mut pinned = Pinned::default();
    if let Some(core) = plan.core {
        pinned.pin(this_process(), core)?;
    }
    for watch in plan.subjects.iter().flat_map(|subject| &subject.watch) {
        if let Some(core) = watch.core {
            pinned.pin(watch.pid, core)?;
        }
    }
    let (mut subjects, mut failed) = subject::open_all(plan);
    let rounds = rounds::run(plan, &mut subjects, &mut failed)?;
    Ok(Report::of(plan, rounds, &failed, [load_before, load()?]))
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The times or the cores of a process cannot be had.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The system does not say how busy it is.
    #[error("/proc/loadavg: {0}")]
    Load(#[from] io::Error),
}

/// The load average of the last minute.
fn load() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no number in it"))
}
