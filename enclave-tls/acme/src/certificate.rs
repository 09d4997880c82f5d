//! The certificate and its chains (RFC 8555, section 7.4.2).

use enclave_https::{Reply, Url};
use x509_cert::der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Any, Decode as _};

use crate::account::Account;
use crate::error::{AcmeError, ProtocolError, Step};
use crate::link::alternates;
use crate::order::{Order, OrderState};
use crate::pem::certificates;
use crate::problem::printable;
use crate::server::protocol;

/// A chain as the server gives it: nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The certificates (DER), the leaf first.
    pub certificates: Vec<Vec<u8>>,
    /// The common name of the last one's issuer, printable. Empty where it has none.
    pub issuer: String,
    /// Whether it is the one that was wanted.
    pub preferred: Preferred,
}

/// Whether a chain is the one that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preferred {
    /// No chain was preferred: it is the server's default.
    NotAsked,
    /// It is.
    Found,
    /// No chain ends so: it is the server's default.
    NotOffered,
}

impl Account<'_> {
    /// The certificate of a valid order, with the chain whose last certificate's issuer has the common name `preferred`; with the
    /// server's default where there is no such chain.
    pub async fn certificate(&self, order: &Order, preferred: Option<&str>) -> Result<Chain, AcmeError> {
        let OrderState::Valid { certificate } = &order.state else {
            return Err(protocol(Step::Certificate, ProtocolError::State));
        };
        let (default, reply) = self.chain(certificate).await?;
        let Some(preferred) = preferred else {
            return Ok(default.into(Preferred::NotAsked));
        };
        if default.issuer == preferred {
            return Ok(default.into(Preferred::Found));
        }
        for url in alternates(&reply.headers) {
            let url = self.server.url(Step::Certificate, url)?;
            let (alternate, _) = self.chain(&url).await?;
            if alternate.issuer == preferred {
                return Ok(alternate.into(Preferred::Found));
            }
        }
        tracing::warn!(
            preferred,
            issuer = default.issuer,
            "no chain ends in the preferred issuer: the default is taken"
        );
        Ok(default.into(Preferred::NotOffered))
    }

    async fn chain(&self, url: &Url) -> Result<(Given, Reply), AcmeError> {
        let reply = self
            .ask_for(Step::Certificate, url, String::new(), PEM_CHAIN, MAX_CHAIN)
            .await?;
        let given = Given::read(&reply.body).ok_or(protocol(Step::Certificate, ProtocolError::Chain))?;
        Ok((given, reply))
    }
}

struct Given {
    certificates: Vec<Vec<u8>>,
    issuer: String,
}

impl Given {
    fn read(pem: &[u8]) -> Option<Self> {
        let certificates = certificates(pem)?;
        let last = x509_cert::Certificate::from_der(certificates.last()?).ok()?;
        let names = last.tbs_certificate().issuer().iter();
        let name = names
            .filter(|attribute| attribute.oid == COMMON_NAME)
            .find_map(|attribute| text(&attribute.value));
        let issuer = printable::<MAX_ISSUER>(&name.unwrap_or_default());
        Some(Self { certificates, issuer })
    }

    fn into(self, preferred: Preferred) -> Chain {
        Chain {
            certificates: self.certificates,
            issuer: self.issuer,
            preferred,
        }
    }
}

fn text(value: &Any) -> Option<String> {
    let utf8 = value
        .decode_as::<Utf8StringRef<'_>>()
        .map(|text| text.as_str().to_owned());
    let printable = || {
        value
            .decode_as::<PrintableStringRef<'_>>()
            .map(|text| text.as_str().to_owned())
    };
    let teletex = || {
        value
            .decode_as::<TeletexStringRef<'_>>()
            .map(|text| text.as_str().to_owned())
    };
    utf8.or_else(|_| printable()).or_else(|_| teletex()).ok()
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const PEM_CHAIN: &str = "application/pem-certificate-chain";
/// Ten certificates of RSA-4096, with room.
const MAX_CHAIN: usize = 65_536;
/// X.520's bound is 64.
const MAX_ISSUER: usize = 128;
