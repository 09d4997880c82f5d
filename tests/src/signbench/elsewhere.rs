//! A process of its own that works when it is told to, as each worker of a web server does.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::plan::SubjectPlan;
use super::subject::{Subject, SubjectError, Worker};
use super::{pkcs11, slice};

/// This end.
pub(super) struct Elsewhere {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Elsewhere {
    /// Starts one, which is ready then: `signer` where a module signs, else this program again.
    pub(super) fn open(plan: &SubjectPlan) -> Result<Self, SubjectError> {
        if let Some(mut signer) = pkcs11::signer(&plan.work, plan.threads) {
            let mut elsewhere = Self::start(signer.envs(&plan.environment))?;
            elsewhere.answer()?;
            return Ok(elsewhere);
        }
        if plan.threads > 1 {
            // Its threads would end with each slice, and `/proc` would forget what they ran.
            let refusal = "a process of its own signs in one thread, but for a module's";
            return Err(SubjectError::Elsewhere(refusal.to_owned()));
        }
        let alone = SubjectPlan {
            processes: 1,
            environment: BTreeMap::new(),
            watch: Vec::new(),
            ..plan.clone()
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        let mut elsewhere = Self::start(command.arg("work").envs(&plan.environment))?;
        let plan = serde_json::to_string(&alone).map_err(|error| failed(error.into()))?;
        elsewhere.ask(&plan)?;
        Ok(elsewhere)
    }

    fn start(command: &mut Command) -> Result<Self, SubjectError> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (asks, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            child,
            asks,
            answers: BufReader::new(answers),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line. The number in the answer.
    fn ask(&mut self, line: &str) -> Result<usize, SubjectError> {
        let asks = self.asks.as_mut();
        let asks = asks.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        writeln!(asks, "{line}").map_err(failed)?;
        self.answer()
    }

    fn answer(&mut self) -> Result<usize, SubjectError> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(failed)?;
        let answer = answer.trim_end();
        answer.parse().map_err(|_| SubjectError::Elsewhere(answer.to_owned()))
    }
}

impl Worker for Elsewhere {
    fn once(&mut self) -> Result<(), SubjectError> {
        self.repeat(Instant::now()).map(drop)
    }

    fn repeat(&mut self, end: Instant) -> Result<Vec<u32>, SubjectError> {
        let length = end.saturating_duration_since(Instant::now());
        let count = self.ask(&length.as_micros().to_string())?;
        let mut bytes = vec![0; count * 4];
        self.answers.read_exact(&mut bytes).map_err(failed)?;
        let (latencies, _) = bytes.as_chunks();
        Ok(latencies.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It ends when nothing more can come.
        self.asks = None;
        drop(self.child.wait());
    }
}

/// The other end: a plan on standard input, then the microseconds of each slice. Each answer is a number (0 for the plan, then how many
/// operations there were) and their nanoseconds, or what went wrong.
pub fn work() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let mut out = io::stdout().lock();
    let Some(plan) = lines.next() else {
        return Ok(());
    };
    let mut subject = match Subject::open(&serde_json::from_str(&plan?)?) {
        Ok(subject) => subject,
        Err(error) => return writeln!(out, "{error}"),
    };
    writeln!(out, "0")?;
    for line in lines {
        let length = line?.parse().map_err(io::Error::other)?;
        match slice::work(&mut subject.workers, Instant::now() + Duration::from_micros(length)) {
            Ok(latencies) => {
                writeln!(out, "{}", latencies.len())?;
                let bytes: Vec<u8> = latencies.iter().flat_map(|latency| latency.to_le_bytes()).collect();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Err(error) => writeln!(out, "{error}")?,
        }
    }
    Ok(())
}

fn failed(error: io::Error) -> SubjectError {
    SubjectError::Io("another process".to_owned(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_whose_processor_time_would_be_lost_are_refused() {
        let plan = serde_json::from_str(
            r#"{"name": "a", "threads": 2, "processes": 2, "work": {"kind": "raw", "key": "/k", "mechanism": "ecdsa"}}"#,
        )
        .unwrap();
        let refused = Elsewhere::open(&plan).err().unwrap().to_string();
        assert!(refused.contains("one thread"), "{refused}");
    }
}
