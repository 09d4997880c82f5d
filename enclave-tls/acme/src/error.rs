//! Why a step failed: which one, who is at fault, and what to do next.

use enclave_https::UrlError;

use crate::problem::Problem;

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeError {
    /// What was being done.
    pub step: Step,
    /// Why it was not.
    pub cause: Cause,
}

/// What is done with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its directory is read.
    Directory,
    /// An account is registered, or found.
    Account,
    /// An order is made, or read.
    Order,
    /// A proof is asked for, and looked at.
    Challenge,
    /// The certificate request is handed in, and the certificate waited for.
    Finalize,
    /// The certificate is fetched.
    Certificate,
    /// It is asked when to renew.
    Renewal,
    /// A certificate is revoked.
    Revocation,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The parent's allow-list has not the server.
    EgressRefused,
    /// Who answered could not prove, under the policy's roots, to be the server.
    Untrusted,
    /// No answer, or one that says to ask later, again and again.
    Unavailable {
        /// What the last attempt came to.
        why: Unavailable,
        /// Not before then, in seconds since 1970, UTC: the server's own words.
        retry_at: Option<i64>,
    },
    /// Too many requests of this account, or for these names. Asking again only makes it worse.
    RateLimited {
        /// The server's words.
        problem: Problem,
        /// Not before then, in seconds since 1970, UTC: the server's own words.
        retry_at: Option<i64>,
    },
    /// The server refuses.
    Refused(Problem),
    /// The order is invalid, or the proof of a name was not found.
    Invalid(Option<Problem>),
    /// The run's time is over while the server still works. The order's URL is good for another run.
    Deadline {
        /// Not before then, in seconds since 1970, UTC: the server's own words.
        retry_at: Option<i64>,
    },
    /// The server is not asked: it would refuse, or do something else.
    Local(LocalRefusal),
    /// The server answers what RFC 8555 does not have.
    Protocol(ProtocolError),
    /// The account's key did not sign.
    NoSignature,
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The server was not reached.
    Unreachable,
    /// The connection ended before the reply did.
    Interrupted,
    /// No answer in time.
    Timeout,
    /// The server failed, with this status.
    Failed(u16),
    /// The server refused one fresh nonce after the other.
    Nonces,
}

/// What need not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalRefusal {
    /// The server has terms of service, at this address, that nobody agreed to.
    Terms(String),
    /// The server wants an external account binding.
    Binding,
    /// The account is not valid any more.
    AccountStatus,
    /// The server has not this profile, but these.
    Profile(Vec<String>),
    /// For this name, the server offers other challenges only.
    NoChallenge(String),
    /// A certificate has 1 to 100 names.
    Names,
    /// The server has no renewal information, or it revokes nothing.
    NotOffered,
    /// The certificate has no authority key identifier, by which a CA finds it.
    NoCertId,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// Not HTTP/1.1, or longer than such an answer can be.
    Http,
    /// A status that such an answer cannot have.
    Status(u16),
    /// Not the JSON of this resource.
    Form,
    /// No nonce, or one that is none.
    Nonce,
    /// No address where there must be one.
    NoUrl,
    /// An address that is none.
    Url(UrlError),
    /// An address of another server than the directory's.
    OtherServer,
    /// Other names than those that were ordered.
    OtherNames,
    /// More of something than there can be.
    TooMany,
    /// A token that is none, or too short to be unguessable.
    Token,
    /// No chain of certificates.
    Chain,
    /// A window that ends before it begins.
    Window,
    /// A state that this resource cannot be in now.
    State,
}

