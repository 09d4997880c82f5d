//! What keeps keys out of files: no core dump, no swap.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// No core dump, and no other process of the same user may attach.
pub(super) fn forbid_core_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// Locks all memory where there is swap. An enclave has none. Elsewhere a service without the right to lock runs on, and says so:
/// it is a lab's.
pub(super) fn keep_out_of_swap() {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    if has_swap(&swaps)
        && let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
    {
        tracing::warn!(%error, "memory cannot be locked: keys may be written to swap");
    }
}

/// Lets this process open as many descriptors as it may: one a connection, 1,024 of them, is more than the usual limit leaves.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?)
}

/// `/proc/swaps` has a line of titles, and one for each area.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().count() > 1
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn threat_47_no_core_is_dumped_and_nobody_attaches() {
        forbid_core_dumps().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    }

    #[test]
    fn swap_is_what_follows_the_titles() {
        assert!(!has_swap(""));
        assert!(!has_swap("Filename\tType\tSize\tUsed\tPriority\n"));
        assert!(has_swap(
            "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 1 0 -2\n"
        ));
    }
}
