//! Random numbers: from the NSM, and mixed in before there is a key.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

/// Refuses a machine whose random numbers are not the NSM's, mixes some into the kernel's pool, and waits until the pool is ready.
///
/// Bytes written to the pool count nothing towards its being ready: the kernel's own reader of the device, which trusts no CPU and no
/// boot loader here, does that. Ours are there whatever it has read so far.
pub fn seed(root: &Path) -> Result<(), EntropyError> {
    let current = std::fs::read_to_string(root.join(CURRENT)).map_err(EntropyError::Current)?;
    if current.trim_end() != NSM {
        return Err(EntropyError::NotNsm(current.trim_end().to_owned()));
    }
    let mut bytes = [0; MIXED];
    let mut device = File::open(root.join(DEVICE)).map_err(EntropyError::Device)?;
    device.read_exact(&mut bytes).map_err(EntropyError::Device)?;
    if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
        return Err(EntropyError::Stuck);
    }
    let mut pool = File::options()
        .write(true)
        .open(root.join(POOL))
        .map_err(EntropyError::Pool)?;
    pool.write_all(&bytes).map_err(EntropyError::Pool)?;
    // Without flags it waits until the pool is ready; everything after this takes what it gives.
    let mut first = [0u8; 32];
    getrandom(first.as_mut_slice(), GetRandomFlags::empty()).map_err(|error| EntropyError::Pool(error.into()))?;
    Ok(())
}

/// Why there are no random numbers to make keys from.
#[derive(Debug)]
pub enum EntropyError {
    /// The kernel does not say where its random numbers come from: it has no driver for any device.
    Current(io::Error),
    /// They come from another device than the NSM.
    NotNsm(String),
    /// The device did not give them.
    Device(io::Error),
    /// The device gives the same byte again and again.
    Stuck,
    /// The kernel's pool could not be written or read.
    Pool(io::Error),
}

impl std::fmt::Display for EntropyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Current(error) => write!(f, "no source of random numbers: /{CURRENT}: {error}"),
            Self::NotNsm(name) => write!(f, "random numbers come from {name:?}, not from {NSM}"),
            Self::Device(error) => write!(f, "/{DEVICE}: {error}"),
            Self::Stuck => write!(f, "/{DEVICE} gives one byte again and again"),
            Self::Pool(error) => write!(f, "the kernel's random numbers: {error}"),
        }
    }
}

impl std::error::Error for EntropyError {}

const CURRENT: &str = "sys/class/misc/hw_random/rng_current";
const DEVICE: &str = "dev/hwrng";
const POOL: &str = "dev/urandom";
/// The name of the NSM's driver.
const NSM: &str = "nsm-hwrng";
/// Twice what the pool's state holds.
const MIXED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn tree(test: &str, current: &str, device: &[u8]) -> Tree {
        let tree = Tree::new(test);
        tree.write(CURRENT, current.as_bytes());
        tree.write(DEVICE, device);
        tree.write(POOL, b"");
        tree
    }

    fn counting() -> Vec<u8> {
        (0..100).collect()
    }

    #[test]
    fn threat_15_64_bytes_of_the_nsms_go_into_the_pool() {
        let tree = tree("mixed", "nsm-hwrng\n", &counting());
        seed(tree.root()).unwrap();
        assert_eq!(tree.read(POOL), counting()[..64]);
    }

    #[test]
    fn threat_13_random_numbers_of_another_device_are_refused() {
        for name in ["virtio_rng.0", "none", "", "tpm-rng-0", "nsm-hwrng2", " nsm-hwrng"] {
            let tree = tree("other", &format!("{name}\n"), &counting());
            let refused = seed(tree.root()).unwrap_err();
            assert!(
                matches!(&refused, EntropyError::NotNsm(other) if other == name),
                "{refused}"
            );
            assert_eq!(tree.read(POOL), b"", "nothing of it is mixed in");
        }
    }

    #[test]
    fn threat_13_a_kernel_without_such_a_device_is_refused() {
        let tree = Tree::new("none");
        tree.write(DEVICE, &counting());
        assert!(matches!(seed(tree.root()), Err(EntropyError::Current(_))));
    }

    #[test]
    fn threat_15_a_device_that_gives_too_little_is_refused() {
        let cut = tree("cut", "nsm-hwrng\n", &counting()[..63]);
        assert!(matches!(seed(cut.root()), Err(EntropyError::Device(_))));
        let stuck = tree("stuck", "nsm-hwrng\n", &[7; 64]);
        assert!(matches!(seed(stuck.root()), Err(EntropyError::Stuck)));
    }
}
