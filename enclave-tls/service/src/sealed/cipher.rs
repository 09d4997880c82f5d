//! HKDF-SHA-256 and AES-256-GCM: a key and a nonce for one blob, or for one wrap of a data key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::SealedError;

/// What one blob or wrap is sealed or opened with. Key and nonce come from its salt, so no two have the same.
pub(super) struct Cipher {
    key: LessSafeKey,
    pub(super) nonce: [u8; NONCE],
}

impl Cipher {
    /// From a secret, for one purpose: what the three texts say. No text has a zero byte, so what is joined can be taken apart in one
    /// way only.
    pub(super) fn new(secret: &[u8; 32], salt: &[u8; 32], purpose: [&str; 3]) -> Result<Self, SealedError> {
        let mut derived = Zeroizing::new([0; KEY + NONCE]);
        let [label, group, what] = purpose.map(str::as_bytes);
        let info: [&[u8]; 5] = [label, &[0], group, &[0], what];
        Salt::new(HKDF_SHA256, salt)
            .extract(secret)
            .expand(&info, Derived)
            .and_then(|output| output.fill(&mut derived[..]))
            .map_err(|_| SealedError::Library)?;
        let (key, nonce) = derived.split_first_chunk::<KEY>().ok_or(SealedError::Library)?;
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealedError::Library)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            nonce: nonce.try_into().map_err(|_| SealedError::Library)?,
        })
    }

    /// Makes ciphertext of the plaintext where it lies, once: a cipher is of one blob or wrap.
    pub(super) fn seal(self, associated: &[u8], plaintext: &mut [u8]) -> Result<[u8; TAG], SealedError> {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(associated), plaintext)
            .map_err(|_| SealedError::Library)?;
        tag.as_ref().try_into().map_err(|_| SealedError::Library)
    }

    /// Makes plaintext of ciphertext and tag where they lie.
    pub(super) fn open<'a>(self, associated: &[u8], ciphertext: &'a mut [u8]) -> Result<&'a [u8], SealedError> {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        self.key
            .open_in_place(nonce, Aad::from(associated), ciphertext)
            .map(|plaintext| &*plaintext)
            .map_err(|_| SealedError::NotAuthentic)
    }
}

/// A salt that nothing else has.
pub(super) fn salt() -> Result<[u8; 32], SealedError> {
    let mut salt = [0; 32];
    rand::fill(&mut salt).map_err(|_| SealedError::Library)?;
    Ok(salt)
}

struct Derived;

impl KeyType for Derived {
    fn len(&self) -> usize {
        KEY + NONCE
    }
}

const KEY: usize = 32;
const NONCE: usize = 12;
pub(super) const TAG: usize = 16;
