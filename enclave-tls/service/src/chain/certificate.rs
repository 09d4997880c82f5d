//! One certificate, as far as the rules of a chain read it.

use std::collections::BTreeSet;

use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader};
use enclave_wire::control::ControlError;
use enclave_wire::control::Validity;
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::time::Time;

use super::{oid, signature};

/// A certificate of version 3, every extension at most once. `signed` are the very bytes that its issuer signed.
pub(super) struct Certificate<'a> {
    pub(super) issuer: Name,
    pub(super) subject: Name,
    pub(super) spki: Vec<u8>,
    pub(super) validity: Validity,
    signed: &'a [u8],
    algorithm: AlgorithmIdentifierOwned,
    signature: &'a [u8],
    constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<ExtendedKeyUsage>,
    extensions: Vec<Extension>,
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, ControlError> {
        Self::decode(der).ok().flatten().ok_or(ControlError::CertificateInvalid)
    }

    fn decode(der: &'a [u8]) -> der::Result<Option<Self>> {
        let mut reader = SliceReader::new(der)?;
        let (signed, algorithm, signature) = reader.sequence(|fields| {
            let signed = fields.tlv_bytes()?;
            let algorithm: AlgorithmIdentifierOwned = fields.decode()?;
            let signature: BitStringRef<'_> = fields.decode()?;
            Ok::<_, der::Error>((signed, algorithm, signature))
        })?;
        reader.finish()?;
        let tbs = TbsCertificate::from_der(signed)?;
        let extensions = tbs.extensions().cloned().unwrap_or_default();
        let distinct: BTreeSet<_> = extensions.iter().map(|extension| extension.extn_id).collect();
        let (Some(signature), Some(validity)) = (signature.as_bytes(), validity(&tbs)) else {
            return Ok(None);
        };
        if tbs.version() != Version::V3 || *tbs.signature() != algorithm || distinct.len() != extensions.len() {
            return Ok(None);
        }
        Ok(Some(Self {
            issuer: tbs.issuer().clone(),
            subject: tbs.subject().clone(),
            spki: tbs.subject_public_key_info().to_der()?,
            validity,
            signed,
            algorithm,
            signature,
            constraints: tbs.get_extension()?.map(|(_, extension)| extension),
            key_usage: tbs.get_extension()?.map(|(_, extension)| extension),
            extended_key_usage: tbs.get_extension()?.map(|(_, extension)| extension),
            extensions,
        }))
    }

    /// Whether it names itself as its issuer, as a root does.
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    pub(super) fn signed_by(&self, issuer: &Certificate<'_>) -> Result<(), ControlError> {
        signature::verify(&self.algorithm, &issuer.spki, self.signed, self.signature)
    }

    /// Whether it may sign certificates.
    pub(super) fn may_issue(&self) -> bool {
        self.constraints.as_ref().is_some_and(|constraints| constraints.ca)
            && self.key_usage.is_none_or(|usage| usage.key_cert_sign())
    }

    /// How many intermediates may stand between it and a leaf.
    pub(super) fn path_length(&self) -> Option<usize> {
        self.constraints.as_ref()?.path_len_constraint.map(usize::from)
    }

    /// Whether it may sign handshakes.
    pub(super) fn may_sign(&self) -> bool {
        self.key_usage.is_none_or(|usage| usage.digital_signature())
    }

    /// Whether its extended key usage names this purpose. "Any" is no name, and absence is no consent: clients differ over both.
    pub(super) fn has_purpose(&self, purpose: ObjectIdentifier) -> bool {
        self.extended_key_usage
            .as_ref()
            .is_some_and(|usage| usage.0.contains(&purpose))
    }

    /// Whether every critical extension is one that is acted on here. Name constraints are not.
    pub(super) fn is_understood(&self) -> bool {
        self.extensions
            .iter()
            .filter(|extension| extension.critical)
            .all(|extension| {
                matches!(
                    extension.extn_id,
                    oid::BASIC_CONSTRAINTS | oid::KEY_USAGE | oid::EXTENDED_KEY_USAGE | oid::SUBJECT_ALT_NAME
                )
            })
    }

    /// The DNS names of its subjectAltName, in lower case. The common name counts for nothing, as with every client.
    pub(super) fn dns_names(&self) -> Result<BTreeSet<String>, ControlError> {
        let Some(extension) = self
            .extensions
            .iter()
            .find(|extension| extension.extn_id == oid::SUBJECT_ALT_NAME)
        else {
            return Ok(BTreeSet::new());
        };
        let names =
            SubjectAltName::from_der(extension.extn_value.as_bytes()).map_err(|_| ControlError::CertificateInvalid)?;
        Ok(names.0.iter().filter_map(dns_name).collect())
    }
}

fn dns_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::IpAddress(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

fn validity(tbs: &TbsCertificate) -> Option<Validity> {
    let seconds = |time: Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
    Some(Validity {
        not_before: seconds(tbs.validity().not_before)?,
        not_after: seconds(tbs.validity().not_after)?,
    })
}
