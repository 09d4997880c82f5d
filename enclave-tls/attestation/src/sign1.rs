//! The COSE_Sign1 (RFC 9052) around a document, and its signature.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use minicbor::Encoder;

use crate::cbor::{CborError, Strict};
use crate::chain::{Chain, ChainError};
use crate::document::{Document, DocumentError};

/// A document and its signature, decoded but not yet verified.
///
/// Its bytes are no identity: an ECDSA signature has a second form that also verifies. Compare what is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    document: Document,
    payload: Vec<u8>,
    signature: [u8; 96],
}

/// A document whose signer's chain ends in the pinned root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    document: Document,
}

impl Verified {
    /// What the NSM says.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }
}

/// Why a document was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyError {
    /// Not a COSE_Sign1 of four elements, tagged 18 or not, in canonical CBOR.
    Cose,
    /// The protected header is not exactly `{1: -35}` (ES384), or the unprotected one is not empty.
    Header,
    /// The payload was refused.
    Document(DocumentError),
    /// The chain was refused.
    Chain(ChainError),
    /// The signature is not the leaf's.
    Signature,
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cose => f.write_str("not a COSE_Sign1 in canonical CBOR"),
            Self::Header => f.write_str("the header is not that of ES384 alone"),
            Self::Document(error) => write!(f, "the document was refused: {error}"),
            Self::Chain(error) => write!(f, "the certificate chain was refused: {error}"),
            Self::Signature => f.write_str("the signature is not that of the document's certificate"),
        }
    }
}

impl std::error::Error for VerifyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Document(error) => Some(error),
            Self::Chain(error) => Some(error),
            Self::Cose | Self::Header | Self::Signature => None,
        }
    }
}

impl From<CborError> for VerifyError {
    fn from(error: CborError) -> Self {
        match error {
            CborError::Form | CborError::NotShortest | CborError::Trailing => Self::Cose,
        }
    }
}

impl SignedDocument {
    /// Reads a document as the NSM hands it out (untagged), or with COSE's tag 18.
    pub fn decode(bytes: &[u8]) -> Result<Self, VerifyError> {
        let mut cbor = Strict::new(bytes);
        if !matches!(cbor.tag()?, None | Some(SIGN1_TAG)) || cbor.array()? != 4 {
            return Err(VerifyError::Cose);
        }
        let protected = cbor.bytes()?;
        if protected != PROTECTED_ES384 || cbor.map()? != 0 {
            return Err(VerifyError::Header);
        }
        let payload = cbor.bytes()?;
        let signature = cbor.bytes()?.try_into().map_err(|_| VerifyError::Cose)?;
        cbor.finish()?;
        let document = Document::decode(payload).map_err(VerifyError::Document)?;
        Ok(Self {
            document,
            payload: payload.to_vec(),
            signature,
        })
    }

    /// Proves that the key at the end of a chain from the root of this SHA-256 signed the document. Every certificate must be valid
    /// `at` that time, in seconds since 1970, UTC: the present, or for an old document whenever it was received.
    pub fn verify(self, root_sha256: &[u8; 32], at: u64) -> Result<Verified, VerifyError> {
        let chain = Chain::parse(&self.document).map_err(VerifyError::Chain)?;
        // First, since it is one verification and the chain is four: what was damaged on its way is refused at once.
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, chain.leaf_key())
            .verify(&to_be_signed(&self.payload), &self.signature)
            .map_err(|_| VerifyError::Signature)?;
        let root = self.document.cabundle.first().map(Vec::as_slice).unwrap_or_default();
        chain.verify(root, root_sha256, at).map_err(VerifyError::Chain)?;
        Ok(Verified {
            document: self.document,
        })
    }

    /// What the bytes say, of whoever made them. For a person to look at; nothing may be decided by it.
    #[must_use]
    pub fn unverified(&self) -> &Document {
        &self.document
    }
}

/// What the bytes of a document say, whatever its algorithm and signature: nothing is proven, nor can be. For machines whose NSM signs
/// nothing, such as an emulated one.
pub fn decode_unsigned(bytes: &[u8]) -> Result<Document, VerifyError> {
    let mut cbor = Strict::new(bytes);
    if !matches!(cbor.tag()?, None | Some(SIGN1_TAG)) || cbor.array()? != 4 {
        return Err(VerifyError::Cose);
    }
    cbor.bytes()?;
    if cbor.map()? != 0 {
        return Err(VerifyError::Header);
    }
    let payload = cbor.bytes()?;
    cbor.bytes()?;
    cbor.finish()?;
    Document::decode(payload).map_err(VerifyError::Document)
}

/// Makes a document as the NSM does, for stand-ins: `key` signs bytes by ECDSA on P-384 with SHA-384 and gives r ‖ s.
pub fn sign<E>(document: &Document, key: impl FnOnce(&[u8]) -> Result<[u8; 96], E>) -> Result<Vec<u8>, E> {
    let payload = document.encode();
    let signature = key(&to_be_signed(&payload))?;
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out);
    // Writing to a Vec cannot fail.
    let _ = e
        .array(4)
        .and_then(|e| e.bytes(&PROTECTED_ES384)?.map(0)?.bytes(&payload)?.bytes(&signature));
    Ok(out)
}

/// RFC 9052, section 4.4: Sig_structure of a COSE_Sign1 without external data.
fn to_be_signed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out);
    // Writing to a Vec cannot fail.
    let _ = e
        .array(4)
        .and_then(|e| e.str("Signature1")?.bytes(&PROTECTED_ES384)?.bytes(&[])?.bytes(payload));
    out
}

/// The SHA-256 of the DER of AWS's Nitro Enclaves root, `CN=aws.nitro-enclaves`.
pub const AWS_ROOT_SHA256: [u8; 32] = [
    0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06, 0x31, 0x7e, 0xd7, 0xcd,
    0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79, 0xbb, 0x5b,
];
/// `{1: -35}`: the algorithm is ES384, and nothing else is said.
const PROTECTED_ES384: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];
/// COSE_Sign1 (RFC 9052, section 2).
const SIGN1_TAG: u64 = 18;
