//! A certificate taken apart into the values that Cryptoki's attributes want. It is not verified: the service did, and clients do.

use std::sync::Arc;

use enclave_wire::signing::Label;
use enclave_wire::{Chain, KeyId};
use sha2::{Digest, Sha256};

use super::der::{Der, NotDer, only, tag};

/// A certificate object.
#[derive(Debug)]
pub struct Certificate {
    pub(super) der: Vec<u8>,
    /// `CKA_ID`: for a leaf the key's id, and by the same rule for the others.
    pub(super) id: KeyId,
    pub(super) label: String,
    pub(super) serial: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) spki: Vec<u8>,
    pub(super) is_leaf: bool,
}

impl Certificate {
    /// Takes the chain of a key of this label apart.
    pub(super) fn chain(chain: &Chain, label: &Label) -> Result<Vec<Arc<Self>>, NotDer> {
        let places = chain.certificates().iter().enumerate();
        let certificates = places.map(|(place, der)| match place {
            0 => Self::leaf(der.as_bytes(), label.as_str()).map(Arc::new),
            _ => Self::issuer(der.as_bytes()).map(Arc::new),
        });
        certificates.collect()
    }

    /// Takes a leaf apart. It has its key's label.
    pub(super) fn leaf(der: &[u8], label: &str) -> Result<Self, NotDer> {
        let mut certificate = Self::parse(der)?;
        certificate.label = label.to_owned();
        certificate.is_leaf = true;
        Ok(certificate)
    }

    /// Takes an issuer apart. Its label is its common name, so that it is never found by a key's label.
    pub(super) fn issuer(der: &[u8]) -> Result<Self, NotDer> {
        Self::parse(der)
    }

    /// RFC 5280, section 4.1.
    fn parse(der: &[u8]) -> Result<Self, NotDer> {
        let mut certificate = only(der, tag::SEQUENCE)?.inner();
        let mut fields = certificate.expect(tag::SEQUENCE)?.inner();
        fields.optional(tag::EXPLICIT_0)?;
        let serial = fields.expect(tag::INTEGER)?;
        fields.expect(tag::SEQUENCE)?;
        let issuer = fields.expect(tag::SEQUENCE)?;
        fields.expect(tag::SEQUENCE)?;
        let subject = fields.expect(tag::SEQUENCE)?;
        let spki = fields.expect(tag::SEQUENCE)?;
        Ok(Self {
            der: der.to_vec(),
            id: KeyId(Sha256::digest(spki.whole).into()),
            label: common_name(subject.inner()).unwrap_or_default(),
            serial: serial.whole.to_vec(),
            issuer: issuer.whole.to_vec(),
            subject: subject.whole.to_vec(),
            spki: spki.whole.to_vec(),
            is_leaf: false,
        })
    }
}

/// The last common name of a distinguished name, if there is one that is text.
fn common_name(mut name: Der<'_>) -> Option<String> {
    let mut found = None;
    while let Ok(set) = name.expect(tag::SET) {
        let mut attributes = set.inner();
        while let Ok(attribute) = attributes.expect(tag::SEQUENCE) {
            let mut pair = attribute.inner();
            let kind = pair.expect(tag::OID).ok()?;
            let value = pair.any().ok()?;
            if kind.contents == COMMON_NAME {
                found = std::str::from_utf8(value.contents).ok().map(str::to_owned);
            }
        }
    }
    found
}

/// OID id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

#[cfg(test)]
mod tests {
    use super::super::memory::{certificate, p256};
    use super::*;

    #[test]
    fn a_leaf_has_its_keys_id_and_label() {
        let entry = p256("www", 1);
        let der = certificate(&entry.spki, "CN of the leaf", "CN of the issuer");
        let leaf = Certificate::leaf(&der, "www").unwrap();
        assert_eq!((leaf.id, leaf.label.as_str()), (entry.id, "www"));
        assert_eq!(leaf.spki, entry.spki.as_bytes());
        assert_eq!(Certificate::issuer(&der).unwrap().label, "CN of the leaf");
    }

    proptest::proptest! {
        #[test]
        fn threat_49_no_certificate_panics(at: proptest::sample::Index, byte: u8) {
            let mut der = certificate(&p256("www", 1).spki, "a", "b");
            let at = at.index(der.len());
            der[at] = byte;
            let _ = Certificate::issuer(&der);
            let _ = Certificate::issuer(&der[..at]);
        }
    }
}
