//! `CiphertextForRecipient`: CMS EnvelopedData in BER with indefinite lengths, as KMS sends it.
//!
//! Written without regard to any reader of the project, and compared byte for byte with two replies of the real KMS.

use aws_lc_rs::cipher::{AES_256, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};

use crate::error::KmsError;
use crate::faults::CmsFault;

/// How the encrypted content stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Primitive,
    /// Octet strings of at most so many bytes.
    Constructed(usize),
}

/// Encrypts to a recipient's key (SubjectPublicKeyInfo).
pub(crate) fn seal(
    plaintext: &[u8],
    spki: &[u8],
    content: Content,
    fault: Option<CmsFault>,
) -> Result<Vec<u8>, KmsError> {
    let mut key = [0; 32];
    rand::fill(&mut key)?;
    let mut iv = [0; 16];
    rand::fill(&mut iv)?;
    let mut inside = plaintext.to_vec();
    if fault == Some(CmsFault::AnotherPlaintext) {
        rand::fill(&mut inside)?;
    }
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &key)?)?
        .less_safe_encrypt(&mut inside, context)?;
    if let (Some(CmsFault::Padding), Some(last)) = (fault, inside.last_mut()) {
        *last ^= 0x80;
    }
    let wrapped = wrap(&key, spki, fault)?;
    let parts = Parts {
        key_identifier: digest(&SHA256, spki).as_ref().to_vec(),
        wrapped,
        iv: iv.to_vec(),
        encrypted: inside,
    };
    damage(parts.assemble(content, fault), fault)
}

fn wrap(key: &[u8; 32], spki: &[u8], fault: Option<CmsFault>) -> Result<Vec<u8>, KmsError> {
    let public = match fault {
        Some(CmsFault::AnotherKey) => PrivateDecryptingKey::generate(KeySize::Rsa2048)?.public_key(),
        _ => PublicEncryptingKey::from_der(spki).map_err(|_| KmsError::internal())?,
    };
    let key = match fault {
        Some(CmsFault::ShortContentKey) => key.get(..16).unwrap_or_default(),
        _ => key,
    };
    let public = OaepPublicEncryptingKey::new(public)?;
    let mut out = vec![0; public.ciphertext_size()];
    Ok(public.encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut out, None)?.to_vec())
}

fn damage(mut message: Vec<u8>, fault: Option<CmsFault>) -> Result<Vec<u8>, KmsError> {
    match fault {
        Some(CmsFault::Truncated) => message.truncate(message.len().saturating_sub(7)),
        Some(CmsFault::Trailing) => message.push(0),
        Some(CmsFault::Garbage) => rand::fill(&mut message)?,
        _ => {}
    }
    Ok(message)
}

/// The four parts of a message that differ from one to the next.
struct Parts {
    key_identifier: Vec<u8>,
    wrapped: Vec<u8>,
    iv: Vec<u8>,
    encrypted: Vec<u8>,
}

impl Parts {
    fn assemble(&self, content: Content, fault: Option<CmsFault>) -> Vec<u8> {
        let open: fn(u8, &[u8]) -> Vec<u8> = match fault {
            Some(CmsFault::DefiniteLengths) => definite,
            _ => indefinite,
        };
        let version = if fault == Some(CmsFault::Version) { 0 } else { 2 };
        let recipient = self.recipient(fault);
        let recipients = match fault {
            Some(CmsFault::TwoRecipients) => recipient.repeat(2),
            _ => recipient,
        };
        let encrypted = match content {
            Content::Primitive => definite(0x80, &self.encrypted),
            Content::Constructed(size) => {
                let strings: Vec<u8> = self
                    .encrypted
                    .chunks(size)
                    .flat_map(|part| definite(OCTETS, part))
                    .collect();
                open(CONTEXT_0, &strings)
            }
        };
        let content_algorithm = match fault {
            Some(CmsFault::ContentAlgorithm) => AES_128_CBC,
            _ => AES_256_CBC,
        };
        let algorithm = definite(
            SEQUENCE,
            &[definite(OID, content_algorithm), definite(OCTETS, &self.iv)].concat(),
        );
        let content_info = open(SEQUENCE, &[definite(OID, DATA), algorithm, encrypted].concat());
        let enveloped = [definite(INTEGER, &[version]), definite(SET, &recipients), content_info].concat();
        let enveloped = open(SEQUENCE, &enveloped);
        open(
            SEQUENCE,
            &[definite(OID, ENVELOPED_DATA), open(CONTEXT_0, &enveloped)].concat(),
        )
    }

