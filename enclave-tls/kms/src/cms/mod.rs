//! `CiphertextForRecipient`: what KMS encrypts to the key of an attestation document.
//!
//! A CMS EnvelopedData (RFC 5652) in BER. Exactly the form that KMS sends is read: one recipient by key identifier, RSA-OAEP and MGF1
//! with SHA-256, AES-256 in CBC mode, the content in one piece or in several. The layers around them may have definite lengths too,
//! as `openssl cms` writes them. Anything else that CMS allows is refused.

mod ber;
mod seal;

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey};
use zeroize::Zeroizing;

use ber::{CONSTRUCTED_0, IMPLICIT_0, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET};

pub use seal::{ContentForm, seal};

/// A message to one recipient, not yet decrypted. Nothing in it is authenticated: only the TLS session that brought it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    wrapped_key: [u8; WRAPPED_KEY],
    iv: [u8; IV],
    content: Vec<u8>,
}

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CmsError {
    /// Longer than KMS makes them.
    TooLong,
    /// Not the structure that KMS sends.
    Form,
    /// Other algorithms than those that were asked for.
    Algorithm,
    /// The recipient's identifier, the wrapped key or the content is not of a possible length.
    Length,
    /// It was encrypted to another key, or damaged. Not told which, so that nobody learns it by asking.
    Decrypt,
}

impl std::fmt::Display for CmsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "too long",
            Self::Form => "not CMS as KMS writes it",
            Self::Algorithm => "not RSA-OAEP with SHA-256 and AES-256-CBC",
            Self::Length => "a part has an impossible length",
            Self::Decrypt => "not encrypted to this key, or damaged",
        })
    }
}

impl std::error::Error for CmsError {}

impl Envelope {
    /// Reads a message.
    pub fn parse(message: &[u8]) -> Result<Self, CmsError> {
        if message.len() > MAX_MESSAGE {
            return Err(CmsError::TooLong);
        }
        let mut reader = Reader::new(message);
        let content_info = reader.open(SEQUENCE)?;
        object_identifier(&mut reader, ENVELOPED_DATA)?;
        let explicit = reader.open(CONSTRUCTED_0)?;
        let enveloped_data = reader.open(SEQUENCE)?;
        version_2(&mut reader)?;
        let wrapped_key = recipient(&mut reader)?;
        let encrypted_content_info = reader.open(SEQUENCE)?;
        object_identifier(&mut reader, DATA)?;
        let iv = content_algorithm(&mut reader)?;
        let content = content(&mut reader)?;
        reader.close(encrypted_content_info)?;
        reader.close(enveloped_data)?;
        reader.close(explicit)?;
        reader.close(content_info)?;
        reader.finish()?;
        Ok(Self {
            wrapped_key,
            iv,
            content,
        })
    }

    /// Decrypts the message in place.
    pub fn open(self, key: &OaepPrivateDecryptingKey) -> Result<Zeroizing<Vec<u8>>, CmsError> {
        let mut unwrapped = Zeroizing::new([0; WRAPPED_KEY]);
        let content_key = key
            .decrypt(&OAEP_SHA256_MGF1SHA256, &self.wrapped_key, &mut *unwrapped, None)
            .map_err(|_| CmsError::Decrypt)?;
        // A key of any other length than 32 bytes is refused here.
        let cipher = UnboundCipherKey::new(&AES_256, content_key)
            .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
            .map_err(|_| CmsError::Decrypt)?;
        let mut content = Zeroizing::new(self.content);
        let context = DecryptionContext::Iv128(FixedLength::from(&self.iv));
        let length = cipher
            .decrypt(&mut content, context)
            .map_err(|_| CmsError::Decrypt)?
            .len();
        content.truncate(length);
        Ok(content)
    }

    /// The content key, as it was encrypted to the recipient.
    #[must_use]
    pub fn wrapped_key(&self) -> &[u8] {
        &self.wrapped_key
    }

    /// The encrypted content.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }
}

