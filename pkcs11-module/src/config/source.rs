//! Which configuration file is meant.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where `C_Initialize` looks for a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The caller named this file.
    Named(PathBuf),
    /// The caller named none. What the process read before is kept; else the environment and the usual place are looked at.
    Usual,
}

/// `pReserved` is not of the form `config=PATH`. The caller is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceError;

impl Source {
    /// Reads the string that `pReserved` points at.
    pub fn parse(reserved: &CStr) -> Result<Self, SourceError> {
        match reserved.to_bytes().strip_prefix(b"config=") {
            None | Some(b"") => Err(SourceError),
            Some(path) => Ok(Self::Named(Path::new(OsStr::from_bytes(path)).to_owned())),
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::Usual => from_environment().unwrap_or_else(|| PathBuf::from(USUAL_PLACE)),
        }
    }
}

/// A program with more rights than its caller must not take the caller's word for where its credential is.
fn from_environment() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|path: &OsString| !path.is_empty())?;
    (!is_secure_execution()).then(|| named.into())
}

/// `AT_SECURE` of the auxiliary vector. Where that cannot be read, caution is right.
fn is_secure_execution() -> bool {
    std::fs::read("/proc/self/auxv").map_or(true, |vector| secure_flag(&vector))
}

/// The vector is pairs of words: a type and a value.
fn secure_flag(vector: &[u8]) -> bool {
    let (words, _) = vector.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let flag = pairs
        .iter()
        .map(|pair| pair.map(u64::from_ne_bytes))
        .find(|[kind, _]| *kind == AT_SECURE);
    flag.is_none_or(|[_, value]| value != 0)
}

/// Named by the packages and by `enclave-tlsctl`.
const USUAL_PLACE: &str = "/etc/enclave-tls/pkcs11.toml";
/// For laboratories and tests. Web servers strip their environment.
const VARIABLE: &str = "ENCLAVE_TLS_PKCS11_CONFIG";
/// `linux/auxvec.h`
const AT_SECURE: u64 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_string_has_one_form() {
        assert_eq!(
            Source::parse(c"config=/a/b.toml"),
            Ok(Source::Named(PathBuf::from("/a/b.toml")))
        );
        for bad in [c"", c"config=", c"/a/b.toml", c"Config=/a"] {
            assert_eq!(Source::parse(bad), Err(SourceError));
        }
    }

    #[test]
    fn secure_execution_is_assumed_unless_denied() {
        let vector =
            |pairs: &[[u64; 2]]| -> Vec<u8> { pairs.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect() };
        assert!(!secure_flag(&vector(&[[6, 4096], [23, 0], [0, 0]])));
        assert!(secure_flag(&vector(&[[6, 4096], [23, 1], [0, 0]])));
        assert!(secure_flag(&vector(&[[6, 4096]])));
        assert!(secure_flag(b"short"));
        assert!(!is_secure_execution());
    }
}
