//! A program run to its end, and what it took.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::usage::{Usage, milliseconds};

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) wall_ms: f64,
    /// With the children that it has waited for.
    pub(crate) cpu_ms: f64,
    pub(crate) status: i32,
    /// What it wrote to its standard error.
    pub(crate) said: String,
}

/// Runs a command. Its time is read between its end and its burial: nothing of it is lost then.
pub(super) fn run(command: &mut Command) -> Result<Ended> {
    run_with(command, Stdio::null())
}

/// The same, with something to read on its standard input.
pub(crate) fn run_with(command: &mut Command, input: Stdio) -> Result<Ended> {
    let begin = Instant::now();
    let mut child = command
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let errors = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // What a daemon keeps open is read by nobody then; it writes nothing more there.
        if let Some(mut errors) = errors {
            drop(errors.by_ref().take(MOST_SAID).read_to_end(&mut said));
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    });
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("no pid")?;
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let wall = begin.elapsed();
    let spent = Usage::of(child.id()).map(|usage| usage - Usage::default());
    let status = child.wait()?;
    let spent = spent?;
    Ok(Ended {
        wall_ms: milliseconds(wall),
        cpu_ms: spent.own_ms + spent.children_ms,
        status: status.code().unwrap_or(-1),
        said: reader.join().unwrap_or_default(),
    })
}

/// Of a program's errors; with more it would have to wait.
const MOST_SAID: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_time_words_and_status_are_known() {
        let ended = run(Command::new("sh").args([
            "-c",
            "echo no >&2; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 3",
        ]))
        .unwrap();
        assert_eq!((ended.status, ended.said.as_str()), (3, "no"));
        assert!(
            ended.cpu_ms > 1.0 && ended.wall_ms > 1.0,
            "{} {}",
            ended.cpu_ms,
            ended.wall_ms
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        assert!(run(&mut Command::new("/nonexistent")).is_err());
    }
}
