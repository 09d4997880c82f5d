//! The calls: KMS with a recipient, and an object of S3.

mod error_reply;
mod kms;
mod reply;
mod retry;
mod s3;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use enclave_attestation::NsmError;
use enclave_https::header::HOST;
use enclave_https::{Clock, Egress, Https, Limits, Method, Reply, Url};
use enclave_policy::aws::{Region, Service, accepts_host, host};
use enclave_wire::DnsName;

use crate::credentials::Credentials;
use crate::error::KmsError;
use crate::recipient::Recipients;
use crate::sigv4;
use retry::Failure;

pub use kms::{DataKey, MAX_CIPHERTEXT, MAX_PLAINTEXT};
pub use s3::MAX_OBJECT;

/// A client of KMS and S3. Its futures need a Tokio runtime with time; what blocks in them runs on that runtime's blocking threads.
///
/// A call that is given up by dropping its future leaves nothing behind but a recipient key that is wiped unused.
pub struct Client {
    https: Https,
    attester: Arc<dyn Attester>,
    recipients: Arc<Recipients>,
    now_unix: Clock,
    credentials: Mutex<Option<Arc<Credentials>>>,
    hosts: Mutex<Hosts>,
}

/// Makes attestation documents for KMS.
pub trait Attester: Send + Sync {
    /// A document whose public key is this SubjectPublicKeyInfo, for the purpose of a KMS recipient. May block.
    fn document(&self, recipient_spki: &[u8]) -> Result<Vec<u8>, NsmError>;
}

/// Hosts that the parent suggests in place of the standard names: a VPC endpoint's, or a FIPS one. One that does not belong to the
/// service and the region of a call is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// For KMS.
    pub kms: Option<DnsName>,
    /// For S3.
    pub s3: Option<DnsName>,
}

/// Why there is no client.
#[derive(Debug)]
pub enum RootsError {
    /// The policy names no root for AWS's hosts, or one that is no certificate.
    Roots,
    /// The thread that makes recipient keys did not start.
    Thread(std::io::Error),
}

impl std::fmt::Display for RootsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Roots => f.write_str("no root that AWS's hosts could chain to"),
            Self::Thread(error) => write!(f, "the thread of recipient keys did not start: {error}"),
        }
    }
}

impl std::error::Error for RootsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Roots => None,
        }
    }
}

impl Client {
    /// A client that trusts hosts under `roots` (DER) alone.
    pub fn new(
        egress: Arc<dyn Egress>,
        attester: Arc<dyn Attester>,
        roots: &[Vec<u8>],
        now_unix: Clock,
    ) -> Result<Self, RootsError> {
        let https = Https::new(egress, roots, Arc::clone(&now_unix), LIMITS).map_err(|_| RootsError::Roots)?;
        let recipients = Recipients::start().map_err(RootsError::Thread)?;
        Ok(Self {
            https,
            attester,
            recipients: Arc::new(recipients),
            now_unix,
            credentials: Mutex::new(None),
            hosts: Mutex::new(Hosts::default()),
        })
    }

    /// From now on, these credentials. The ones before are wiped once no call uses them any more.
    pub fn set_credentials(&self, credentials: Credentials) {
        let mut current = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(credentials));
    }

    /// From now on, these hosts, where they fit.
    pub fn set_hosts(&self, hosts: Hosts) {
        *self.hosts.lock().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// Signs a request as of now plus `offset` seconds, and sends it.
    async fn send(&self, call: &Call<'_>, body: Vec<u8>, offset: i64) -> Result<Reply, Failure> {
        let credentials = self.usable_credentials()?;
        let host = self.host(call.service, call.region);
        let mut headers = call.headers.clone();
        headers.push((HOST.as_str(), host.as_str()));
        let request = sigv4::Request {
            method: call.method.as_str(),
            path: &call.path,
            query: "",
            headers: &headers,
            body: &body,
            body_hash_header: matches!(call.service, Service::S3),
        };
        let scope = sigv4::Scope {
            region: call.region.as_str(),
            service: signing_name(call.service),
        };
        let time = (self.now_unix)().saturating_add(offset);
        let signed = sigv4::sign(&request, &credentials.identity(), &scope, time)?;
        let headers = call.headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let request = enclave_https::Request {
            method: call.method.clone(),
            url: &Url::at(&host, &call.path).map_err(|_| KmsError::ObjectName)?,
            headers: headers.chain(signed).collect(),
            body,
            max_reply: call.max_reply,
        };
        Ok(self.https.send(request).await?)
    }

    fn usable_credentials(&self) -> Result<Arc<Credentials>, KmsError> {
        let credentials = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        let credentials = credentials.as_ref().ok_or(KmsError::CredentialsMissing)?;
        if credentials.expires() > (self.now_unix)() {
            Ok(Arc::clone(credentials))
        } else {
            Err(KmsError::CredentialsExpired)
        }
    }

    /// The host that the parent suggests, if it is one of this service in this region; else the standard one.
    fn host(&self, service: Service, region: &Region) -> DnsName {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let suggested = match service {
            Service::Kms => hosts.kms.as_ref(),
            Service::S3 => hosts.s3.as_ref(),
        };
        match suggested {
            Some(suggested) if accepts_host(service, region, suggested) => suggested.clone(),
            Some(suggested) => {
                tracing::warn!(host = %suggested, %region, "a suggested host is none of this service in this region: ignored");
                host(service, region)
            }
            None => host(service, region),
        }
    }
}

/// What all attempts of a call have in common.
struct Call<'a> {
    service: Service,
    region: &'a Region,
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'a str)>,
    max_reply: usize,
}

fn signing_name(service: Service) -> &'static str {
    match service {
        Service::Kms => "kms",
        Service::S3 => "s3",
    }
}

/// KMS answers in tens of milliseconds from the parent's region.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    exchange: Duration::from_secs(10),
};
