//! Orders (RFC 8555, section 7.4).

use std::collections::BTreeSet;
use std::time::Duration;

use enclave_https::{Reply, Url};
use enclave_wire::DnsName;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::attempts::Looks;
use crate::error::{AcmeError, Cause, LocalRefusal, ProtocolError, Step};
use crate::problem::{self, Problem};
use crate::renewal::CertId;
use crate::server::{json, protocol};
use crate::signer::base64url;

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// The names: 1 to [`MAX_NAMES`].
    pub names: Vec<DnsName>,
    /// One of the server's profiles, if not its default.
    pub profile: Option<String>,
    /// The certificate that the new one takes the place of (RFC 9773, section 5). A hint: where the server refuses the order, it
    /// is asked without.
    pub replaces: Option<CertId>,
}

/// An order, as the server last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Where it is: good for another run.
    pub url: Url,
    /// What it is for, in order and each once.
    pub names: BTreeSet<DnsName>,
    /// Where it stands.
    pub state: OrderState,
    /// How long the server says to wait before it is looked at again.
    retry_after: Option<Duration>,
}

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderState {
    /// These authorisations are wanted.
    Pending {
        /// One for each name.
        authorizations: Vec<Url>,
        /// Where the request goes then.
        finalize: Url,
    },
    /// The certificate request is wanted.
    Ready {
        /// Where it goes.
        finalize: Url,
    },
    /// The server makes the certificate.
    Processing,
    /// The certificate is made.
    Valid {
        /// Where it is.
        certificate: Url,
    },
    /// It came to nothing, and nothing can be done about it.
    Invalid(Option<Problem>),
}

