//! The process that holds an enclave: its end is the enclave's end, as on a real parent.

use std::fs::{self, OpenOptions};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::arguments::Wanted;
use crate::command::wait;
use crate::lab::{Lab, Process};
use crate::record::{Identity, Record};

/// Starts the processes of an enclave, waits for the last one's end and ends the others.
pub(crate) fn hold(lab: &Lab, id: &str) -> Result<()> {
    // Of no terminal, and of nobody's process group: who started it may end.
    rustix::process::setsid()?;
    let mut children = Vec::new();
    let held = start(lab, id, &mut children).and_then(|()| {
        let last = children.last_mut().context("no process")?;
        Ok(last.wait()?)
    });
    for child in children.iter_mut().rev() {
        end(child);
    }
    drop(fs::remove_file(Record::path(lab, id)));
    let status = held?;
    println!("{id} ended: {status}");
    Ok(())
}

fn start(lab: &Lab, id: &str, children: &mut Vec<Child>) -> Result<()> {
    let plan = lab.plan()?;
    let mut record = Record::read(lab, id)?;
    record.holder = Identity::of(std::process::id());
    for process in &plan.processes {
        let child = spawn(lab, process, &record.wanted)?;
        record
            .processes
            .push(Identity::of(child.id()).with_context(|| format!("{} ended at once", process.name))?);
        children.push(child);
        record.write(lab)?;
        if let Some(ready) = &process.ready {
            ensure!(
                wait(READY, || ready.exists()),
                "{} did not make {}",
                process.name,
                ready.display()
            );
        }
    }
    // What cannot run says so at once, mostly.
    sleep(SETTLE);
    for (child, process) in children.iter_mut().zip(&plan.processes) {
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("{} ended at once: {status}", process.name);
        }
    }
    record.started = true;
    record.write(lab)
}

fn spawn(lab: &Lab, process: &Process, wanted: &Wanted) -> Result<Child> {
    let words = process.words(wanted);
    if let Some(ready) = &process.ready {
        // One that an earlier run left would be taken for this one's.
        drop(fs::remove_file(ready));
    }
    let path = process
        .log
        .clone()
        .unwrap_or_else(|| lab.dir.join(format!("{}.log", process.name)));
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    // However this process ends, its children end with it.
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--"])
        .args(&words)
        .current_dir(&lab.dir)
        .env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
        .envs(&process.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().with_context(|| format!("cannot start {words:?}"))
}

/// Asks, and then no longer asks.
fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        if !wait(PATIENCE, || !matches!(child.try_wait(), Ok(None))) {
            drop(child.kill());
        }
        drop(child.wait());
    }
}

/// A device's socket.
const READY: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(3);
