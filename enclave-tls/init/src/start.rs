//! What PID 1 does, in order.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use enclave_policy::Policy;
use enclave_tls::clock::source;
use enclave_wire::log::Level;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::system::{RebootCommand, reboot};

use crate::command_line::{self, CommandLine};
use crate::end::{End, Refusal};
use crate::logs::Logs;
use crate::machine::{Machine, Planes};
use crate::{entropy, limits, mounts, watch};

/// Runs the machine until its service ends, and ends it. Nothing is ever printed: the parent may read a console, and the log plane is for
/// what it should know.
///
/// It returns only where the machine could not be restarted. PID 1 then ends, which the kernel answers with a panic, and that with a restart.
pub fn run(machine: &Machine) -> ExitCode {
    // A panic's message may hold what it was given, and would go to the console.
    std::panic::set_hook(Box::new(|_| ()));
    let mut logs = Logs::new(Instant::now());
    let ended = catch_unwind(AssertUnwindSafe(|| serve(machine, &mut logs)));
    let reason = match ended {
        Ok(end) => end.to_string(),
        Err(_) => "PID 1 panicked".to_owned(),
    };
    let last = catch_unwind(AssertUnwindSafe(|| {
        logs.say(Level::Error, &reason);
        logs.finish(LAST_WORDS);
    }));
    drop(last);
    restart()
}

/// A power-off would halt an emulated machine without ending it; a restart ends both.
fn restart() -> ExitCode {
    // It returns only if it fails.
    let _ = reboot(RebootCommand::Restart);
    ExitCode::FAILURE
}

fn serve(machine: &Machine, logs: &mut Logs) -> End {
    match start(machine, logs) {
        Ok((service, planes)) => watch::until_end(service, planes.heartbeat, logs),
        Err(refusal) => End::Refused(refusal),
    }
}

/// Everything before the service, and the service.
fn start(machine: &Machine, logs: &mut Logs) -> Result<(Child, Planes), Refusal> {
    let mounted = mounts::all(&machine.root).and_then(|()| silence(machine));
    let text = read_command_line(machine);
    // A parent that wrote nonsense is told so where it says that it is, or else where a parent usually is.
    let parent = command_line::stated_parent(text.as_deref().unwrap_or_default());
    let planes = (machine.planes)(parent);
    logs.send_to(planes.logs.clone(), Instant::now());
    mounted.map_err(|error| Refusal::Machine("cannot mount", error))?;
    let text = text.map_err(|error| Refusal::Machine("cannot read /proc/cmdline", error))?;
    CommandLine::parse(&text)?;
    logs.say(
        Level::Info,
        &format!("file systems are mounted; the parent has CID {parent}"),
    );

    let policy = read_policy(machine)?;
    logs.say(Level::Info, "the image's policy is read");
    entropy::seed(&machine.root)?;
    logs.say(Level::Info, "random numbers are the NSM's");
    check_clock(machine, &policy, logs)?;
    limits::set().map_err(|error| Refusal::Machine("cannot set limits", error))?;
    match mounts::close_root(&machine.root) {
        Ok(()) => logs.say(Level::Info, "the root is read-only"),
        Err(error) => logs.say(Level::Warn, &format!("the root stays writable: {error}")),
    }
    let mut service = (machine.service)(&machine.path(POLICY), &planes);
    service
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let service = service
        .spawn()
        .map_err(|error| Refusal::Machine("cannot start the service", error))?;
    logs.say(Level::Info, "the service is started");
    Ok((service, planes))
}

/// Whatever writes to a standard descriptor writes to nobody.
fn silence(machine: &Machine) -> io::Result<()> {
    let null = File::options().read(true).write(true).open(machine.path("dev/null"))?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

fn read_command_line(machine: &Machine) -> io::Result<String> {
    std::fs::read_to_string(machine.path("proc/cmdline"))
}

fn read_policy(machine: &Machine) -> Result<Policy, Refusal> {
    let bytes =
        std::fs::read(machine.path(POLICY)).map_err(|error| Refusal::Machine("cannot read the policy", error))?;
    Ok(Policy::parse(&bytes)?)
}

/// The kernel takes the hypervisor's clock some moments after boot; it is waited for only where nothing else will do.
fn check_clock(machine: &Machine, policy: &Policy, logs: &mut Logs) -> Result<(), Refusal> {
    let begun = Instant::now();
    loop {
        let current =
            source::current(&machine.root).map_err(|error| Refusal::Machine("cannot read the clock source", error))?;
        if source::is_stable(&current) {
            logs.say(Level::Info, &format!("the clock source is {current}"));
            return Ok(());
        }
        if policy.allows_any_clock_source() {
            let text = format!("the clock source is {current}, not kvm-clock; the policy lets it pass");
            logs.say(Level::Warn, &text);
            return Ok(());
        }
        if begun.elapsed() >= CLOCK_PATIENCE {
            return Err(Refusal::Clock(current));
        }
        logs.advance(Instant::now());
        std::thread::sleep(CLOCK_PAUSE);
    }
}

/// The image's policy, beside the program.
const POLICY: &str = "policy.toml";
const CLOCK_PATIENCE: Duration = Duration::from_secs(3);
const CLOCK_PAUSE: Duration = Duration::from_millis(50);
/// A parent that reads takes the last records in a moment.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
