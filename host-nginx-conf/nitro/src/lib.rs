//! Runs `nitro-cli`, and understands what it answers.
//!
//! Everything blocks, for a bounded time, and no shell is involved. Three users: the supervisor keeps the enclave running; the
//! agent looks whether it runs and ends one that no longer answers; `enclave-tlsctl check` reads the facts of the parent instance
//! and says the exact edit.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)
)]

pub mod adopt;
pub mod cli;
pub mod codes;
pub mod enclave;
pub mod error;
pub mod exec;
pub mod image;
mod json;
pub mod machine;
pub mod pcr;
pub mod supervisor;

pub use self::adopt::{Adoption, Difference, Refusal, adopt};
pub use self::cli::{Cli, NitroCli, RunOptions, Which};
pub use self::codes::Code;
pub use self::enclave::{Description, Enclave, Flags, State};
pub use self::error::{Complaint, NitroError};
pub use self::image::{ImageError, image_measurements};
pub use self::pcr::{Measurements, Pcr};
pub use self::supervisor::{Clock, Event, SystemClock, Wake, notify_systemd, supervise};

/// A directory of a test's own, whose name two tests never share.
#[cfg(test)]
fn test_dir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("nitro-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
