//! The module itself.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use enclave_attestation::{Bound, Document, Nsm, NsmError, Pcr, Register, sign};

use crate::pki::{Issued, LEAF_LIFE, Pki};
use crate::registers::Registers;

/// What a stand-in is told.
#[derive(Clone)]
pub struct Options {
    /// The directory of its PKI.
    pub dir: PathBuf,
    /// What measures the enclave: registers 0 to 15. One that is not given is zero.
    pub pcrs: BTreeMap<u8, Pcr>,
    /// Its time.
    pub clock: Clock,
}

/// Milliseconds since 1970, UTC.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A Nitro Secure Module that is none.
pub struct StandIn {
    pki: Pki,
    clock: Clock,
    module_id: String,
    state: Mutex<State>,
}

struct State {
    registers: Registers,
    signer: Signer,
}

impl StandIn {
    /// A module as an enclave finds it when it boots.
    pub fn start(options: Options) -> Result<Self, StartError> {
        if options.pcrs.keys().any(|index| *index >= crate::registers::APPLICATION) {
            return Err(StartError::Register);
        }
        let pki = Pki::open(&options.dir).map_err(StartError::Pki)?;
        let signer = Signer::new(&pki, (options.clock)()).map_err(|error| StartError::Pki(io::Error::other(error)))?;
        let mut enclave = [0; 8];
        aws_lc_rs::rand::fill(&mut enclave).map_err(|_| StartError::Pki(io::Error::other("no random numbers")))?;
        Ok(Self {
            pki,
            clock: options.clock,
            module_id: format!("i-00000000000000000-enc{}", hex::encode(enclave)),
            state: Mutex::new(State {
                registers: Registers::measured(&options.pcrs),
                signer,
            }),
        })
    }

    /// Its PKI, whose root a policy names.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nsm for StandIn {
    fn attest(&self, bound: &Bound<'_>) -> Result<Vec<u8>, NsmError> {
        let [public_key, user_data, nonce] =
            [bound.public_key, bound.user_data, bound.nonce].map(|field| field.map(<[u8]>::to_vec));
        let too_long = [&public_key, &user_data, &nonce]
            .into_iter()
            .flatten()
            .any(|field| field.len() > MAX_FIELD);
        if too_long || public_key.as_ref().is_some_and(Vec::is_empty) {
            return Err(NsmError::Argument);
        }
        let timestamp_ms = (self.clock)();
        let mut state = self.state();
        if !state.signer.signs_at(timestamp_ms) {
            state.signer = Signer::new(&self.pki, timestamp_ms).map_err(|_| NsmError::Refused)?;
        }
        let document = Document {
            module_id: self.module_id.clone(),
            timestamp_ms,
            pcrs: state.registers.locked(),
            certificate: state.signer.issued.leaf.clone(),
            cabundle: state.signer.issued.cabundle.clone(),
            public_key,
            user_data,
            nonce,
        };
        sign(&document, |bytes| state.signer.sign(bytes))
    }

    fn extend(&self, index: u8, data: &[u8]) -> Result<Pcr, NsmError> {
        if data.len() > MAX_FIELD {
            return Err(NsmError::Argument);
        }
        self.state().registers.extend(index, data)
    }

    fn lock_below(&self, count: u8) -> Result<(), NsmError> {
        self.state().registers.lock_below(count)
    }

    fn register(&self, index: u8) -> Result<Register, NsmError> {
        self.state().registers.get(index)
    }
}

/// A leaf, its chain and its key.
struct Signer {
    issued: Issued,
    key: EcdsaKeyPair,
    /// From and to, in seconds since 1970.
    use_within: (u64, u64),
}

impl Signer {
    fn new(pki: &Pki, now_ms: u64) -> Result<Self, rcgen::Error> {
        let from = now_ms / 1_000;
        let issued = pki.issue(i64::try_from(from).map_err(|_| rcgen::Error::Time)?)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &issued.key_pkcs8);
        Ok(Self {
            issued,
            key: key.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?,
            // A document is of use for a while after it was made: no leaf signs in the last half of its life.
            use_within: (from, from.saturating_add(LEAF_LIFE.whole_seconds().unsigned_abs() / 2)),
        })
    }

    fn signs_at(&self, now_ms: u64) -> bool {
        (self.use_within.0..self.use_within.1).contains(&(now_ms / 1_000))
    }

    fn sign(&self, bytes: &[u8]) -> Result<[u8; 96], NsmError> {
        let signature = self
            .key
            .sign(&SystemRandom::new(), bytes)
            .map_err(|_| NsmError::Refused)?;
        signature.as_ref().try_into().map_err(|_| NsmError::Refused)
    }
}

/// Why a stand-in did not start.
#[derive(Debug)]
pub enum StartError {
    /// Its PKI could not be opened.
    Pki(io::Error),
    /// A register above 15 was given: those start at zero.
    Register,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pki(error) => write!(f, "the stand-in's PKI: {error}"),
            Self::Register => f.write_str("registers from 16 on start at zero"),
        }
    }
}

impl std::error::Error for StartError {}

/// The real one's limit for what a document carries, in bytes. Applied to what extends a register too, for which it allows more.
const MAX_FIELD: usize = 1_024;
