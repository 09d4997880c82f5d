//! What the kernel says of the machine that this runs on: what counts its time, and how much memory is free.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

use std::path::{Path, PathBuf};

use enclave_policy::Policy;
use enclave_wire::control::ControlError;

use crate::clock::source;

/// A machine, by its `/proc` and `/sys`.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    /// Whether a policy's word on the clock source binds: it does in an enclave.
    bound: bool,
}

impl Machine {
    /// The enclave that this runs in.
    #[must_use]
    pub fn enclave() -> Self {
        Self {
            root: "/".into(),
            bound: true,
        }
    }

    /// A machine that is no enclave, for a service on an NSM of its own: what counts its time is said, and never refused.
    #[must_use]
    pub fn lab() -> Self {
        Self {
            root: "/".into(),
            bound: false,
        }
    }

    /// An enclave whose `/proc` and `/sys` are below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            bound: true,
        }
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
            Some(source) if self.bound && !policy.allows_any_clock_source() => {
                tracing::error!(source, "the policy asks for kvm-clock");
                Err(ControlError::ClockSourceRefused)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Looks each hour, and returns the source that is refused; `any` says whether the policy in force lets it pass.
    pub(crate) async fn refused_clock_source(&self, any: impl Fn() -> bool) -> String {
        source::refused(&self.root, || !self.bound || any()).await
    }

    /// Whether there is memory for another key and its chain. Without this the kernel would end the service, and every key with it.
    pub(crate) fn has_room(&self) -> Result<(), ControlError> {
        match self.available() {
            Some(available) if available < RESERVED => {
                tracing::error!(
                    available_kib = available.div_euclid(1_024),
                    reserved_kib = RESERVED.div_euclid(1_024),
                    "no memory for another key: those that are here stay"
                );
                Err(ControlError::MemoryFull)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Bytes that can be had without swapping; none where the kernel does not say.
    fn available(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("proc/meminfo")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib.saturating_mul(1_024))
    }
}

/// What the service at work may need besides its keys. A client's 256 connections take at most 16 KiB each of a request that has begun and
/// as much again that waits in the kernel (`packaging/eif/kernel.patch`), so some 40 KiB with what both need to keep it; here is room for
/// three such clients, and for what one control request holds twice over. `cargo xtask bench --part enclave` fills a guest and then opens
/// a thousand such connections.
const RESERVED: u64 = 32 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(test: &str, meminfo: Option<&str>) -> (Machine, PathBuf) {
        let root = std::env::temp_dir().join(format!("enclave-tls-machine-{}-{test}", std::process::id()));
        std::fs::create_dir_all(root.join("proc")).unwrap();
        if let Some(meminfo) = meminfo {
            std::fs::write(root.join("proc/meminfo"), meminfo).unwrap();
        }
        (Machine::below(&root), root)
    }

    #[test]
    fn a_key_has_room_or_is_refused() {
        for (test, meminfo, room) in [
            (
                "enough",
                Some("MemTotal: 65536 kB\nMemAvailable:      32768 kB\n"),
                Ok(()),
            ),
            (
                "full",
                Some("MemTotal: 65536 kB\nMemAvailable:      32767 kB\n"),
                Err(ControlError::MemoryFull),
            ),
            ("silent", Some("MemTotal: 65536 kB\n"), Ok(())),
            ("absent", None, Ok(())),
        ] {
            let (machine, root) = machine(test, meminfo);
            assert_eq!(machine.has_room(), room, "{test}");
            std::fs::remove_dir_all(root).unwrap();
        }
    }
}
