//! A certificate chain for a key: every rule is looked at before a server can serve it.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod certificate;
pub(crate) mod oid;
mod signature;

use std::collections::BTreeSet;

use enclave_wire::control::ControlError;
use enclave_wire::control::Validity;
use enclave_wire::identity::Chain;
use enclave_wire::{DnsName, Spki, Usage};

use certificate::Certificate;

/// A chain that passed every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidChain {
    /// What servers send: leaf first, without a root.
    pub served: Chain,
    /// When the leaf is valid.
    pub validity: Validity,
}

/// Looks at a chain for the key `spki`: leaf first, at least the leaf's issuer, a root only at its end.
///
/// The chain is not anchored in any trusted root: who verifies it has roots of its own. `now_unix` is the service's own clock.
pub fn validate(
    chain: &Chain,
    spki: &Spki,
    usage: Usage,
    names: &[DnsName],
    now_unix: i64,
) -> Result<ValidChain, ControlError> {
    let certificates = chain
        .certificates()
        .iter()
        .map(|certificate| Certificate::parse(certificate.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let path = Path::new(&certificates)?;
    path.leaf_is_of(spki)?;
    path.is_signed()?;
    path.issuers_may_issue()?;
    path.is_valid_at(now_unix)?;
    path.is_understood()?;
    path.serves(usage)?;
    path.leaf_names(usage, names)?;
    Ok(ValidChain {
        served: path.served(chain)?,
        validity: path.leaf.validity,
    })
}

/// When the leaf of a chain is valid; none for the empty chain. For a chain that was validated before: it says nothing of now.
pub fn leaf_validity(chain: &Chain) -> Result<Option<Validity>, ControlError> {
    let leaf = chain.certificates().first();
    leaf.map(|leaf| Ok(Certificate::parse(leaf.as_bytes())?.validity))
        .transpose()
}

/// The DNS names of a chain's leaf. One that a key cannot have, such as one with an underscore, is refused.
pub fn leaf_names(chain: &Chain) -> Result<Vec<DnsName>, ControlError> {
    let leaf = chain.certificates().first().ok_or(ControlError::ChainIncomplete)?;
    let names = Certificate::parse(leaf.as_bytes())?.dns_names()?;
    names
        .iter()
        .map(|name| name.parse().map_err(|_| ControlError::ChainNames))
        .collect()
}

/// Certificates, each issued by the next.
struct Path<'a> {
    leaf: &'a Certificate<'a>,
    issuers: &'a [Certificate<'a>],
}

impl<'a> Path<'a> {
    fn new(certificates: &'a [Certificate<'a>]) -> Result<Self, ControlError> {
        let (leaf, issuers) = certificates.split_first().ok_or(ControlError::ChainIncomplete)?;
        if issuers.is_empty() || leaf.is_self_issued() {
            return Err(ControlError::ChainIncomplete);
        }
        let path = Self { leaf, issuers };
        if path.links().all(|(subject, issuer)| subject.issuer == issuer.subject) {
            Ok(path)
        } else {
            Err(ControlError::ChainOrder)
        }
    }

    fn all(&self) -> impl Iterator<Item = &'a Certificate<'a>> {
        std::iter::once(self.leaf).chain(self.issuers)
    }

    /// Each certificate with its issuer's.
    fn links(&self) -> impl Iterator<Item = (&'a Certificate<'a>, &'a Certificate<'a>)> {
        self.all().zip(self.issuers)
    }

    fn leaf_is_of(&self, spki: &Spki) -> Result<(), ControlError> {
        require(self.leaf.spki == spki.as_bytes(), ControlError::ChainKeyMismatch)
    }

    /// A root's own signature says nothing (and old roots made it with SHA-1), so it is not looked at.
    fn is_signed(&self) -> Result<(), ControlError> {
        self.links().try_for_each(|(subject, issuer)| subject.signed_by(issuer))
    }

    fn issuers_may_issue(&self) -> Result<(), ControlError> {
        // Intermediates below an issuer; those that a CA issued to itself do not count (RFC 5280, 4.2.1.9).
        let mut below = 0usize;
        for issuer in self.issuers {
            require(issuer.may_issue(), ControlError::ChainNotCa)?;
            let allowed = issuer.path_length().is_none_or(|length| below <= length);
            require(allowed, ControlError::ChainPathLength)?;
            below = below.saturating_add(usize::from(!issuer.is_self_issued()));
        }
        Ok(())
    }

    fn is_valid_at(&self, now: i64) -> Result<(), ControlError> {
        for certificate in self.all() {
            require(certificate.validity.not_before <= now, ControlError::ChainNotYetValid)?;
            require(now <= certificate.validity.not_after, ControlError::ChainExpired)?;
        }
        Ok(())
    }

    fn is_understood(&self) -> Result<(), ControlError> {
        let understood = self.all().all(Certificate::is_understood);
        require(understood, ControlError::ChainCriticalExtension)
    }

    fn serves(&self, usage: Usage) -> Result<(), ControlError> {
        let purpose = match usage {
            Usage::Tls | Usage::Digest => oid::SERVER_AUTH,
            Usage::TlsClient => oid::CLIENT_AUTH,
            Usage::AcmeAccount => return Err(ControlError::AccountKey),
        };
        let serves = self.leaf.has_purpose(purpose) && self.leaf.may_sign();
        require(serves, ControlError::ChainExtendedKeyUsage)
    }

    /// A client certificate may come without names that were agreed: what it names may be no host at all.
    fn leaf_names(&self, usage: Usage, names: &[DnsName]) -> Result<(), ControlError> {
        if names.is_empty() && usage == Usage::TlsClient {
            return Ok(());
        }
        let wanted: BTreeSet<&str> = names.iter().map(DnsName::as_str).collect();
        let found = self.leaf.dns_names()?;
        require(found.iter().map(String::as_str).eq(wanted), ControlError::ChainNames)
    }

    fn served(&self, chain: &Chain) -> Result<Chain, ControlError> {
        let mut certificates = chain.certificates().to_vec();
        if self.issuers.last().is_some_and(Certificate::is_self_issued) {
            certificates.pop();
        }
        Chain::try_from(certificates).map_err(|_| ControlError::Failed)
    }
}

fn require(holds: bool, otherwise: ControlError) -> Result<(), ControlError> {
    if holds { Ok(()) } else { Err(otherwise) }
}

#[cfg(test)]
mod tests;
