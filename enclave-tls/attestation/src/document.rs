//! The payload of an attestation document.

use std::collections::BTreeMap;

use minicbor::Encoder;

use crate::cbor::{CborError, Strict, wide};

/// A platform configuration register: SHA-384.
pub type Pcr = [u8; 48];

/// What the NSM says of an enclave. Decoded strictly, not yet verified: see [`SignedDocument`](crate::SignedDocument).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Names the enclave and the instance that it runs on. Never an identity: the parent's hypervisor chooses it.
    pub module_id: String,
    /// When the NSM made the document, in milliseconds since 1970, UTC.
    pub timestamp_ms: u64,
    /// Every locked register, by its index.
    pub pcrs: BTreeMap<u8, Pcr>,
    /// The certificate of the key that signed, DER.
    pub certificate: Vec<u8>,
    /// Its issuers: the root first, the leaf's issuer last. DER.
    pub cabundle: Vec<Vec<u8>>,
    /// Whatever key the enclave asked to have attested.
    pub public_key: Option<Vec<u8>>,
    /// Whatever the enclave asked to have attested.
    pub user_data: Option<Vec<u8>>,
    /// Whatever whoever asked for the document chose.
    pub nonce: Option<Vec<u8>>,
}

/// Why a payload was refused: one rule each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DocumentError {
    /// Not well-formed CBOR, an indefinite length, or a field of another type.
    Cbor,
    /// A length or a number in more bytes than it needs.
    NotShortest,
    /// Bytes follow the document.
    Trailing,
    /// A field that the format does not have.
    UnknownField,
    /// A field or a register that stands twice.
    Duplicate,
    /// A field that must be there is not.
    MissingField,
    /// The digest is not `SHA384`.
    Digest,
    /// The module id is empty or too long.
    ModuleId,
    /// A timestamp of zero.
    Timestamp,
    /// No register, or more than 32.
    PcrCount,
    /// A register above 31.
    PcrIndex,
    /// A register that is not 48 bytes.
    PcrLength,
    /// A certificate that is empty or above 1,024 bytes, or a bundle that is empty or above 8.
    Certificate,
    /// `public_key`, `user_data` or `nonce` above 1,024 bytes, or an empty `public_key`.
    OptionalField,
}

impl std::fmt::Display for DocumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cbor => "not well-formed CBOR of the document's types",
            Self::NotShortest => "CBOR that is not in its shortest form",
            Self::Trailing => "bytes follow the document",
            Self::UnknownField => "a field that the format does not have",
            Self::Duplicate => "a field or a PCR stands twice",
            Self::MissingField => "a field is missing",
            Self::Digest => "the digest is not SHA384",
            Self::ModuleId => "the module id is empty or too long",
            Self::Timestamp => "the timestamp is zero",
            Self::PcrCount => "there are no PCRs, or more than 32",
            Self::PcrIndex => "a PCR's index is above 31",
            Self::PcrLength => "a PCR is not 48 bytes",
            Self::Certificate => "a certificate or the bundle is empty or too long",
            Self::OptionalField => "public_key, user_data or nonce is outside its length",
        })
    }
}

impl std::error::Error for DocumentError {}

impl From<CborError> for DocumentError {
    fn from(error: CborError) -> Self {
        match error {
            CborError::Form => Self::Cbor,
            CborError::NotShortest => Self::NotShortest,
            CborError::Trailing => Self::Trailing,
        }
    }
}

impl Document {
    /// Reads a payload. The order of its fields is free; everything else has one form.
    pub fn decode(payload: &[u8]) -> Result<Self, DocumentError> {
        let mut cbor = Strict::new(payload);
        let mut fields = Fields::default();
        for _ in 0..cbor.map()? {
            fields.read(&mut cbor)?;
        }
        cbor.finish()?;
        fields.into_document()
    }

    /// Writes a payload as the NSM does, for stand-ins.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut e = Encoder::new(&mut out);
        // Writing to a Vec cannot fail (its error type is uninhabited), so there is nothing to do with the result.
        let _ = self.encode_fields(&mut e);
        out
    }

    fn encode_fields(
        &self,
        e: &mut Encoder<&mut Vec<u8>>,
    ) -> Result<(), minicbor::encode::Error<core::convert::Infallible>> {
        e.map(9)?
            .str("module_id")?
            .str(&self.module_id)?
            .str("digest")?
            .str(DIGEST)?;
        e.str("timestamp")?
            .u64(self.timestamp_ms)?
            .str("pcrs")?
            .map(wide(self.pcrs.len()))?;
        for (index, pcr) in &self.pcrs {
            e.u8(*index)?.bytes(pcr)?;
        }
        e.str("certificate")?
            .bytes(&self.certificate)?
            .str("cabundle")?
            .array(wide(self.cabundle.len()))?;
        for certificate in &self.cabundle {
            e.bytes(certificate)?;
        }
        for (name, value) in [
            ("public_key", &self.public_key),
            ("user_data", &self.user_data),
            ("nonce", &self.nonce),
        ] {
            e.str(name)?;
            match value {
                Some(bytes) => e.bytes(bytes)?,
                None => e.null()?,
            };
        }
        Ok(())
    }
}

