//! What a signature costs in system calls: one send, one receive, and the wait between them, seen by `strace` in NGINX's workers.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::lab::load;
use e2e::lab::process::{self, Signal};
use e2e::lab::scratch::Scratch;
use e2e::lab::server::{Server, Tls};
use e2e::lab::suite::{Skipped, Test};
use e2e::lab::{Endpoint, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![one_send_and_one_receive_a_handshake];

fn one_send_and_one_receive_a_handshake(lab: &Lab) -> Result<()> {
    for via in ["provider", "engine"] {
        for kind in ["P-256", "RSA-2048"] {
            let endpoint = lab.lasting_endpoint(via, kind)?;
            for tls in Tls::ALL {
                traced(lab, endpoint, tls).with_context(|| format!("{endpoint}, TLS {}", tls.name()))?;
            }
        }
    }
    Ok(())
}

fn traced(lab: &Lab, endpoint: &Endpoint, tls: Tls) -> Result<()> {
    let server = Server::of(lab, &endpoint.via);
    // Each worker's first signature connects and authenticates.
    server.wake_every_worker(endpoint, tls)?;
    let workers = server.workers()?;
    let trace = Trace::attach(&workers)?;
    load::one_by_one(lab, endpoint, tls, HANDSHAKES.try_into()?)?;
    let calls = trace.detach()?;
    // TLS goes over TCP; the one unix socket that a worker uses in a handshake is the module's.
    let of_module: Vec<&str> = calls.lines().filter(|line| line.contains("<UNIX")).collect();
    let count = |names: &[&str]| of_module.iter().filter(|line| is_call(line, names)).count();
    let counted = [count(&SENDS), count(&WAITS), count(&RECEIVES), of_module.len()];
    ensure!(
        counted == [HANDSHAKES, HANDSHAKES, HANDSHAKES, 3 * HANDSHAKES],
        "sends, waits, receives and calls in all of {HANDSHAKES} handshakes: {counted:?}:\n{}",
        of_module.join("\n")
    );
    Ok(())
}

/// A line is `PID call(…`.
fn is_call(line: &str, names: &[&str]) -> bool {
    line.split_whitespace()
        .nth(1)
        .and_then(|call| call.split('(').next())
        .is_some_and(|name| names.contains(&name))
}

/// An `strace` of some processes.
struct Trace {
    process: Child,
    scratch: Scratch,
}

impl Trace {
    fn attach(pids: &[u32]) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut command = Command::new("strace");
        // -yy tells what a descriptor is; only calls on descriptors can be the module's.
        command
            .args([
                "-f",
                "-yy",
                "-e",
                "trace=%network,%desc",
                "-e",
                "signal=none",
                "-s",
                "16",
                "-o",
            ])
            .arg(scratch.file("trace"));
        for pid in pids {
            command.args(["-q", "-p", &pid.to_string()]);
        }
        let errors = fs::File::create(scratch.file("errors"))?;
        let mut trace = Self {
            process: command.stdin(Stdio::null()).stderr(errors).spawn()?,
            scratch,
        };
        let traced = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status
                .lines()
                .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        let attached = process::wait_until(Duration::from_secs(5), "strace to attach", || pids.iter().all(traced));
        if attached.is_err() {
            let errors = fs::read_to_string(trace.scratch.file("errors"))?;
            if trace.process.try_wait()?.is_some() && errors.contains("Operation not permitted") {
                bail!(Skipped("this machine does not allow ptrace".into()));
            }
            bail!("strace does not attach: {errors}");
        }
        Ok(trace)
    }

    fn detach(mut self) -> Result<String> {
        process::signal(self.process.id(), Signal::INT)?;
        self.process.wait()?;
        Ok(fs::read_to_string(self.scratch.file("trace"))?)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Once it was waited for, its pid may be another's.
        if matches!(self.process.try_wait(), Ok(None)) {
            drop(process::signal(self.process.id(), Signal::INT));
            drop(self.process.wait());
        }
    }
}

/// Besides, a number that no other count is equal to by chance.
const HANDSHAKES: usize = 101;
const SENDS: [&str; 4] = ["sendto", "sendmsg", "write", "writev"];
/// For the reply. A receive that waits by itself is woken for nothing when the service takes the request.
const WAITS: [&str; 2] = ["poll", "ppoll"];
const RECEIVES: [&str; 4] = ["recvfrom", "recvmsg", "read", "readv"];