    /// KeyTransRecipientInfo. KMS writes this part with definite lengths.
    fn recipient(&self, fault: Option<CmsFault>) -> Vec<u8> {
        let hash = match fault {
            Some(CmsFault::OaepDigest) => SHA_1_OID,
            _ => SHA_256_OID,
        };
        let hash = definite(SEQUENCE, &[definite(OID, hash), definite(NULL, &[])].concat());
        let mask = definite(SEQUENCE, &[definite(OID, MGF1), hash.clone()].concat());
        let parameters = definite(SEQUENCE, &[definite(CONTEXT_0, &hash), definite(0xa1, &mask)].concat());
        let algorithm = match fault {
            Some(CmsFault::KeyAlgorithm) => [definite(OID, RSA_ENCRYPTION), definite(NULL, &[])].concat(),
            _ => [definite(OID, RSAES_OAEP), parameters].concat(),
        };
        let parts = [
            definite(INTEGER, &[2]),
            definite(0x80, &self.key_identifier),
            definite(SEQUENCE, &algorithm),
            definite(OCTETS, &self.wrapped),
        ];
        definite(SEQUENCE, &parts.concat())
    }
}

fn definite(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ ..0x80) => out.push(short),
        Ok(one) => out.extend([0x81, one]),
        Err(_) => {
            let bytes = length.to_be_bytes();
            let first = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
            let significant = bytes.get(first..).unwrap_or_default();
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or_default());
            out.extend(significant);
        }
    }
    out.extend(content);
    out
}

fn indefinite(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, 0x80], content, &[0, 0]].concat()
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, constructed.
const CONTEXT_0: u8 = 0xa0;
const ENVELOPED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSAES_OAEP: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07];
const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
const SHA_256_OID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA_1_OID: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];

#[cfg(test)]
mod tests {
    use super::*;

    /// A real reply, cut at the places that `openssl asn1parse` shows, and put together again.
    fn rebuilt(real: &[u8], content: Content, encrypted: std::ops::Range<usize>) -> Vec<u8> {
        let parts = Parts {
            key_identifier: real[33..65].to_vec(),
            wrapped: real[131..387].to_vec(),
            iv: real[415..431].to_vec(),
            encrypted: real[encrypted].to_vec(),
        };
        parts.assemble(content, None)
    }

    #[test]
    fn constructed_content_is_byte_for_byte_as_kms_sends_it() {
        let real = include_bytes!("../tests/vectors/ciphertext-for-recipient-1.ber");
        let content = include_bytes!("../tests/vectors/ciphertext-for-recipient-1.content");
        let wrapped = include_bytes!("../tests/vectors/ciphertext-for-recipient-1.wrapped-key");
        assert_eq!((&real[131..387], &real[435..483]), (&wrapped[..], &content[..]));
        assert_eq!(rebuilt(real, Content::Constructed(1_024), 435..483), real);
    }

    #[test]
    fn primitive_content_is_byte_for_byte_as_kms_sends_it() {
        let real = include_bytes!("../tests/vectors/ciphertext-for-recipient-2.ber");
        let content = include_bytes!("../tests/vectors/ciphertext-for-recipient-2.content");
        assert_eq!(&real[433..449], &content[..]);
        assert_eq!(rebuilt(real, Content::Primitive, 433..449), real);
    }
}
