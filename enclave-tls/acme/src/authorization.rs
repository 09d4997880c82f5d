//! Authorisations and their challenges (RFC 8555, sections 7.5 and 8).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use enclave_https::{Reply, Url};
use enclave_wire::DnsName;
use serde::Deserialize;

use crate::account::Account;
use crate::attempts::Looks;
use crate::error::{AcmeError, Cause, LocalRefusal, ProtocolError, Step};
use crate::order::{Identifier, Order, OrderState};
use crate::problem::{self, Problem};
use crate::server::protocol;
use crate::signer::base64url;

/// Whether this account may have certificates for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    url: Url,
    /// The name, without a `*.` before it.
    pub name: DnsName,
    /// Where it stands.
    pub state: AuthorizationState,
    retry_after: Option<Duration>,
}

/// Where an authorisation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationState {
    /// One of these challenges is to be met.
    Pending(Vec<Challenge>),
    /// Nothing is wanted: the name was proven before, or the CA needs no proof.
    Valid,
    /// The proof was not found, or the authorisation is over.
    Invalid(Option<Problem>),
}

/// A challenge that the parent can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    url: Url,
    /// How the name is proven.
    pub kind: ChallengeKind,
    /// HTTP-01: the last part of the path, base64url.
    pub token: String,
    /// What is to be published. HTTP-01: the resource, `token.thumbprint`. DNS-01: the text of `_acme-challenge.NAME`.
    pub answer: String,
}

/// How a name is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By a resource of the name's web server.
    Http01,
    /// By a TXT record.
    Dns01,
}

impl Account<'_> {
    /// The order's authorisations: those that are valid want nothing. None where the order wants none.
    pub async fn authorizations(&self, order: &Order) -> Result<Vec<Authorization>, AcmeError> {
        let OrderState::Pending {
            authorizations: urls, ..
        } = &order.state
        else {
            return Ok(Vec::new());
        };
        let mut authorizations = Vec::with_capacity(urls.len());
        for url in urls {
            let authorization = self.authorization(url).await?;
            if !order.names.iter().any(|name| base(name) == authorization.name.as_str()) {
                return Err(protocol(Step::Challenge, ProtocolError::OtherNames));
            }
            authorizations.push(authorization);
        }
        Ok(authorizations)
    }

    /// Says that the challenge's answer is published, and waits until the server has looked.
    pub async fn validate(&self, authorization: &Authorization, challenge: &Challenge) -> Result<(), AcmeError> {
        let asked = self.ask(Step::Challenge, &challenge.url, "{}".to_owned()).await;
        let mut looks = Looks::at(Step::Challenge, &self.server.time);
        // A reply may be lost, and then the next attempt is refused, because the first was not: so the authorisation decides.
        let refused = match asked {
            Ok(_) => None,
            Err(error) if matches!(error.cause, Cause::Refused(_)) => Some(error),
            Err(error) => return Err(error),
        };
        loop {
            let now = self.authorization(&authorization.url).await?;
            match (now.state, &refused) {
                (AuthorizationState::Valid, _) => return Ok(()),
                (AuthorizationState::Invalid(problem), _) => return Err(invalid(problem)),
                (AuthorizationState::Pending(_), Some(error)) => return Err(error.clone()),
                (AuthorizationState::Pending(_), None) => looks.wait(now.retry_after).await?,
            }
        }
    }

    /// Gives an authorisation up that is still pending (RFC 8555, section 7.5.2): servers count those. Any other is left as it is.
    pub async fn give_up(&self, authorization: &Authorization) -> Result<(), AcmeError> {
        let now = self.authorization(&authorization.url).await?;
        match now.state {
            AuthorizationState::Pending(_) => {
                let asked = self.ask(Step::Challenge, &authorization.url, DEACTIVATED.to_owned());
                asked.await.map(drop)
            }
            AuthorizationState::Valid | AuthorizationState::Invalid(_) => Ok(()),
        }
    }

    async fn authorization(&self, url: &Url) -> Result<Authorization, AcmeError> {
        let reply = self.read(Step::Challenge, url).await?;
        self.parsed_authorization(url, &reply)
    }

    fn parsed_authorization(&self, url: &Url, reply: &Reply) -> Result<Authorization, AcmeError> {
        let wrong = |error| protocol(Step::Challenge, error);
        let form: Form = serde_json::from_slice(&reply.body).map_err(|_| wrong(ProtocolError::Form))?;
        if form.challenges.len() > MAX_CHALLENGES {
            return Err(wrong(ProtocolError::TooMany));
        }
        let name = form.identifier.name().filter(|name| base(name) == name.as_str());
        let state = match form.status {
            Status::Pending => {
                let challenges = form.challenges.iter().map(|form| self.challenge(form));
                let challenges: Result<Vec<_>, _> = challenges.collect();
                AuthorizationState::Pending(challenges?.into_iter().flatten().collect())
            }
            Status::Valid => AuthorizationState::Valid,
            Status::Invalid | Status::Deactivated | Status::Expired | Status::Revoked => {
                let problem = form.challenges.into_iter().find_map(|challenge| challenge.error);
                AuthorizationState::Invalid(problem.map(Problem::from))
            }
        };
        Ok(Authorization {
            url: url.clone(),
            name: name.ok_or(wrong(ProtocolError::OtherNames))?,
            state,
            retry_after: self.server.time.retry_after(reply),
        })
    }

    /// None: of a kind that nobody here can answer.
    fn challenge(&self, form: &ChallengeForm) -> Result<Option<Challenge>, AcmeError> {
        let kind = match form.kind.as_str() {
            "http-01" => ChallengeKind::Http01,
            "dns-01" => ChallengeKind::Dns01,
            _ => return Ok(None),
        };
        let token = form.token.clone().filter(|token| is_token(token));
        let token = token.ok_or(protocol(Step::Challenge, ProtocolError::Token))?;
        let key_authorization = format!("{token}.{}", self.signer.public().thumbprint());
        let answer = match kind {
            ChallengeKind::Http01 => key_authorization,
            ChallengeKind::Dns01 => base64url(digest(&SHA256, key_authorization.as_bytes()).as_ref()),
        };
        Ok(Some(Challenge {
            url: self.server.url(Step::Challenge, &form.url)?,
            kind,
            token,
            answer,
        }))
    }
}

