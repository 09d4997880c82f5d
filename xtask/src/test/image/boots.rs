//! The release program, booted.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use enclave_wire::log::{Level, Record};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::log::records;
use super::{PORT, Stage};
use crate::machine::{Boot, Guest, VM};
use crate::process;

/// It says so where the parent can read it, starts no service, and ends the machine by itself.
pub(super) fn release(stage: &Stage<'_>) -> Result<()> {
    let (image, _) = &stage.released;
    let said = refusal(stage, "release", image)?;
    let (last, before) = said.split_last().context("it says nothing")?;
    let is = |record: &Record, level, text| {
        (record.level, record.target.as_str(), record.message.as_str()) == (level, "init", text)
    };
    ensure!(
        before.len() == STEPS.len()
            && before
                .iter()
                .zip(STEPS)
                .all(|(record, step)| is(record, Level::Info, step)),
        "it says {said:?}"
    );
    // Which one it is, is a matter of how fast the emulation got on.
    let refusals = CLOCKS.map(|clock| {
        format!("the service was not started: the clock source is \"{clock}\", and the policy asks for kvm-clock")
    });
    ensure!(
        refusals.iter().any(|refusal| is(last, Level::Error, refusal)),
        "at last it says {last:?}"
    );
    Ok(())
}

/// The last record of an image that starts no service.
pub(super) fn last_words(stage: &Stage<'_>, name: &str, image: &Path) -> Result<Record> {
    refusal(stage, name, image)?.pop().context("it says nothing")
}

/// All that such an image says.
fn refusal(stage: &Stage<'_>, name: &str, image: &Path) -> Result<Vec<Record>> {
    let dir = stage.place.directory(name)?;
    let control = listen(&dir, CONTROL)?;
    let mut guest = Guest::boot(&stage.machine, &boot(image, &dir, "parent_cid=2"))?;
    let plane = guest.dialled()?;
    guest.wait(PATIENCE)?;
    ensure!(control.accept().is_err(), "a service dialled control");
    is_silent(&guest)?;
    records(&plane)
}

pub(super) fn flagged(stage: &Stage<'_>) -> Result<()> {
    let (mut guest, control) = lab(stage, "flagged")?;
    let plane = guest.dialled()?;
    ensure!(dials(&control), "no service dialled control");
    let said = records(&plane)?;
    let flags = CLOCKS.map(|clock| format!("the clock source is {clock}, not kvm-clock; the policy lets it pass"));
    let flagged = said
        .iter()
        .filter(|record| record.level == Level::Warn)
        .any(|record| flags.iter().any(|flag| record.message.as_str() == flag));
    ensure!(flagged, "it says {said:?}");
    Ok(())
}

/// Whoever wrote it counts on it. Only the appended words differ from those of a machine that serves. Why it ends is told to the parent that
/// the words name, or else to CID 3, where a real one is and here nobody.
pub(super) fn nonsense(stage: &Stage<'_>) -> Result<()> {
    let (image, _) = &stage.labs;
    let (guest, control) = lab(stage, "sense")?;
    ensure!(dials(&control), "the control: it does not serve");
    drop(guest);
    for (number, (words, reason)) in NONSENSE.into_iter().enumerate() {
        let dir = stage.place.directory(&format!("nonsense-{number}"))?;
        let control = listen(&dir, CONTROL)?;
        let boot = boot(image, &dir, words);
        let mut guest = match reason {
            "" => Guest::start(&stage.machine, &boot)?,
            _ => Guest::boot(&stage.machine, &boot)?,
        };
        if !reason.is_empty() {
            let said = records(&guest.dialled()?)?;
            let last = said.last().map(|record| record.message.as_str()).unwrap_or_default();
            ensure!(last.ends_with(reason), "{words}: it says {said:?}");
        }
        guest.wait(PATIENCE)?;
        ensure!(control.accept().is_err(), "{words}: a service dialled control");
        is_silent(&guest)?;
    }
    Ok(())
}