impl AcmeError {
    /// Whether the same may succeed later, with nobody doing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match &self.cause {
            Cause::Unavailable { .. } | Cause::RateLimited { .. } | Cause::Deadline { .. } => true,
            Cause::EgressRefused
            | Cause::Untrusted
            | Cause::Refused(_)
            | Cause::Invalid(_)
            | Cause::Local(_)
            | Cause::Protocol(_)
            | Cause::NoSignature => false,
        }
    }

    /// When the server says to come again, in seconds since 1970, UTC.
    #[must_use]
    pub fn retry_at(&self) -> Option<i64> {
        match &self.cause {
            Cause::Unavailable { retry_at, .. }
            | Cause::RateLimited { retry_at, .. }
            | Cause::Deadline { retry_at } => *retry_at,
            Cause::EgressRefused
            | Cause::Untrusted
            | Cause::Refused(_)
            | Cause::Invalid(_)
            | Cause::Local(_)
            | Cause::Protocol(_)
            | Cause::NoSignature => None,
        }
    }
}

impl std::fmt::Display for AcmeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.cause)
    }
}

impl std::error::Error for AcmeError {}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Directory => "the directory",
            Self::Account => "the account",
            Self::Order => "the order",
            Self::Challenge => "the proof of a name",
            Self::Finalize => "the certificate request",
            Self::Certificate => "the certificate",
            Self::Renewal => "the renewal information",
            Self::Revocation => "the revocation",
        })
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EgressRefused => {
                f.write_str("the parent's allow-list has not the server: allow its host and port there")
            }
            Self::Untrusted => f.write_str("the server did not prove its name under the policy's roots for it"),
            Self::Unavailable { why, .. } => write!(f, "the server is unavailable: {why}"),
            Self::RateLimited { problem, .. } => write!(f, "the server limits the rate, come again later: {problem}"),
            Self::Refused(problem) => write!(f, "the server refuses: {problem}"),
            Self::Invalid(Some(problem)) => write!(f, "the server found it invalid: {problem}"),
            Self::Invalid(None) => f.write_str("the server found it invalid, and does not say why"),
            Self::Deadline { .. } => f.write_str("the server is still at work; it is asked again in the next run"),
            Self::Local(refusal) => write!(f, "{refusal}"),
            Self::Protocol(error) => write!(f, "the server's answer is not ACME's: {error}"),
            Self::NoSignature => f.write_str("the account's key did not sign"),
        }
    }
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it was not reached"),
            Self::Interrupted => f.write_str("the connection ended early"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Failed(status) => write!(f, "it failed with {status}"),
            Self::Nonces => f.write_str("it refused one nonce after the other"),
        }
    }
}

impl std::fmt::Display for LocalRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Terms(url) => write!(
                f,
                "nobody has agreed to the server's terms of service: read {url} and agree"
            ),
            Self::Binding => f.write_str("the server wants an external account binding: have the CA make one"),
            Self::AccountStatus => f.write_str("the account is deactivated or revoked: make a new account key"),
            Self::Profile(profiles) => write!(f, "the server has not this profile; it has: {}", profiles.join(", ")),
            Self::NoChallenge(name) => {
                write!(
                    f,
                    "for {name} the server offers no challenge of this kind: a wildcard needs DNS-01"
                )
            }
            Self::Names => f.write_str("a certificate has 1 to 100 names"),
            Self::NotOffered => f.write_str("the server does not offer this"),
            Self::NoCertId => f.write_str("the certificate has no authority key identifier, by which a CA finds it"),
        }
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http => f.write_str("it is not HTTP/1.1, or too long"),
            Self::Status(status) => write!(f, "its status is {status}"),
            Self::Form => f.write_str("it is not the JSON of this resource"),
            Self::Nonce => f.write_str("it has no nonce"),
            Self::NoUrl => f.write_str("an address is missing"),
            Self::Url(error) => write!(f, "{error}"),
            Self::OtherServer => f.write_str("an address is another server's than the directory's"),
            Self::OtherNames => f.write_str("it is about other names than those that were ordered"),
            Self::TooMany => f.write_str("there is more of something in it than there can be"),
            Self::Token => f.write_str("a token is none"),
            Self::Chain => f.write_str("it is no chain of certificates"),
            Self::Window => f.write_str("the window ends before it begins"),
            Self::State => f.write_str("the resource cannot be in this state now"),
        }
    }
}
