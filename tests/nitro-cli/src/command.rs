//! The three commands.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::arguments::{Wanted, Which};
use crate::lab::{Lab, Plan};
use crate::record::{Identity, Record};
use crate::refusal::Refusal;

/// `run-enclave`.
pub(crate) fn run(lab: &Lab, wanted: &Wanted) -> Result<(), Refusal> {
    lab.injected("fail")?;
    let plan = lab.plan()?;
    let size = std::fs::metadata(&wanted.image).map_err(|_| {
        Refusal::in_process(
            19,
            &format!(
                "File operation failure.\nFile: '{}', failing operation: 'Open'.",
                wanted.image.display()
            ),
        )
    })?;
    let least = size.len().div_ceil(1 << 20).saturating_mul(4);
    if wanted.memory_mib < least {
        return Err(Refusal::in_process(
            26,
            &format!("`memory` is {} MB, the image needs {least} MB", wanted.memory_mib),
        ));
    }
    // Held until it has booted: a real parent boots one at a time too.
    let _lock = lab.lock()?;
    let record = begin(lab, &plan, wanted)?;
    let up = wait(STARTS, || {
        Record::read(lab, &record.id).is_ok_and(|now| now.started) || !record.is_alive()
    });
    match Record::read(lab, &record.id) {
        Ok(now) if up && now.started && now.is_alive() => {
            let ids = cpu_ids(wanted);
            eprintln!(
                "Started enclave with enclave-cid: {}, memory: {} MiB, cpu-ids: {ids:?}",
                wanted.cid, wanted.memory_mib
            );
            print(&Value::Object(told(&now)));
            Ok(())
        }
        Ok(_) | Err(_) => {
            record.sweep(lab);
            if let Some(holder) = &record.holder {
                holder.signal(Signal::KILL);
            }
            Err(Refusal::in_process(
                36,
                &format!(
                    "The enclave did not boot; see {}.",
                    lab.dir.join("holder.log").display()
                ),
            ))
        }
    }
}

/// Writes down an enclave that can be had, and starts the process that holds it.
fn begin(lab: &Lab, plan: &Plan, wanted: &Wanted) -> Result<Record, Refusal> {
    let others = Record::all(lab)?;
    if others.len() >= MOST {
        return Err(Refusal::in_process(29, "No more enclaves on this instance."));
    }
    if others.iter().any(|other| other.wanted.cid == wanted.cid) {
        return Err(Refusal::in_process(33, &format!("CID {} is in use.", wanted.cid)));
    }
    let mut record = Record {
        id: identifier()?,
        wanted: Wanted {
            name: Some(free_name(wanted, &others)),
            ..wanted.clone()
        },
        measurements: plan.measurements(wanted)?,
        terminating: false,
        holder: None,
        processes: Vec::new(),
        started: false,
    };
    eprintln!("Start allocating memory...");
    record.write(lab)?;
    record.holder = Some(spawn_holder(lab, &record.id)?);
    Ok(record)
}

/// `describe-enclaves`.
pub(crate) fn describe(lab: &Lab) -> Result<(), Refusal> {
    lab.injected("fail-describe")?;
    let listed: Vec<Value> = Record::all(lab)?
        .iter()
        .filter(|record| record.runs())
        .map(|record| {
            let mut entry = told(record);
            entry.insert(
                "State".into(),
                if record.terminating { "TERMINATING" } else { "RUNNING" }.into(),
            );
            entry.insert(
                "Flags".into(),
                if record.wanted.debug { "DEBUG_MODE" } else { "NONE" }.into(),
            );
            entry.insert("Measurements".into(), Value::Object(record.measurements.clone()));
            Value::Object(entry)
        })
        .collect();
    print(&Value::Array(listed));
    Ok(())
}

/// `terminate-enclave`.
pub(crate) fn terminate(lab: &Lab, which: &Which) -> Result<(), Refusal> {
    lab.injected("fail-terminate")?;
    let all = Record::all(lab)?;
    let found = match which {
        Which::Name(name) => all.iter().find(|record| record.name() == name),
        Which::Id(id) => all.iter().find(|record| record.id == *id),
    };
    let Some(record) = found else {
        return Err(match which {
            Which::Name(_) => Refusal::code(58, "No enclave has this name."),
            Which::Id(_) => Refusal::code(11, "No enclave has this identifier."),
        });
    };
    let ending = Record {
        terminating: true,
        ..record.clone()
    };
    ending.write(lab)?;
    // An enclave is not asked: its memory is taken away.
    if let Some(process) = record.processes.last() {
        process.signal(Signal::KILL);
    }
    if !wait(ENDS, || !record.is_alive()) {
        if let Some(holder) = &record.holder {
            holder.signal(Signal::KILL);
        }
        record.sweep(lab);
    }
    eprintln!("Successfully terminated enclave {}.", record.id);
    print(&json!({"EnclaveName": record.name(), "EnclaveID": record.id, "Terminated": true}));
    Ok(())
}

/// What both `run-enclave` and `describe-enclaves` tell.
fn told(record: &Record) -> Map<String, Value> {
    let Record { id, wanted, holder, .. } = record;
    [
        ("EnclaveName", json!(record.name())),
        ("EnclaveID", json!(id)),
        ("ProcessID", json!(holder.as_ref().map_or(0, |holder| holder.pid))),
        ("EnclaveCID", json!(wanted.cid)),
        ("NumberOfCPUs", json!(wanted.cpus)),
        ("CPUIDs", json!(cpu_ids(wanted))),
        ("MemoryMiB", json!(wanted.memory_mib)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

/// A name in use gets a number instead of a refusal.
fn free_name(wanted: &Wanted, others: &[Record]) -> String {
    let stem = wanted.image.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = wanted.name.clone().or(stem).unwrap_or_default();
    let taken = |name: &String| others.iter().any(|other| other.name() == name);
    let numbered = (1..=MOST).map(|number| format!("{name}_{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken(name))
        .unwrap_or(name)
}

/// The process outlives this one, in a session of its own.
fn spawn_holder(lab: &Lab, id: &str) -> Result<Identity> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(lab.dir.join("holder.log"))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg0("nitro-cli")
        .args(["hold", id])
        .env("ENCLAVE_TLS_NITRO_LAB", &lab.dir);
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Identity::of(child.id()).context("the holder ended at once")
}

/// As the real ones look: of the instance, and a number that no other enclave had.
fn identifier() -> Result<String> {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    Ok(format!("i-0000000000000000-enc{nanoseconds:x}"))
}

fn cpu_ids(wanted: &Wanted) -> Vec<u32> {
    (1..=wanted.cpus).collect()
}

fn print(value: &Value) {
    println!("{value:#}");
}

/// Whether `condition` came true in time.
pub(crate) fn wait(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}

/// Enclaves of an instance.
const MOST: usize = 4;
/// Two processes and a machine.
const STARTS: Duration = Duration::from_secs(60);
const ENDS: Duration = Duration::from_secs(10);
