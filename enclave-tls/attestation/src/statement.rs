//! What an enclave says of its keys. It travels beside a document, whose `user_data` is its SHA-384.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA384, digest};
use minicbor::Encoder;

use crate::cbor::{CborError, Strict, wide};
use crate::sign1::Verified;

/// A statement, version 1. `PROTOCOL.md` has its CDDL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it may be used for.
    pub purpose: Purpose,
    /// Chosen by whoever asked.
    pub nonce: Vec<u8>,
    /// The keys that this enclave holds.
    pub keys: Vec<AttestedKey>,
    /// The ARNs of the KMS keys that sealed state is sealed to.
    pub sealed_to: Vec<String>,
    /// This run of the service.
    pub boot_id: [u8; 16],
    /// SHA-384 of the measured policy's canonical JSON.
    pub policy_sha384: [u8; 48],
    /// What counts time in this enclave, where it is not `kvm-clock`: expiry is then judged by a clock that may run wrong.
    pub clock_source: Option<String>,
}

/// What a statement may be used for. One of another purpose is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Shows third parties which code holds which keys.
    Keys,
    /// Goes to KMS with a request; its document's public key receives the reply.
    KmsRecipient,
}

impl Purpose {
    fn text(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::KmsRecipient => "kms-recipient",
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        [Self::Keys, Self::KmsRecipient]
            .into_iter()
            .find(|purpose| purpose.text() == text)
    }
}

/// A key that an enclave holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedKey {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
    /// Where it came from: `born`, `bundle`, …
    pub origin: String,
    /// What it may sign: `tls`, `tls-client`, `digest`.
    pub usage: String,
    /// Which generation of its certificate.
    pub generation: u32,
}

/// Why a statement was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementError {
    /// Not a statement of version 1 in its one form.
    Form,
    /// The document beside it does not bind it.
    NotBound,
    /// It was made for another purpose.
    Purpose,
    /// It answers another nonce.
    Nonce,
}

impl std::fmt::Display for StatementError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "not a statement of version 1 in its one form",
            Self::NotBound => "the document does not bind this statement",
            Self::Purpose => "the statement was made for another purpose",
            Self::Nonce => "the statement answers another nonce",
        })
    }
}

impl std::error::Error for StatementError {}

impl From<CborError> for StatementError {
    fn from(error: CborError) -> Self {
        match error {
            CborError::Form | CborError::NotShortest | CborError::Trailing => Self::Form,
        }
    }
}

impl Statement {
    /// Reads the statement beside a verified document, and checks that the document binds it, for this purpose and this nonce.
    pub fn bound_to(verified: &Verified, bytes: &[u8], purpose: Purpose, nonce: &[u8]) -> Result<Self, StatementError> {
        let bound = verified
            .document()
            .user_data
            .as_deref()
            .ok_or(StatementError::NotBound)?;
        if bound != digest(&SHA384, bytes).as_ref() {
            return Err(StatementError::NotBound);
        }
        let statement = Self::decode(bytes)?;
        if statement.purpose != purpose {
            return Err(StatementError::Purpose);
        }
        verify_slices_are_equal(&statement.nonce, nonce).map_err(|_| StatementError::Nonce)?;
        Ok(statement)
    }

    /// What a document must carry as `user_data` to bind this statement.
    #[must_use]
    pub fn user_data(&self) -> [u8; 48] {
        let mut out = [0; 48];
        out.copy_from_slice(digest(&SHA384, &self.encode()).as_ref());
        out
    }

    /// Writes the statement in its one form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut e = Encoder::new(&mut out);
        // Writing to a Vec cannot fail.
        let _ = self.encode_fields(&mut e);
        out
    }

    fn encode_fields(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        let fields = if self.clock_source.is_some() { 8 } else { 7 };
        e.map(fields)?
            .str("v")?
            .u8(1)?
            .str("purpose")?
            .str(self.purpose.text())?;
        e.str("nonce")?
            .bytes(&self.nonce)?
            .str("keys")?
            .array(wide(self.keys.len()))?;
        for key in &self.keys {
            e.map(4)?
                .str("spki_sha256")?
                .bytes(&key.spki_sha256)?
                .str("origin")?
                .str(&key.origin)?;
            e.str("usage")?
                .str(&key.usage)?
                .str("generation")?
                .u32(key.generation)?;
        }
        e.str("sealed_to")?.array(wide(self.sealed_to.len()))?;
        for arn in &self.sealed_to {
            e.str(arn)?;
        }
        e.str("boot_id")?
            .bytes(&self.boot_id)?
            .str("policy_sha384")?
            .bytes(&self.policy_sha384)?;
        if let Some(source) = &self.clock_source {
            e.str("clock_source")?.str(source)?;
        }
        Ok(())
    }

    /// Reads a statement: fields in the order in which they are written, nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let mut cbor = Strict::new(bytes);
        let fields = cbor.map()?;
        if !matches!(fields, 7 | 8) || field(&mut cbor, "v")?.uint()? != 1 {
            return Err(StatementError::Form);
        }
        let purpose = Purpose::from_text(field(&mut cbor, "purpose")?.text()?).ok_or(StatementError::Form)?;
        let nonce = field(&mut cbor, "nonce")?.bytes()?.to_vec();
        let keys = field(&mut cbor, "keys")?.array()?;
        let keys = (0..keys).map(|_| key(&mut cbor)).collect::<Result<_, _>>()?;
        let arns = field(&mut cbor, "sealed_to")?.array()?;
        let sealed_to = (0..arns)
            .map(|_| cbor.text().map(str::to_owned))
            .collect::<Result<_, _>>()?;
        let boot_id = fixed(field(&mut cbor, "boot_id")?)?;
        let policy_sha384 = fixed(field(&mut cbor, "policy_sha384")?)?;
        let clock_source = match fields {
            8 => Some(field(&mut cbor, "clock_source")?.text()?).filter(|source| *source != KVM_CLOCK),
            _ => None,
        };
        // The good source is said by saying nothing, and in no second way.
        if clock_source.is_none() && fields == 8 {
            return Err(StatementError::Form);
        }
        cbor.finish()?;
        Ok(Self {
            purpose,
            nonce,
            keys,
            sealed_to,
            boot_id,
            policy_sha384,
            clock_source: clock_source.map(str::to_owned),
        })
    }
}

fn key(cbor: &mut Strict<'_>) -> Result<AttestedKey, StatementError> {
    if cbor.map()? != 4 {
        return Err(StatementError::Form);
    }
    Ok(AttestedKey {
        spki_sha256: fixed(field(cbor, "spki_sha256")?)?,
        origin: field(cbor, "origin")?.text()?.to_owned(),
        usage: field(cbor, "usage")?.text()?.to_owned(),
        generation: u32::try_from(field(cbor, "generation")?.uint()?).map_err(|_| StatementError::Form)?,
    })
}

fn field<'c, 'b>(cbor: &'c mut Strict<'b>, name: &str) -> Result<&'c mut Strict<'b>, StatementError> {
    if cbor.text()? == name {
        Ok(cbor)
    } else {
        Err(StatementError::Form)
    }
}

fn fixed<const N: usize>(cbor: &mut Strict<'_>) -> Result<[u8; N], StatementError> {
    cbor.bytes()?.try_into().map_err(|_| StatementError::Form)
}

/// The hypervisor's clock, as the kernel calls it.
const KVM_CLOCK: &str = "kvm-clock";
