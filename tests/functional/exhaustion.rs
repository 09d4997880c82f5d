//! Descriptors run out, in a client and in the service: what is there already goes on, what is new gets an error, nothing ends. Memory runs
//! out in a client: it signs on with what it has. An allocation that fails may end it, so none is made to fail here.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::fault::{Fault, Line};
use e2e::lab::signing::Connection;
use e2e::lab::suite::Test;
use e2e::lab::{Lab, process};
use enclave_wire::signing::{Reply, Request};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::faults::{FAILED, START, Signer, beside};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_08_a_service_without_descriptors_serves_its_clients_and_says_so,
    threat_09_a_client_without_descriptors_gets_errors_and_goes_on,
    threat_09_a_client_without_memory_to_spare_signs_on,
];

/// Who comes meanwhile waits until there is a descriptor again.
fn threat_08_a_service_without_descriptors_serves_its_clients_and_says_so(lab: &Lab) -> Result<()> {
    lab.needs_a_process("it takes descriptors from the service")?;
    let signer = Signer::of(lab)?;
    let log = lab.logs.join("service.log");
    let said = || fs::read_to_string(&log).map_or(0, |text| text.matches("cannot accept").count());
    let (before, mut waiting) = (said(), None);
    beside(lab, signer.key, |signed| {
        let few = Few::of(lab.service()?)?;
        waiting = Some(Connection::open(&lab.signing)?);
        process::wait_until(LIMIT, "its log to say so", || said() > before)?;
        let then = signed.load(Ordering::SeqCst);
        // The first of these may have been asked for before.
        let goes_on = || signed.load(Ordering::SeqCst) > then + 1;
        process::wait_until(LIMIT, "the signatures of whom it serves", goes_on)?;
        drop(few);
        Ok(())
    })?;
    let mut waiting = waiting.context("nobody waited")?;
    let reply = waiting.prove(&fs::read(lab.credential()?)?)?;
    ensure!(matches!(reply, Reply::Authenticated(_)), "{reply:?}");
    ensure!(matches!(waiting.ask(&Request::Ping)?, Reply::Pong(_)), "no answer");
    Ok(())
}

/// A process that may open nothing more, until this is dropped.
struct Few {
    pid: Pid,
    before: Rlimit,
}

impl Few {
    fn of(pid: u32) -> Result<Self> {
        let mut open: BTreeSet<u64> = BTreeSet::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            open.insert(entry?.file_name().to_string_lossy().parse()?);
        }
        // A descriptor has the lowest number that is free, and all below this one are taken.
        let lowest = (0_u64..).find(|number| !open.contains(number)).context("no number")?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no pid")?;
        let before = rustix::process::getrlimit(Resource::Nofile);
        let few = Rlimit {
            current: Some(lowest),
            maximum: before.maximum,
        };
        let before = prlimit(Some(pid), Resource::Nofile, few)?;
        Ok(Self { pid, before })
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        let _ = prlimit(Some(self.pid), Resource::Nofile, self.before); // if it is gone, it needs none
    }
}

/// With a connection it signs. Without one it cannot have any, and says so; when it can, it signs again.
fn threat_09_a_client_without_descriptors_gets_errors_and_goes_on(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let line = Line::start(lab)?;
    line.plan([Fault::None, Fault::None, Fault::CutReply(20)]);
    let script = "SIGN; limit files 0; SIGN; SIGN; limit files 0; SIGN; SIGN; limit files -; SIGN";
    let told = beside(lab, signer.key, |_| signer.run(&line, &format!("{START}; {script}")))?;
    told.expect_clean()?;
    let results = told.results("sign");
    ensure!(results == ["0", "0", FAILED, FAILED, FAILED, "0"], "{results:?}");
    ensure!(told.results("limit") == ["0"; 3], "{told:?}");
    ensure!(line.connections() == 2, "{} connections", line.connections());
    line.wait_until_idle()
}

/// No address more than it has, so what it frees is all it can allocate: a signature on a connection that is there needs no more.
fn threat_09_a_client_without_memory_to_spare_signs_on(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let line = Line::start(lab)?;
    let script = format!(
        "{START}; SIGN; limit memory 0; {}limit memory -; SIGN",
        "SIGN; ".repeat(500)
    );
    let told = signer.run(&line, &script)?;
    told.expect_clean()?;
    ensure!(told.results("sign") == ["0"; 502], "{:?}", told.results("sign"));
    ensure!(told.results("limit") == ["0"; 2], "{told:?}");
    line.wait_until_idle()
}

/// It tries again twenty times a second.
const LIMIT: Duration = Duration::from_secs(10);