/// The fields as they come in.
#[derive(Default)]
struct Fields {
    module_id: Option<String>,
    digest: Option<()>,
    timestamp_ms: Option<u64>,
    pcrs: Option<BTreeMap<u8, Pcr>>,
    certificate: Option<Vec<u8>>,
    cabundle: Option<Vec<Vec<u8>>>,
    public_key: Option<Option<Vec<u8>>>,
    user_data: Option<Option<Vec<u8>>>,
    nonce: Option<Option<Vec<u8>>>,
}

impl Fields {
    fn read(&mut self, cbor: &mut Strict<'_>) -> Result<(), DocumentError> {
        match cbor.text()? {
            "module_id" => once(&mut self.module_id, module_id(cbor)?),
            "digest" => once(&mut self.digest, digest(cbor)?),
            "timestamp" => once(&mut self.timestamp_ms, timestamp(cbor)?),
            "pcrs" => once(&mut self.pcrs, pcrs(cbor)?),
            "certificate" => once(&mut self.certificate, certificate(cbor)?),
            "cabundle" => once(&mut self.cabundle, cabundle(cbor)?),
            "public_key" => {
                let key = optional(cbor)?;
                if key.as_ref().is_some_and(Vec::is_empty) {
                    return Err(DocumentError::OptionalField);
                }
                once(&mut self.public_key, key)
            }
            "user_data" => once(&mut self.user_data, optional(cbor)?),
            "nonce" => once(&mut self.nonce, optional(cbor)?),
            _ => Err(DocumentError::UnknownField),
        }
    }

    fn into_document(self) -> Result<Document, DocumentError> {
        let missing = DocumentError::MissingField;
        self.digest.ok_or(missing)?;
        Ok(Document {
            module_id: self.module_id.ok_or(missing)?,
            timestamp_ms: self.timestamp_ms.ok_or(missing)?,
            pcrs: self.pcrs.ok_or(missing)?,
            certificate: self.certificate.ok_or(missing)?,
            cabundle: self.cabundle.ok_or(missing)?,
            public_key: self.public_key.flatten(),
            user_data: self.user_data.flatten(),
            nonce: self.nonce.flatten(),
        })
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), DocumentError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(DocumentError::Duplicate),
    }
}

fn module_id(cbor: &mut Strict<'_>) -> Result<String, DocumentError> {
    let text = cbor.text()?;
    if text.is_empty() || text.len() > MAX_FIELD {
        Err(DocumentError::ModuleId)
    } else {
        Ok(text.to_owned())
    }
}

fn digest(cbor: &mut Strict<'_>) -> Result<(), DocumentError> {
    if cbor.text()? == DIGEST {
        Ok(())
    } else {
        Err(DocumentError::Digest)
    }
}

fn timestamp(cbor: &mut Strict<'_>) -> Result<u64, DocumentError> {
    match cbor.uint()? {
        0 => Err(DocumentError::Timestamp),
        timestamp => Ok(timestamp),
    }
}

fn pcrs(cbor: &mut Strict<'_>) -> Result<BTreeMap<u8, Pcr>, DocumentError> {
    let count = cbor.map()?;
    if count == 0 || count > u64::from(PCR_COUNT) {
        return Err(DocumentError::PcrCount);
    }
    let mut pcrs = BTreeMap::new();
    for _ in 0..count {
        let index = u8::try_from(cbor.uint()?).ok().filter(|index| *index < PCR_COUNT);
        let index = index.ok_or(DocumentError::PcrIndex)?;
        let value = cbor.bytes()?.try_into().map_err(|_| DocumentError::PcrLength)?;
        if pcrs.insert(index, value).is_some() {
            return Err(DocumentError::Duplicate);
        }
    }
    Ok(pcrs)
}

fn certificate(cbor: &mut Strict<'_>) -> Result<Vec<u8>, DocumentError> {
    let der = cbor.bytes()?;
    if der.is_empty() || der.len() > MAX_FIELD {
        Err(DocumentError::Certificate)
    } else {
        Ok(der.to_vec())
    }
}

fn cabundle(cbor: &mut Strict<'_>) -> Result<Vec<Vec<u8>>, DocumentError> {
    let count = cbor.array()?;
    if count == 0 || count > MAX_BUNDLE {
        return Err(DocumentError::Certificate);
    }
    (0..count).map(|_| certificate(cbor)).collect()
}

fn optional(cbor: &mut Strict<'_>) -> Result<Option<Vec<u8>>, DocumentError> {
    let bytes = cbor.optional_bytes()?;
    if bytes.is_some_and(|bytes| bytes.len() > MAX_FIELD) {
        return Err(DocumentError::OptionalField);
    }
    Ok(bytes.map(<[u8]>::to_vec))
}

/// How many registers a Nitro Secure Module has.
pub const PCR_COUNT: u8 = 32;
/// The format's limit for a certificate, `public_key`, `user_data` and `nonce`, in bytes.
const MAX_FIELD: usize = 1_024;
/// A root, a regional, a zonal and an instance's certificate, and as many to spare.
const MAX_BUNDLE: u64 = 8;
const DIGEST: &str = "SHA384";