impl Account<'_> {
    /// Orders a certificate. A server may answer with an order that it has already.
    pub async fn order(&self, new: &NewOrder) -> Result<Order, AcmeError> {
        self.refuses(new).map_or(Ok(()), |refusal| Err(local(refusal)))?;
        // RFC 9773, section 5: it is said to a server that has renewal information only.
        let has_renewal = self.server.directory.renewal.is_some();
        let replaces = new.replaces.as_ref().filter(|_| has_renewal);
        let mut reply = self.new_order(new, replaces).await;
        if let (Some(_), Err(error)) = (replaces, &reply)
            && let Cause::Refused(_) | Cause::Unavailable { .. } = &error.cause
        {
            tracing::warn!(%error, "the order that replaces a certificate was refused: tried without saying so");
            reply = self.new_order(new, None).await;
        }
        let reply = reply?;
        let url = self.server.location(Step::Order, &reply)?;
        let order = self.parsed(Step::Order, url, &reply)?;
        if order.names != BTreeSet::from_iter(new.names.iter().cloned()) {
            return Err(protocol(Step::Order, ProtocolError::OtherNames));
        }
        Ok(order)
    }

    /// The order at `url`, which an earlier run made: whether it is for the right names, the caller sees.
    pub async fn order_at(&self, url: &str) -> Result<Order, AcmeError> {
        let url = self.server.url(Step::Order, url)?;
        self.look(Step::Order, url).await
    }

    /// Hands the certificate request in and waits until the certificate is there. Also where another run handed it in: then the
    /// certificate may be another key's, which the caller sees.
    pub async fn finalize(&self, order: &Order, csr: &[u8]) -> Result<Order, AcmeError> {
        let payload = serde_json::json!({ "csr": base64url(csr) }).to_string();
        let mut looks = Looks::at(Step::Finalize, &self.server.time);
        let mut order = order.clone();
        // A reply may be lost, and then the next attempt is refused, because the first was not: so the order decides.
        let mut refused = None;
        loop {
            order = match (&order.state, refused.take()) {
                (OrderState::Valid { .. }, _) => return Ok(order),
                (OrderState::Invalid(problem), _) => return Err(finalize(Cause::Invalid(problem.clone()))),
                (OrderState::Pending { .. } | OrderState::Ready { .. }, Some(error)) => return Err(error),
                (OrderState::Ready { finalize }, None) => {
                    let reply = self.ask(Step::Finalize, finalize, payload.clone()).await;
                    match reply.and_then(|reply| self.parsed(Step::Finalize, order.url.clone(), &reply)) {
                        Ok(order) => order,
                        Err(error) if matches!(error.cause, Cause::Refused(_)) => {
                            refused = Some(error);
                            self.look(Step::Finalize, order.url.clone()).await?
                        }
                        Err(error) => return Err(error),
                    }
                }
                // The last authorisation turned valid a moment ago: the order follows.
                (OrderState::Pending { .. } | OrderState::Processing, _) => {
                    looks.wait(order.retry_after).await?;
                    self.look(Step::Finalize, order.url.clone()).await?
                }
            };
        }
    }

    async fn look(&self, step: Step, url: Url) -> Result<Order, AcmeError> {
        let reply = self.read(step, &url).await?;
        self.parsed(step, url, &reply)
    }

    fn refuses(&self, new: &NewOrder) -> Option<LocalRefusal> {
        if !(1..=MAX_NAMES).contains(&new.names.len()) {
            return Some(LocalRefusal::Names);
        }
        let profiles = &self.server.meta().profiles;
        let is_known = new.profile.as_ref().is_none_or(|profile| profiles.contains(profile));
        (!is_known).then(|| LocalRefusal::Profile(profiles.clone()))
    }

    async fn new_order(&self, new: &NewOrder, replaces: Option<&CertId>) -> Result<Reply, AcmeError> {
        let names = new.names.iter().map(DnsName::as_str);
        let payload = Wanted {
            identifiers: names.map(|value| WantedName { kind: DNS, value }).collect(),
            profile: new.profile.as_deref(),
            replaces: replaces.map(CertId::as_str),
        };
        let new_order = &self.server.directory.new_order;
        self.ask(Step::Order, new_order, json(&payload)).await
    }

    fn parsed(&self, step: Step, url: Url, reply: &Reply) -> Result<Order, AcmeError> {
        let wrong = |error| protocol(step, error);
        let form: Form = serde_json::from_slice(&reply.body).map_err(|_| wrong(ProtocolError::Form))?;
        if form.identifiers.len() > MAX_NAMES || form.authorizations.len() > MAX_NAMES {
            return Err(wrong(ProtocolError::TooMany));
        }
        let names: Option<_> = form.identifiers.iter().map(Identifier::name).collect();
        let finalize = self.server.url(step, &form.finalize)?;
        let state = match form.status {
            Status::Pending => {
                let urls = form.authorizations.iter().map(|url| self.server.url(step, url));
                let authorizations = urls.collect::<Result<_, _>>()?;
                OrderState::Pending {
                    authorizations,
                    finalize,
                }
            }
            Status::Ready => OrderState::Ready { finalize },
            Status::Processing => OrderState::Processing,
            Status::Valid => {
                let certificate = form.certificate.ok_or(wrong(ProtocolError::NoUrl))?;
                let certificate = self.server.url(step, &certificate)?;
                OrderState::Valid { certificate }
            }
            Status::Invalid => OrderState::Invalid(form.error.map(Problem::from)),
        };
        Ok(Order {
            url,
            names: names.ok_or(wrong(ProtocolError::OtherNames))?,
            state,
            retry_after: self.server.time.retry_after(reply),
        })
    }
}

fn local(refusal: LocalRefusal) -> AcmeError {
    let (step, cause) = (Step::Order, Cause::Local(refusal));
    AcmeError { step, cause }
}

fn finalize(cause: Cause) -> AcmeError {
    let step = Step::Finalize;
    AcmeError { step, cause }
}

#[derive(Serialize)]
struct Wanted<'a> {
    identifiers: Vec<WantedName<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<&'a str>,
}

#[derive(Serialize)]
struct WantedName<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'a str,
}

#[derive(Deserialize)]
struct Form {
    status: Status,
    identifiers: Vec<Identifier>,
    authorizations: Vec<String>,
    finalize: String,
    certificate: Option<String>,
    error: Option<problem::Form>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

/// What an order or an authorisation is for.
#[derive(Deserialize)]
pub(crate) struct Identifier {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl Identifier {
    /// The name, where it is one.
    pub(crate) fn name(&self) -> Option<DnsName> {
        (self.kind == DNS).then(|| self.value.parse().ok()).flatten()
    }
}

const DNS: &str = "dns";
/// What Let's Encrypt and ACM take, and what a certificate of ours has.
pub const MAX_NAMES: usize = 100;
