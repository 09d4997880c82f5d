//! Makes a `CiphertextForRecipient` as KMS does, for stand-ins.

use aws_lc_rs::cipher::{AES_256, AES_256_KEY_LEN, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use zeroize::Zeroizing;

use super::ber::{
    CONSTRUCTED_0, END_OF_CONTENTS, IMPLICIT_0, INDEFINITE, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET,
};
use super::{AES_256_CBC, DATA, ENVELOPED_DATA, OAEP_SHA256};

/// How the encrypted content is written. KMS has been seen to send both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentForm {
    /// `[0]` constructed, of OCTET STRINGs of this many bytes at most.
    Pieces(usize),
    /// `[0]` primitive.
    Primitive,
}

/// Encrypts `plaintext` to the RSA key of this SubjectPublicKeyInfo. What KMS's key identifier is a hash of is not documented; here it
/// is the SHA-256 of the SubjectPublicKeyInfo.
pub fn seal(recipient_spki: &[u8], plaintext: &[u8], form: ContentForm) -> Result<Vec<u8>, Unspecified> {
    let mut content_key = Zeroizing::new([0; AES_256_KEY_LEN]);
    rand::fill(&mut *content_key)?;
    let (iv, content) = encrypt(&*content_key, plaintext)?;
    let wrapped_key = wrap(recipient_spki, &*content_key)?;
    let info = tlv(
        SEQUENCE,
        &[
            &version_2(),
            &tlv(IMPLICIT_0, &[digest(&SHA256, recipient_spki).as_ref()]),
            OAEP_SHA256,
            &tlv(OCTET_STRING, &[&wrapped_key]),
        ],
    );
    let algorithm = [tlv(OBJECT_IDENTIFIER, &[AES_256_CBC]), tlv(OCTET_STRING, &[&iv])].concat();
    let encrypted = [
        tlv(OBJECT_IDENTIFIER, &[DATA]),
        tlv(SEQUENCE, &[&algorithm]),
        written(&content, form),
    ];
    let enveloped = [
        version_2(),
        tlv(SET, &[&info]),
        indefinite(SEQUENCE, &encrypted.concat()),
    ];
    let explicit = indefinite(CONSTRUCTED_0, &indefinite(SEQUENCE, &enveloped.concat()));
    let content_info = [tlv(OBJECT_IDENTIFIER, &[ENVELOPED_DATA]), explicit];
    Ok(indefinite(SEQUENCE, &content_info.concat()))
}

fn encrypt(content_key: &[u8], plaintext: &[u8]) -> Result<([u8; 16], Vec<u8>), Unspecified> {
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, content_key)?)?;
    let mut content = plaintext.to_vec();
    let context = cipher.encrypt(&mut content)?;
    let iv: &[u8] = (&context).try_into()?;
    Ok((iv.try_into().map_err(|_| Unspecified)?, content))
}

fn wrap(recipient_spki: &[u8], content_key: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let key = PublicEncryptingKey::from_der(recipient_spki).map_err(|_| Unspecified)?;
    let key = OaepPublicEncryptingKey::new(key)?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    key.encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut wrapped, None)?;
    Ok(wrapped)
}

fn written(content: &[u8], form: ContentForm) -> Vec<u8> {
    match form {
        ContentForm::Primitive => tlv(IMPLICIT_0, &[content]),
        ContentForm::Pieces(size) => {
            let pieces = content.chunks(size.max(1));
            let pieces: Vec<u8> = pieces.flat_map(|piece| tlv(OCTET_STRING, &[piece])).collect();
            indefinite(CONSTRUCTED_0, &pieces)
        }
    }
}

fn version_2() -> Vec<u8> {
    tlv(INTEGER, &[&[2]])
}

/// A value with its length, which is below 65,536: KMS's plaintexts are below 4,097.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head: &[u8] = match (high, low) {
        (0, 0..=0x7f) => &[tag, low],
        (0, _) => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [head, &content].concat()
}

pub(super) fn indefinite(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, INDEFINITE], content, &END_OF_CONTENTS].concat()
}
