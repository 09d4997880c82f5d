//! Limits that the service inherits.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// No core dump, and as many descriptors as the planes use at most.
pub(crate) fn set() -> io::Result<()> {
    for (resource, limit) in [(Resource::Core, 0), (Resource::Nofile, DESCRIPTORS)] {
        let both = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, both)?;
    }
    Ok(())
}

/// 1,024 connections of the signing plane, as many that end just then, and what egress, control and the runtime hold.
const DESCRIPTORS: u64 = 4_096;