impl Authorization {
    /// What is to be done for it: the challenge of this kind, or nothing where it is valid.
    pub fn challenge(&self, kind: ChallengeKind) -> Result<Option<&Challenge>, AcmeError> {
        match &self.state {
            AuthorizationState::Valid => Ok(None),
            AuthorizationState::Invalid(problem) => Err(invalid(problem.clone())),
            AuthorizationState::Pending(challenges) => {
                let challenge = challenges.iter().find(|challenge| challenge.kind == kind);
                challenge.map(Some).ok_or_else(|| AcmeError {
                    step: Step::Challenge,
                    cause: Cause::Local(LocalRefusal::NoChallenge(self.name.to_string())),
                })
            }
        }
    }
}

/// The name that is proven for this one.
fn base(name: &DnsName) -> &str {
    name.as_str().strip_prefix("*.").unwrap_or(name.as_str())
}

fn invalid(problem: Option<Problem>) -> AcmeError {
    let (step, cause) = (Step::Challenge, Cause::Invalid(problem));
    AcmeError { step, cause }
}

/// RFC 8555 wants 128 bits, so at least 22 letters; and it becomes the name of a file.
fn is_token(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (22..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(is_plain)
}

#[derive(Deserialize)]
struct Form {
    status: Status,
    identifier: Identifier,
    /// A CA that needs no proof may name none.
    #[serde(default)]
    challenges: Vec<ChallengeForm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pending,
    Valid,
    Invalid,
    Deactivated,
    Expired,
    Revoked,
}

#[derive(Deserialize)]
struct ChallengeForm {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    url: String,
    token: Option<String>,
    error: Option<problem::Form>,
}

const DEACTIVATED: &str = r#"{"status":"deactivated"}"#;
/// There are five kinds.
const MAX_CHALLENGES: usize = 16;
/// Let's Encrypt's have 43 letters.
const MAX_TOKEN: usize = 128;
