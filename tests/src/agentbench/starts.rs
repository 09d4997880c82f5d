//! A server's test of its configuration and its start, with keys in files and with keys elsewhere, in turns.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::ended::{self, Ended};
use super::plan::{Server, StartsPlan};
use super::usage::Usage;
use crate::signbench::stats::Spread;

/// Both ways of reading the configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Starts {
    /// It is read, its keys are opened, and that is all.
    pub test: Compared,
    /// The server listens afterwards, with its workers.
    pub start: Compared,
}

/// One server against the other.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// How many pairs there were.
    pub pairs: usize,
    /// Processor time in milliseconds, of the one with its keys in files.
    pub base_cpu_ms: Spread,
    /// Wall clock.
    pub base_wall_ms: Spread,
    /// Processor time of the other.
    pub cpu_ms: Spread,
    /// Wall clock.
    pub wall_ms: Spread,
    /// Of the pairs: how many times the first one's.
    pub cpu_ratio: Spread,
    /// The same of the wall clock.
    pub wall_ratio: Spread,
}

/// Measures A B, B A, and so on.
pub fn starts(plan: &StartsPlan) -> Result<Starts> {
    Ok(Starts {
        test: pairs(plan, test).context("test")?,
        start: pairs(plan, start).context("start")?,
    })
}

fn pairs(plan: &StartsPlan, run: fn(&Server) -> Result<Ended>) -> Result<Compared> {
    let mut all = Vec::new();
    for number in 0..=plan.pairs {
        let is_base_first = number % 2 == 0;
        let pair = if is_base_first {
            let base = run(&plan.base)?;
            (base, run(&plan.other)?)
        } else {
            let other = run(&plan.other)?;
            (run(&plan.base)?, other)
        };
        if number > 0 {
            all.push(pair);
        }
    }
    let spread =
        |figure: &dyn Fn(&(Ended, Ended)) -> f64| Spread::of(all.iter().map(figure).collect()).context("no pair");
    Ok(Compared {
        pairs: all.len(),
        base_cpu_ms: spread(&|(base, _)| base.cpu_ms)?,
        base_wall_ms: spread(&|(base, _)| base.wall_ms)?,
        cpu_ms: spread(&|(_, other)| other.cpu_ms)?,
        wall_ms: spread(&|(_, other)| other.wall_ms)?,
        cpu_ratio: spread(&|(base, other)| other.cpu_ms / base.cpu_ms)?,
        wall_ratio: spread(&|(base, other)| other.wall_ms / base.wall_ms)?,
    })
}

fn test(server: &Server) -> Result<Ended> {
    let ended = ended::run(&mut command(server, &server.test)?)?;
    ensure!(ended.status == 0, "refused: {}", ended.said);
    Ok(ended)
}

/// From the command to a daemon that listens. The processor time is that of the command, the master and its workers.
fn start(server: &Server) -> Result<Ended> {
    let mut ended = ended::run(&mut command(server, &server.start)?)?;
    ensure!(ended.status == 0, "did not start: {}", ended.said);
    let master = Master::of(&server.pid_file)?;
    TcpStream::connect(server.address).with_context(|| format!("nobody listens on {}", server.address))?;
    sleep(WORKERS_BEGIN);
    for pid in std::iter::once(master.0).chain(children(master.0)?) {
        ended.cpu_ms += (Usage::of(pid)? - Usage::default()).own_ms;
    }
    master.end()?;
    Ok(ended)
}

fn command(server: &Server, words: &[String]) -> Result<Command> {
    let (program, arguments) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("OPENSSL_CONF")
        .envs(&server.environment);
    Ok(command)
}

struct Master(u32);

impl Master {
    /// The daemon writes its pid when the command has ended.
    fn of(pid_file: &Path) -> Result<Self> {
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(pid_file).unwrap_or_default();
            if let Ok(pid) = text.trim().parse() {
                return Ok(Self(pid));
            }
            ensure!(begin.elapsed() < PATIENCE, "no pid in {}", pid_file.display());
            sleep(Duration::from_millis(2));
        }
    }

    fn end(self) -> Result<()> {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, Signal::TERM)?;
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if is_gone(self.0) {
                return Ok(());
            }
            sleep(Duration::from_millis(5));
        }
        bail!("process {} does not end", self.0)
    }
}

/// A daemon's parent is not this process, and may be slow to collect it.
fn is_gone(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .unwrap_or(true)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

const PATIENCE: Duration = Duration::from_secs(60);
/// Workers open their sockets and modules by themselves.
const WORKERS_BEGIN: Duration = Duration::from_millis(300);
