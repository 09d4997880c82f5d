//! The Nitro Secure Module, as its users see it.

use crate::document::Pcr;

/// What attests. The real one is the device of an enclave; a stand-in for tests has a PKI of its own.
pub trait Nsm: Send + Sync {
    /// A signed document over what is bound to it, with every locked register.
    fn attest(&self, bound: &Bound<'_>) -> Result<Vec<u8>, NsmError>;

    /// Extends a register: its new value is SHA-384(old value ‖ data), which is returned.
    fn extend(&self, index: u8, data: &[u8]) -> Result<Pcr, NsmError>;

    /// Locks the registers from 0 up to, and without, `count`: no later call can extend them.
    fn lock_below(&self, count: u8) -> Result<(), NsmError>;

    /// A register and whether it is locked.
    fn register(&self, index: u8) -> Result<Register, NsmError>;
}

/// What a document is to carry. Each at most 1,024 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bound<'a> {
    /// A public key that the reader of the document encrypts to.
    pub public_key: Option<&'a [u8]>,
    /// What the enclave says of itself: the SHA-384 of a [`Statement`](crate::Statement).
    pub user_data: Option<&'a [u8]>,
    /// What whoever asked chose.
    pub nonce: Option<&'a [u8]>,
}

/// A register, as the NSM describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register {
    /// Its value.
    pub value: Pcr,
    /// Whether it can still be extended.
    pub locked: bool,
}

/// Why the NSM did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NsmError {
    /// The device cannot be reached, or does not answer: this is no Nitro enclave.
    Device,
    /// The register is locked already.
    Locked,
    /// An index above 31, or data that is too long.
    Argument,
    /// It refused, or answered something else.
    Refused,
}

impl std::fmt::Display for NsmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Device => "the NSM does not answer: this is no Nitro enclave",
            Self::Locked => "the PCR is locked",
            Self::Argument => "a PCR above 31, or data that is too long for the NSM",
            Self::Refused => "the NSM refused",
        })
    }
}

impl std::error::Error for NsmError {}
