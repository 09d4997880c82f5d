//! The chain from the pinned root to the key that signed a document.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use der::oid::ObjectIdentifier;
use der::oid::db::rfc5912::{ECDSA_WITH_SHA_384, ID_EC_PUBLIC_KEY, SECP_384_R_1};
use der::{Decode, Encode};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

use crate::document::Document;

/// Why a chain was refused: one rule each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainError {
    /// The first certificate of the bundle is not the pinned root.
    Root,
    /// A certificate is not X.509, or not of the form that the Nitro PKI uses (ECDSA on P-384 with SHA-384).
    Form,
    /// A certificate's issuer is not the subject of the one before it: out of order, or a gap.
    Order,
    /// A certificate's signature is not its issuer's.
    Signature,
    /// A certificate is not valid yet.
    NotYetValid,
    /// A certificate has expired.
    Expired,
    /// An issuer is not a CA, or may not sign certificates; or the leaf is a CA.
    NotCa,
    /// An issuer's path length is exceeded.
    PathLength,
    /// The leaf may not sign.
    KeyUsage,
    /// A critical extension that is not understood.
    CriticalExtension,
}

impl std::fmt::Display for ChainError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Root => "the root is not the pinned one",
            Self::Form => "a certificate is not of the form that the Nitro PKI uses",
            Self::Order => "the certificates are out of order, or one is missing",
            Self::Signature => "a certificate's signature is not its issuer's",
            Self::NotYetValid => "a certificate is not valid yet",
            Self::Expired => "a certificate has expired",
            Self::NotCa => "an issuer is not a CA, or the leaf is one",
            Self::PathLength => "an issuer's path length is exceeded",
            Self::KeyUsage => "the leaf may not sign",
            Self::CriticalExtension => "a critical extension is not understood",
        })
    }
}

impl std::error::Error for ChainError {}

/// The certificates of a document, taken apart: the root first, the leaf last.
pub(crate) struct Chain {
    issuers: Vec<Link>,
    leaf: Link,
}

impl Chain {
    pub(crate) fn parse(document: &Document) -> Result<Self, ChainError> {
        let issuers = document
            .cabundle
            .iter()
            .map(|der| Link::parse(der))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            issuers,
            leaf: Link::parse(&document.certificate)?,
        })
    }

    /// The key that must have signed the document, as an uncompressed point.
    pub(crate) fn leaf_key(&self) -> &[u8] {
        &self.leaf.public_key
    }

    /// Checks every rule, from the pinned root down, at a time in seconds since 1970, UTC.
    pub(crate) fn verify(&self, root: &[u8], root_sha256: &[u8; 32], at: u64) -> Result<(), ChainError> {
        if digest(&SHA256, root).as_ref() != root_sha256 {
            return Err(ChainError::Root);
        }
        let subjects = self.issuers.iter().skip(1).chain([&self.leaf]);
        for (issuer, subject) in self.issuers.iter().zip(subjects) {
            issued(issuer, subject)?;
        }
        self.leaf.valid_at(at)?;
        self.leaf.signs_documents()?;
        for (between, issuer) in self.issuers.iter().rev().enumerate() {
            issuer.valid_at(at)?;
            issuer.issues(between)?;
        }
        Ok(())
    }
}

fn issued(issuer: &Link, subject: &Link) -> Result<(), ChainError> {
    if subject.certificate.tbs_certificate().issuer() != issuer.certificate.tbs_certificate().subject() {
        return Err(ChainError::Order);
    }
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, &issuer.public_key)
        .verify(&subject.signed, &subject.signature)
        .map_err(|_| ChainError::Signature)
}

/// A certificate, taken apart.
struct Link {
    certificate: Certificate,
    signed: Vec<u8>,
    signature: Vec<u8>,
    public_key: Vec<u8>,
    ca: Option<BasicConstraints>,
    usage: KeyUsage,
}

impl Link {
    fn parse(bytes: &[u8]) -> Result<Self, ChainError> {
        let certificate = Certificate::from_der(bytes).map_err(|_| ChainError::Form)?;
        let body = certificate.tbs_certificate();
        let key = body.subject_public_key_info();
        let curve = key
            .algorithm
            .parameters
            .as_ref()
            .and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let algorithm_fits = certificate.signature_algorithm().oid == ECDSA_WITH_SHA_384
            && body.signature() == certificate.signature_algorithm()
            && key.algorithm.oid == ID_EC_PUBLIC_KEY
            && curve == Some(SECP_384_R_1);
        if !algorithm_fits {
            return Err(ChainError::Form);
        }
        Self::understood(&certificate)?;
        let form = |_| ChainError::Form;
        let ca = body
            .get_extension::<BasicConstraints>()
            .map_err(form)?
            .map(|(_, constraints)| constraints);
        let usage = body
            .get_extension::<KeyUsage>()
            .map_err(form)?
            .ok_or(ChainError::KeyUsage)?
            .1;
        let signed = body.to_der().map_err(form)?;
        let signature = certificate.signature().as_bytes().ok_or(ChainError::Form)?.to_vec();
        let public_key = key.subject_public_key.as_bytes().ok_or(ChainError::Form)?.to_vec();
        Ok(Self {
            certificate,
            signed,
            signature,
            public_key,
            ca,
            usage,
        })
    }

    fn understood(certificate: &Certificate) -> Result<(), ChainError> {
        let known = [
            der::oid::db::rfc5280::ID_CE_BASIC_CONSTRAINTS,
            der::oid::db::rfc5280::ID_CE_KEY_USAGE,
        ];
        let extensions = certificate
            .tbs_certificate()
            .extensions()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let strange = extensions
            .iter()
            .any(|extension| extension.critical && !known.contains(&extension.extn_id));
        if strange {
            Err(ChainError::CriticalExtension)
        } else {
            Ok(())
        }
    }

    fn valid_at(&self, at: u64) -> Result<(), ChainError> {
        let validity = self.certificate.tbs_certificate().validity();
        if at < validity.not_before.to_unix_duration().as_secs() {
            return Err(ChainError::NotYetValid);
        }
        if at > validity.not_after.to_unix_duration().as_secs() {
            Err(ChainError::Expired)
        } else {
            Ok(())
        }
    }

    /// An issuer with `between` CAs between it and the leaf.
    fn issues(&self, between: usize) -> Result<(), ChainError> {
        let ca = self
            .ca
            .as_ref()
            .filter(|constraints| constraints.ca)
            .ok_or(ChainError::NotCa)?;
        if !self.usage.0.contains(KeyUsages::KeyCertSign) {
            return Err(ChainError::NotCa);
        }
        if ca.path_len_constraint.is_some_and(|limit| usize::from(limit) < between) {
            return Err(ChainError::PathLength);
        }
        Ok(())
    }

    fn signs_documents(&self) -> Result<(), ChainError> {
        if self.ca.as_ref().is_some_and(|constraints| constraints.ca) {
            return Err(ChainError::NotCa);
        }
        if self.usage.0.contains(KeyUsages::DigitalSignature) {
            Ok(())
        } else {
            Err(ChainError::KeyUsage)
        }
    }
}
