//! `CiphertextBlob`, in a form of the emulator's own: which key, then AES-256-GCM under it.

use std::collections::BTreeMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};

use crate::error::KmsError;

/// A blob taken apart, not yet opened.
pub(crate) struct Sealed<'a> {
    pub(crate) key_id: &'a str,
    header: &'a [u8],
    nonce: &'a [u8; NONCE_LEN],
    sealed: &'a [u8],
}

pub(crate) fn seal(
    key_id: &str,
    material: &[u8; 32],
    context: &BTreeMap<String, String>,
    plaintext: &[u8],
) -> Result<Vec<u8>, KmsError> {
    let length = u8::try_from(key_id.len()).map_err(|_| KmsError::internal())?;
    let header = [MAGIC, &[length], key_id.as_bytes()].concat();
    let mut sealed = plaintext.to_vec();
    let aad = Aad::from(associated(&header, context));
    let nonce = RandomizedNonceKey::new(&AES_256_GCM, material)?.seal_in_place_append_tag(aad, &mut sealed)?;
    Ok([&header, &nonce.as_ref()[..], &sealed].concat())
}

impl<'a> Sealed<'a> {
    pub(crate) fn parse(blob: &'a [u8]) -> Result<Self, KmsError> {
        Self::split(blob).ok_or_else(KmsError::invalid_ciphertext)
    }

    fn split(blob: &'a [u8]) -> Option<Self> {
        let (length, rest) = blob.strip_prefix(MAGIC)?.split_first()?;
        let (key_id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        Some(Self {
            key_id: std::str::from_utf8(key_id).ok()?,
            header: blob.get(..MAGIC.len() + 1 + key_id.len())?,
            nonce,
            sealed,
        })
    }

    pub(crate) fn open(&self, material: &[u8; 32], context: &BTreeMap<String, String>) -> Result<Vec<u8>, KmsError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, material)?;
        let mut sealed = self.sealed.to_vec();
        let aad = Aad::from(associated(self.header, context));
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*self.nonce), aad, &mut sealed);
        Ok(opened.map_err(|_| KmsError::invalid_ciphertext())?.to_vec())
    }
}

/// The header and the context, each length before its bytes, the keys in order: two contexts never give the same bytes.
fn associated(header: &[u8], context: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = header.to_vec();
    for text in context.iter().flat_map(|(key, value)| [key, value]) {
        out.extend(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        out.extend(text.as_bytes());
    }
    out
}

/// Real blobs begin with other bytes, and none of either may be taken for the other.
const MAGIC: &[u8] = b"emulated-kms\x01";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_opens_with_its_context_and_key_only() {
        let context = BTreeMap::from([("name".to_owned(), "a".to_owned())]);
        let blob = seal("some-key", &[7; 32], &context, b"secret").unwrap();
        let sealed = Sealed::parse(&blob).unwrap();
        assert_eq!(sealed.key_id, "some-key");
        assert_eq!(sealed.open(&[7; 32], &context).unwrap(), b"secret");
        let other = BTreeMap::from([("name".to_owned(), "b".to_owned())]);
        for refused in [sealed.open(&[7; 32], &other), sealed.open(&[8; 32], &context)] {
            assert_eq!(refused, Err(KmsError::invalid_ciphertext()));
        }
    }

    #[test]
    fn a_changed_bit_is_refused_wherever_it_is() {
        let blob = seal("some-key", &[7; 32], &BTreeMap::new(), b"secret").unwrap();
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 1;
            let opened = Sealed::parse(&changed).and_then(|sealed| sealed.open(&[7; 32], &BTreeMap::new()));
            assert_eq!(opened, Err(KmsError::invalid_ciphertext()), "{at}");
        }
    }
}
