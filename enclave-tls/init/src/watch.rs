//! The service at work, as PID 1 sees it: its lines, and its end.

use std::io::{self, ErrorKind, Read as _};
use std::process::{Child, ChildStderr};
use std::time::Instant;

use enclave_wire::address::Address;
use enclave_wire::log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use crate::end::End;
use crate::heartbeat::beat;
use crate::logs::Logs;
use crate::logs::lines::Lines;

/// Sends what the service says until it ends, and says how it did.
pub(crate) fn until_end(mut service: Child, heartbeat: Address, logs: &mut Logs) -> End {
    // After the service, which is started before there is any thread. It waits for a parent that may not answer.
    let mut heart = Some(std::thread::spawn(move || beat(&heartbeat)));
    let mut lines = Lines::default();
    if let Some(mut pipe) = service.stderr.take() {
        while let Ok(true) = turn(&mut pipe, &mut lines, logs) {
            if heart.as_ref().is_some_and(|heart| heart.is_finished())
                && let Some(Ok(beat)) = heart.take().map(|heart| heart.join())
            {
                report(&beat, logs);
            }
        }
        lines.end(|line| logs.pass_on(line, Instant::now()));
    }
    // The pipe ends with the service. One that closed it and goes on has lost its way.
    let pid = Pid::from_child(&service);
    let _ = kill_process(pid, Signal::KILL);
    match reap(pid) {
        Ok(status) => End::of(status),
        Err(error) => End::Lost(error),
    }
}

/// Waits a little, and does what there is to do. False: the pipe has ended.
fn turn(pipe: &mut ChildStderr, lines: &mut Lines, logs: &mut Logs) -> io::Result<bool> {
    let readable = {
        let mut awaited = vec![PollFd::new(&*pipe, PollFlags::IN)];
        awaited.extend(logs.awaits().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        match poll(&mut awaited, Some(&TURN)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        awaited.first().is_some_and(|fd| !fd.revents().is_empty())
    };
    let now = Instant::now();
    if readable {
        let mut bytes = [0; 16_384];
        let count = match pipe.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        lines.take(bytes.get(..count).unwrap_or_default(), |line| logs.pass_on(line, now));
    }
    logs.advance(now);
    Ok(true)
}

fn report(beat: &io::Result<()>, logs: &mut Logs) {
    match beat {
        Ok(()) => logs.say(Level::Info, "the parent answered Nitro's heartbeat"),
        Err(error) => logs.say(Level::Warn, &format!("nobody answered Nitro's heartbeat: {error}")),
    }
}

/// Takes every process that ended, for as long as the service has not. It cannot make others, but what is not its own is PID 1's too.
fn reap(service: Pid) -> io::Result<WaitStatus> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == service => return Ok(status),
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Long enough to sleep, short enough for whoever waits for a record.
const TURN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
