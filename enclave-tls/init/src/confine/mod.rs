//! What the service may ask of the kernel: the calls in [`calls`], with the arguments that stand there, and nothing else.

mod calls;

use std::collections::BTreeMap;

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use calls::{Arguments, Call};

/// Confines this process, for good. It must have one thread: those that it starts later inherit the filter.
///
/// It also gives up root's capabilities: the service opens one device that its user owns, and needs none.
pub fn this_process() -> Result<(), ConfineError> {
    set_no_new_privs(true).map_err(|error| ConfineError::Privileges(error.into()))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(|error| ConfineError::Privileges(error.into()))?;
    // The strictest of all filters' answers is taken, so the order is free.
    apply_filter(&without_clone3()?)?;
    apply_filter(&allow_list()?)?;
    Ok(())
}

/// Why the service was not confined. It must not run then.
#[derive(Debug)]
pub enum ConfineError {
    /// Privileges could not be given up.
    Privileges(std::io::Error),
    /// The filter was not made, or not taken.
    Filter(seccompiler::Error),
}

impl std::fmt::Display for ConfineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Privileges(error) => write!(f, "cannot give up privileges: {error}"),
            Self::Filter(error) => write!(f, "the filter of system calls: {error}"),
        }
    }
}

impl std::error::Error for ConfineError {}

impl<E: Into<seccompiler::Error>> From<E> for ConfineError {
    fn from(error: E) -> Self {
        Self::Filter(error.into())
    }
}

/// Whatever is not on the list kills the process, all its threads at once: an error could be lived with, and tried again.
fn allow_list() -> Result<BpfProgram, ConfineError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for Call(number, arguments) in calls::ALLOWED {
        rules.insert(*number, self::rules(*arguments)?);
    }
    compile(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

/// A thread can be told from a process by the flags of `clone`, which a filter sees, and not by those of `clone3`, which lie in memory. The
/// C library takes `clone` where there is no `clone3`.
fn without_clone3() -> Result<BpfProgram, ConfineError> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    compile(rules, SeccompAction::Allow, absent)
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, ConfineError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, otherwise, listed, architecture)?;
    Ok(BpfProgram::try_from(filter)?)
}

/// One rule for each value; no rule at all allows every argument.
fn rules(arguments: Arguments) -> Result<Vec<SeccompRule>, ConfineError> {
    let rule = |index, operator, value| -> Result<SeccompRule, ConfineError> {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    match arguments {
        Arguments::Any => Ok(Vec::new()),
        Arguments::OneOf(index, values) => values
            .iter()
            .map(|value| rule(index, SeccompCmpOp::Eq, *value))
            .collect(),
        Arguments::With(index, bits) => Ok(vec![rule(index, SeccompCmpOp::MaskedEq(bits), bits)?]),
        Arguments::Without(index, bits) => Ok(vec![rule(index, SeccompCmpOp::MaskedEq(bits), 0)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_56_the_filter_fits_the_kernels_limit() {
        let program = allow_list().unwrap();
        assert!(program.len() < 4_096, "{}", program.len());
        without_clone3().unwrap();
    }

    #[test]
    fn threat_56_nothing_that_starts_a_program_or_changes_the_machine_is_allowed() {
        for number in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_mount,
            libc::SYS_reboot,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_clock_settime,
            libc::SYS_settimeofday,
            libc::SYS_memfd_create,
            libc::SYS_kill,
            libc::SYS_seccomp,
            libc::SYS_unshare,
            libc::SYS_setns,
        ] {
            assert!(calls::ALLOWED.iter().all(|call| call.0 != number), "{number}");
        }
    }

    #[test]
    fn each_call_stands_there_once() {
        let mut numbers: Vec<i64> = calls::ALLOWED.iter().map(|call| call.0).collect();
        numbers.sort_unstable();
        let count = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }
}
