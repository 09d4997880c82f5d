//! How it ended, as the parent is told.

use std::io;

use enclave_policy::PolicyError;
use rustix::process::WaitStatus;

use crate::command_line::CommandLineError;
use crate::entropy::EntropyError;

/// Why the machine ends. It always does: there is nothing to come back to.
#[derive(Debug)]
pub enum End {
    /// The service was not started.
    Refused(Refusal),
    /// The service was, and returned.
    Exited(i32),
    /// The kernel ended the service by a signal.
    Killed(i32),
    /// The service could not be waited for.
    Lost(io::Error),
}

impl End {
    pub(crate) fn of(status: WaitStatus) -> Self {
        match status.terminating_signal() {
            Some(signal) => Self::Killed(signal),
            None => Self::Exited(status.exit_status().unwrap_or(-1)),
        }
    }
}

/// Why the service was not started.
#[derive(Debug)]
pub enum Refusal {
    /// What could not be done to the machine.
    Machine(&'static str, io::Error),
    /// The kernel's command line.
    CommandLine(CommandLineError),
    /// The image's policy.
    Policy(PolicyError),
    /// Random numbers.
    Entropy(EntropyError),
    /// The clock source, where the policy asks for `kvm-clock`.
    Clock(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(refusal) => write!(f, "the service was not started: {refusal}"),
            Self::Exited(code) => write!(f, "the service ended with code {code}"),
            Self::Killed(libc::SIGSYS) => {
                f.write_str("the service was killed: it made a system call that it may not make (SIGSYS)")
            }
            Self::Killed(libc::SIGKILL) => {
                f.write_str("the service was killed: out of memory, or it closed its log (SIGKILL)")
            }
            Self::Killed(signal) => write!(f, "the service was killed by signal {signal}"),
            Self::Lost(error) => write!(f, "the service could not be waited for: {error}"),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine(what, error) => write!(f, "{what}: {error}"),
            Self::CommandLine(error) => write!(f, "{error}"),
            Self::Policy(error) => write!(f, "the image's policy: {error}"),
            Self::Entropy(error) => write!(f, "{error}"),
            Self::Clock(source) => write!(f, "the clock source is {source:?}, and the policy asks for kvm-clock"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<CommandLineError> for Refusal {
    fn from(error: CommandLineError) -> Self {
        Self::CommandLine(error)
    }
}

impl From<PolicyError> for Refusal {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

impl From<EntropyError> for Refusal {
    fn from(error: EntropyError) -> Self {
        Self::Entropy(error)
    }
}
