//! What a caller looks for, and where to ask for it.

use cryptoki_sys as ck;
use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CK_OBJECT_CLASS};
use enclave_wire::KeyId;
use enclave_wire::signing::Label;

use super::attributes::{Attribute, applies_to_certificates};
use super::object::Object;

/// The attributes that every object found must have.
#[derive(Debug, Default)]
pub struct Template<'a>(Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>);

impl<'a> Template<'a> {
    /// A template of these attributes.
    #[must_use]
    pub fn new(attributes: Vec<(CK_ATTRIBUTE_TYPE, &'a [u8])>) -> Self {
        Self(attributes)
    }

    /// Whether an object has all of them.
    pub(super) fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|(kind, wanted)| match object.attribute(*kind) {
            Attribute::Value(value) => value.as_ref() == *wanted,
            Attribute::Sensitive | Attribute::Absent => false,
        })
    }

    /// Which keys to ask the service for.
    pub(super) fn query(&self) -> Query {
        // Clients look for profiles and mechanisms too, pkcs11-provider at each start: all keys of the service would answer nothing.
        if !self.wants_keys() && !self.wants_certificates() {
            return Query::Nothing;
        }
        if let Some(id) = self.get(ck::CKA_ID) {
            return id.try_into().map_or(Query::Nothing, |id| Query::ById(KeyId(id)));
        }
        match self.get(ck::CKA_LABEL) {
            Some(label) => std::str::from_utf8(label)
                .ok()
                .and_then(|label| Label::try_from(label).ok())
                .map_or(Query::Nothing, Query::ByLabel),
            None => Query::All,
        }
    }

    /// Whether a key can match at all.
    pub(super) fn wants_keys(&self) -> bool {
        !matches!(self.class(), Some(class) if class != ck::CKO_PRIVATE_KEY && class != ck::CKO_PUBLIC_KEY)
    }

    /// Whether a certificate can match at all. Chains are fetched only then.
    pub(super) fn wants_certificates(&self) -> bool {
        !matches!(self.class(), Some(class) if class != ck::CKO_CERTIFICATE)
            && self.0.iter().all(|(kind, _)| applies_to_certificates(*kind))
    }

    fn class(&self) -> Option<CK_OBJECT_CLASS> {
        let value = self.get(ck::CKA_CLASS)?;
        // A class of another size is no class that an object here has.
        Some(
            value
                .try_into()
                .map_or(CK_OBJECT_CLASS::MAX, CK_OBJECT_CLASS::from_ne_bytes),
        )
    }

    fn get(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&'a [u8]> {
        self.0.iter().find(|(known, _)| *known == kind).map(|(_, value)| *value)
    }
}

/// Which keys to ask the service for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// The one of this id.
    ById(KeyId),
    /// Those of this label.
    ByLabel(Label),
    /// All of them.
    All,
    /// No key has such an id or label, or the class is not one that the service knows.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: [u8; 8] = ck::CKO_CERTIFICATE.to_ne_bytes();
    const PRIVATE: [u8; 8] = ck::CKO_PRIVATE_KEY.to_ne_bytes();

    fn template<'a>(attributes: &[(CK_ATTRIBUTE_TYPE, &'a [u8])]) -> Template<'a> {
        Template::new(attributes.to_vec())
    }

    #[test]
    fn an_id_or_a_label_narrows_the_question() {
        assert_eq!(template(&[]).query(), Query::All);
        assert_eq!(template(&[(ck::CKA_ID, &[7; 32])]).query(), Query::ById(KeyId([7; 32])));
        assert_eq!(template(&[(ck::CKA_ID, &[7; 20])]).query(), Query::Nothing);
        let label = Label::try_from("www (superseded)").unwrap();
        assert_eq!(
            template(&[(ck::CKA_LABEL, b"www (superseded)")]).query(),
            Query::ByLabel(label)
        );
        for bad in [&b""[..], b"a/b", b"\xff"] {
            assert_eq!(template(&[(ck::CKA_LABEL, bad)]).query(), Query::Nothing);
        }
    }

    #[test]
    fn chains_are_fetched_only_when_asked_for() {
        for (wanted, attributes) in [
            (true, vec![]),
            (true, vec![(ck::CKA_CLASS, &CERTIFICATE[..])]),
            (true, vec![(ck::CKA_ID, &[1][..])]),
            (false, vec![(ck::CKA_CLASS, &PRIVATE[..])]),
            (false, vec![(ck::CKA_KEY_TYPE, &[0; 8][..])]),
            (false, vec![(ck::CKA_CLASS, &CERTIFICATE[..]), (ck::CKA_SIGN, &[1])]),
            (false, vec![(ck::CKA_CLASS, &[1][..])]),
        ] {
            assert_eq!(template(&attributes).wants_certificates(), wanted, "{attributes:?}");
        }
        assert!(!template(&[(ck::CKA_CLASS, &CERTIFICATE)]).wants_keys());
        assert!(template(&[(ck::CKA_CLASS, &PRIVATE)]).wants_keys());
    }
}