/// The one KeyTransRecipientInfo, down to the wrapped key.
fn recipient(reader: &mut Reader<'_>) -> Result<[u8; WRAPPED_KEY], CmsError> {
    let set = reader.open_definite(SET)?;
    let info = reader.open_definite(SEQUENCE)?;
    version_2(reader)?;
    // What it is a hash of is not documented, and a key serves one request: only its length is looked at.
    if reader.primitive(IMPLICIT_0)?.len() != KEY_IDENTIFIER {
        return Err(CmsError::Length);
    }
    let algorithm = reader.literal(OAEP_SHA256);
    let algorithm = algorithm.or_else(|_| reader.literal(OAEP_SHA256_WITHOUT_NULL));
    algorithm.map_err(|_| CmsError::Algorithm)?;
    let wrapped_key = reader.primitive(OCTET_STRING)?;
    reader.close(info)?;
    reader.close(set)?;
    wrapped_key.try_into().map_err(|_| CmsError::Length)
}

/// AES-256-CBC, and its IV.
fn content_algorithm(reader: &mut Reader<'_>) -> Result<[u8; IV], CmsError> {
    let algorithm = reader.open_definite(SEQUENCE)?;
    object_identifier(reader, AES_256_CBC)?;
    let iv = reader.primitive(OCTET_STRING)?;
    reader.close(algorithm)?;
    iv.try_into().map_err(|_| CmsError::Length)
}

/// `[0] IMPLICIT OCTET STRING`: in one piece, or constructed of several.
fn content(reader: &mut Reader<'_>) -> Result<Vec<u8>, CmsError> {
    let mut content = Vec::new();
    if reader.is_next(IMPLICIT_0) {
        content.extend_from_slice(reader.primitive(IMPLICIT_0)?);
    } else {
        let pieces = reader.open(CONSTRUCTED_0)?;
        while reader.has_more(&pieces) {
            content.extend_from_slice(reader.primitive(OCTET_STRING)?);
        }
        reader.close(pieces)?;
    }
    if content.is_empty() || content.len() > MAX_CONTENT || !content.len().is_multiple_of(BLOCK) {
        return Err(CmsError::Length);
    }
    Ok(content)
}

fn version_2(reader: &mut Reader<'_>) -> Result<(), CmsError> {
    match reader.primitive(INTEGER)? {
        [2] => Ok(()),
        _ => Err(CmsError::Form),
    }
}

fn object_identifier(reader: &mut Reader<'_>, expected: &[u8]) -> Result<(), CmsError> {
    if reader.primitive(OBJECT_IDENTIFIER)? == expected {
        Ok(())
    } else {
        Err(CmsError::Algorithm)
    }
}

/// Of content, structure and headers of pieces: a recipient's key is of 2,048 bits, a plaintext at most 4,096 bytes.
const MAX_MESSAGE: usize = 16_384;
/// KMS encrypts at most 4,096 bytes, and the padding adds up to a block.
const MAX_CONTENT: usize = 4_096 + BLOCK;
const BLOCK: usize = 16;
const IV: usize = 16;
const KEY_IDENTIFIER: usize = 32;
/// RSA of 2,048 bits.
const WRAPPED_KEY: usize = 256;

/// 1.2.840.113549.1.7.3
const ENVELOPED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 2.16.840.1.101.3.4.1.42
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
/// The AlgorithmIdentifier of RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label, as KMS writes it.
const OAEP_SHA256: &[u8] = &[
    0x30, 0x3c, // AlgorithmIdentifier
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07, // id-RSAES-OAEP
    0x30, 0x2f, // RSAES-OAEP-params
    0xa0, 0x0f, 0x30, 0x0d, // [0] hashAlgorithm
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, // SHA-256
    0xa1, 0x1c, 0x30, 0x1a, // [1] maskGenAlgorithm
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, // MGF1
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, // SHA-256
];
/// The same as OpenSSL writes it: RFC 4055, section 2.1, leaves it open whether SHA-256 has the parameters NULL or none.
const OAEP_SHA256_WITHOUT_NULL: &[u8] = &[
    0x30, 0x38, // AlgorithmIdentifier
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07, // id-RSAES-OAEP
    0x30, 0x2b, // RSAES-OAEP-params
    0xa0, 0x0d, 0x30, 0x0b, // [0] hashAlgorithm
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, // SHA-256
    0xa1, 0x1a, 0x30, 0x18, // [1] maskGenAlgorithm
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0b, // MGF1
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, // SHA-256
];

#[cfg(test)]
mod tests;