/// Of all ports up to 20,000 and with the service up. The probe, which listens at one, is the control.
pub(super) fn closed(stage: &Stage<'_>) -> Result<()> {
    let (probe, _) = &stage.probed;
    let found = open_ports(&stage.boot_probe("listens", probe)?)?;
    ensure!(found == [PORT], "the control: the probe listens at {found:?}");

    let (mut guest, control) = lab(stage, "closed")?;
    ensure!(dials(&control), "no service dialled control");
    let found = open_ports(&guest)?;
    ensure!(found.is_empty(), "it listens at {found:?}");
    ensure!(guest.wait(Duration::ZERO).is_err(), "the machine ended meanwhile");
    is_silent(&guest)
}

fn open_ports(guest: &Guest) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for port in 1..=LAST_PORT {
        if guest.listens(port)? {
            found.push(port);
        }
    }
    Ok(found)
}

/// A machine whose image may run its service there, and its control plane, on which nobody says a word.
fn lab(stage: &Stage<'_>, name: &str) -> Result<(Guest, UnixListener)> {
    let (image, _) = &stage.labs;
    let dir = stage.place.directory(name)?;
    let control = listen(&dir, CONTROL)?;
    let guest = Guest::boot(&stage.machine, &boot(image, &dir, "parent_cid=2"))?;
    Ok((guest, control))
}

fn boot<'a>(image: &'a Path, dir: &'a Path, append: &'a str) -> Boot<'a> {
    Boot {
        image,
        dir,
        mebibytes: 256,
        cpus: 2,
        append,
        knock: LOGS,
    }
}

/// Waits for what the guest dials.
fn listen(dir: &Path, port: u32) -> Result<UnixListener> {
    let listener = UnixListener::bind(dir.join(format!("{VM}_{port}"))).context("a socket for the guest")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Leaves what dialled in the backlog, if there is any.
fn dials(listener: &UnixListener) -> bool {
    let poll = || -> Result<bool> {
        let mut awaited = [PollFd::new(listener, PollFlags::IN)];
        Ok(rustix::event::poll(&mut awaited, Some(&Timespec::default()))? > 0)
    };
    process::wait_until(PATIENCE, || poll().unwrap_or_default())
}

/// The parent may read a console.
fn is_silent(guest: &Guest) -> Result<()> {
    let console = guest.console();
    ensure!(console.trim().is_empty(), "the console says {console}");
    Ok(())
}

/// Where the service dials its parent.
const CONTROL: u32 = 440;
/// Where PID 1 does.
const LOGS: u32 = 442;

/// With the end of what it says, where there is somebody to hear it.
const NONSENSE: [(&str, &str); 6] = [
    (
        "parent_cid=2 enclave_x=1",
        "the kernel's command line has \"enclave_x=1\", which may not be added",
    ),
    (
        "parent_cid=2 parent_cid=2",
        "the kernel's command line has parent_cid twice",
    ),
    ("parent_cid=two", ""),
    (
        "parent_cid=2 random.trust_cpu=on",
        "the kernel's command line has \"random.trust_cpu=on\", which may not be added",
    ),
    (
        "parent_cid=2 RUST_MIN_STACK=9999999999999",
        "the kernel's command line has \"RUST_MIN_STACK=9999999999999\", which may not be added",
    ),
    (
        "parent_port=440 parent_cid=2",
        "the kernel's command line has \"parent_port=440\", which may not be added",
    ),
];

/// What PID 1 says before it looks at the clock.
const STEPS: [&str; 3] = [
    "file systems are mounted; the parent has CID 2",
    "the image's policy is read",
    "random numbers are the NSM's",
];

/// The kernel's clock sources where there is no hypervisor's.
const CLOCKS: [&str; 3] = ["tsc", "tsc-early", "refined-jiffies"];

/// Every port that is named anywhere is below.
const LAST_PORT: u32 = 20_000;

/// Emulation is slow where other work runs.
const PATIENCE: Duration = Duration::from_secs(30);
