//! From a command line to a running service, and to its end.

mod arguments;
mod harden;
mod log;

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use enclave_attestation::Nsm;
use enclave_policy::Policy;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use self::arguments::{Arguments, Command};
use crate::machine::Machine;
use crate::nsm::Device;
use crate::platform::Platform;
use crate::serve::{Config, run};

pub use harden::raise_descriptor_limit;
pub(crate) use log::all_dropped;
pub use log::dropped_lines;

/// Runs the release program, on the enclave's own NSM and on no other, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    program(None)
}

/// Runs a program that brings an NSM of its own, for labs and tests: the option `--nsm DIR` says where. The release program has neither
/// the option nor the stand-in.
#[must_use]
pub fn main_with(own: &OwnNsm) -> ExitCode {
    program(Some(own))
}

/// An NSM in the place of the enclave's.
pub struct OwnNsm {
    /// What the program calls itself.
    pub program: &'static str,
    /// What `--nsm DIR` means, in a line.
    pub about: &'static str,
    /// Opens the NSM of a directory.
    pub open: fn(&Path) -> Result<Arc<dyn Nsm>, String>,
}

fn program(own: Option<&OwnNsm>) -> ExitCode {
    let name = arguments::program(own);
    match Arguments::parse(std::env::args_os().skip(1), own) {
        Ok(Command::Run(arguments)) => match serve(arguments, own) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Not `eprintln!`, which panics where standard error takes no more.
                let _ = writeln!(std::io::stderr(), "{name}: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(Command::Say(text)) => {
            // Whoever reads it may have seen enough and gone: no reason to fail, or to panic as `println!` would.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}\n\n{}", arguments::usage(own));
            ExitCode::from(2)
        }
    }
}

fn serve(arguments: Arguments, own: Option<&OwnNsm>) -> Result<(), String> {
    // Before anything is read that could become a secret.
    harden::forbid_core_dumps().map_err(|error| format!("cannot forbid core dumps: {error}"))?;
    log::start(arguments.log_format);
    harden::keep_out_of_swap();
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files; fewer connections will be served");
    }
    let policy = read_policy(&arguments.policy)?;
    let (nsm, machine) = match (own, &arguments.nsm) {
        (Some(own), Some(dir)) => ((own.open)(dir)?, Machine::lab()),
        _ => (device()?, Machine::enclave()),
    };
    let platform = Platform::new(nsm, &policy, machine).map_err(|error| format!("cannot tell the time: {error}"))?;
    let config = Config {
        policy,
        signing: arguments.signing,
        control: arguments.control,
        egress: arguments.egress,
    };
    let runtime = runtime().map_err(|error| format!("cannot start the runtime: {error}"))?;
    runtime.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|error| format!("cannot catch SIGTERM: {error}"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| format!("cannot catch SIGINT: {error}"))?;
        tokio::select! {
            ended = run(config, platform) => match ended {
                Err(error) => Err(error.to_string()),
            },
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    })?;
    tracing::info!("stopped");
    // A key that is being made takes seconds, and nobody will get it.
    runtime.shutdown_background();
    Ok(())
}

fn device() -> Result<Arc<dyn Nsm>, String> {
    match Device::open() {
        Ok(device) => Ok(Arc::new(device)),
        Err(error) => Err(format!("/dev/nsm: {error}; this program runs inside a Nitro enclave")),
    }
}

/// The runtime of the control plane and of admission. Signing has threads of its own (`serve::signing`).
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn read_policy(path: &Path) -> Result<Policy, String> {
    let named = |error: &dyn std::fmt::Display| format!("policy {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(|error| named(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_POLICY + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| named(&error))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_POLICY) {
        return Err(named(&format_args!("more than {MAX_POLICY} bytes")));
    }
    Policy::parse(&bytes).map_err(|error| named(&error))
}

/// What the control plane takes of a parent's policy, in bytes; the image's is no longer.
const MAX_POLICY: u64 = 65_536;
