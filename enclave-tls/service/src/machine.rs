//! What the kernel says of the machine that this runs on: what counts its time, and how much memory is free.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

use std::path::{Path, PathBuf};

use enclave_policy::Policy;
use enclave_wire::control::{ControlError, Memory};

use crate::clock::source;

/// A machine, by its `/proc` and `/sys`.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    /// Whether it is an enclave: a policy's word on the clock source binds then, and memory that cannot be told is none.
    is_enclave: bool,
    /// How many connections of the signing plane it has memory for.
    connections: u32,
}

impl Machine {
    /// The enclave that this runs in, before it holds any key.
    #[must_use]
    pub fn enclave() -> Self {
        Self::of("/".into(), true)
    }

    /// A machine that is no enclave, for a service on an NSM of its own: what counts its time is said, and never refused.
    #[must_use]
    pub fn lab() -> Self {
        Self::of("/".into(), false)
    }

    /// An enclave whose `/proc` and `/sys` are below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self::of(root.to_owned(), true)
    }

    fn of(root: PathBuf, is_enclave: bool) -> Self {
        let connections = match available(&root) {
            // Half of what is free now is for keys.
            Some(available) => available.div_euclid(2).div_euclid(A_CONNECTION),
            None => u64::MAX,
        };
        let connections = u32::try_from(connections).unwrap_or(u32::MAX);
        Self {
            root,
            is_enclave,
            connections: connections.clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS),
        }
    }

    /// How many connections of the signing plane it has memory for, however many keys there will be.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// The kernel's clock source, or why it cannot be read.
    #[must_use]
    pub fn clock_source(&self) -> String {
        source::current(&self.root).unwrap_or_else(|error| error.to_string())
    }

    /// The clock source, where it is not the hypervisor's: to be flagged.
    #[must_use]
    pub(crate) fn flagged_clock_source(&self) -> Option<String> {
        Some(self.clock_source()).filter(|current| !source::is_stable(current))
    }

    /// Whether time may be counted as it is, under this policy.
    pub(crate) fn check_clock_source(&self, policy: &Policy) -> Result<(), ControlError> {
        match self.flagged_clock_source() {
            Some(source) if self.is_enclave && !policy.allows_any_clock_source() => {
                tracing::error!(source, "the policy asks for kvm-clock");
                Err(ControlError::ClockSourceRefused)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Looks each hour, and returns the source that is refused; `any` says whether the policy in force lets it pass.
    pub(crate) async fn refused_clock_source(&self, any: impl Fn() -> bool) -> String {
        source::refused(&self.root, || !self.is_enclave || any()).await
    }

    /// What is free now, and what of it is kept.
    #[must_use]
    pub(crate) fn memory(&self) -> Memory {
        let reserved = u64::from(self.connections)
            .saturating_mul(A_CONNECTION)
            .saturating_add(A_REQUEST);
        Memory {
            available: available(&self.root),
            reserved,
        }
    }

    /// Whether there is memory for another key and its chain. Without this the kernel would end the service, and every key with it.
    pub(crate) fn has_room(&self) -> Result<(), ControlError> {
        let Memory { available, reserved } = self.memory();
        match available {
            Some(available) if available >= reserved => Ok(()),
            None if !self.is_enclave => Ok(()),
            available => {
                let kib = |bytes: u64| bytes.div_euclid(1_024);
                tracing::error!(
                    available_kib = available.map(kib),
                    reserved_kib = kib(reserved),
                    "no memory for another key: those that are here stay"
                );
                Err(ControlError::MemoryFull)
            }
        }
    }
}

/// Bytes that can be had without swapping; none where the kernel does not say.
fn available(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib.saturating_mul(1_024))
}

/// What is kept for a connection of the signing plane: 16 KiB of a request that has begun, as much that waits unread in the kernel
/// (`packaging/eif/kernel.patch`), a page of a listing that nobody takes, and what all need to keep it. `cargo xtask bench --part enclave`
/// fills a guest with keys and then with connections of the first two kinds.
const A_CONNECTION: u64 = 48 * 1_024;
/// What one control request, a state of 64 generations for one, may leave or hold twice over.
const A_REQUEST: u64 = 2 * 1_024 * 1_024;
/// As `PROTOCOL.md` says.
const MOST_CONNECTIONS: u32 = 1_024;
/// One client's.
const LEAST_CONNECTIONS: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(PathBuf);

    impl Tree {
        fn new(test: &str) -> Self {
            let root = std::env::temp_dir().join(format!("enclave-tls-machine-{}-{test}", std::process::id()));
            std::fs::create_dir_all(root.join("proc")).unwrap();
            Self(root)
        }

        fn has(&self, available_kib: u64) -> &Self {
            let meminfo = format!("MemTotal: 99999 kB\nMemAvailable: {available_kib:>9} kB\n");
            std::fs::write(self.0.join("proc/meminfo"), meminfo).unwrap();
            self
        }

        fn machine(&self) -> Machine {
            Machine::below(&self.0)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn half_of_the_memory_is_for_connections_as_far_as_they_need_it() {
        let tree = Tree::new("connections");
        for (kib, connections) in [(1_000, 256), (32_768, 341), (98_304, 1_024), (8_000_000, 1_024)] {
            assert_eq!(tree.has(kib).machine().connections(), connections, "{kib}");
        }
    }

    #[test]
    fn a_key_has_room_or_is_refused() {
        let tree = Tree::new("room");
        let machine = tree.has(8_000_000).machine();
        let reserved = 1_024 * 48 + 2_048;
        tree.has(reserved);
        assert_eq!(machine.has_room(), Ok(()));
        tree.has(reserved - 1);
        assert_eq!(machine.has_room(), Err(ControlError::MemoryFull));
        std::fs::write(tree.0.join("proc/meminfo"), "MemTotal: 99999 kB\n").unwrap();
        assert_eq!(
            machine.has_room(),
            Err(ControlError::MemoryFull),
            "an enclave that cannot tell"
        );
        assert_eq!(
            Machine {
                is_enclave: false,
                ..machine
            }
            .has_room(),
            Ok(()),
            "another machine has other guards"
        );
    }
}
