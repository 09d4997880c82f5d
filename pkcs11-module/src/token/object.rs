//! Objects and their handles.

use std::sync::Arc;

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_ULONG};
use enclave_wire::KeyId;
use sha2::{Digest, Sha256};

use super::certificate::Certificate;
use super::public_key::Key;

/// An object of the token.
#[derive(Debug, Clone)]
pub enum Object {
    /// A private key, by its public half: the key itself is elsewhere.
    PrivateKey(Arc<Key>),
    /// A public key.
    PublicKey(Arc<Key>),
    /// A certificate of a chain.
    Certificate(Arc<Certificate>),
}

impl Object {
    /// The handle of this object, the same in every process and for ever.
    ///
    /// It is 61 bits of the hash that names the object, with its class in the low bits, and positive as a signed number. A count
    /// would not do: libp11 reads no attribute again for a handle that it knows, so after a fork and a new listing a key would be
    /// signed with under another's number.
    pub(super) fn handle(&self) -> CK_OBJECT_HANDLE {
        let (name, class) = match self {
            Self::PrivateKey(key) => (key.entry.id.0, 1),
            Self::PublicKey(key) => (key.entry.id.0, 2),
            Self::Certificate(certificate) => (Sha256::digest(&certificate.der).into(), 3),
        };
        let [a, b, c, d, e, f, g, h, ..] = name;
        let bits: CK_ULONG = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        (bits >> 3 << 2) | class
    }

    /// Whether both are the same object, though one may be known better.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::PrivateKey(one), Self::PrivateKey(two)) | (Self::PublicKey(one), Self::PublicKey(two)) => {
                one.entry.id == two.entry.id
            }
            (Self::Certificate(one), Self::Certificate(two)) => one.der == two.der,
            (Self::PrivateKey(_) | Self::PublicKey(_) | Self::Certificate(_), _) => false,
        }
    }

    /// `CKA_ID`.
    pub(super) fn id(&self) -> &KeyId {
        match self {
            Self::PrivateKey(key) | Self::PublicKey(key) => &key.entry.id,
            Self::Certificate(certificate) => &certificate.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::p256;
    use super::*;

    #[test]
    fn a_handle_means_one_key_for_ever() {
        let key = |number| Arc::new(Key::new(p256("a", number)).unwrap());
        let (one, again, other) = (key(1), key(1), key(2));
        let handle = Object::PrivateKey(one.clone()).handle();
        assert_eq!(handle, Object::PrivateKey(again).handle());
        assert_ne!(handle, Object::PrivateKey(other).handle());
        assert_ne!(handle, Object::PublicKey(one).handle());
        assert!(handle != 0 && handle >> 63 == 0);
    }
}
