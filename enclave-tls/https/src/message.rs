//! What is sent, what comes back, and why nothing did.

use hyper::header::{DATE, HeaderMap};
use hyper::{Method, StatusCode};

use crate::date::http_date;
use crate::url::Url;

/// A request.
#[derive(Clone)]
pub struct Request<'a> {
    /// What to do with it.
    pub method: Method,
    /// Whom to ask, and for what.
    pub url: &'a Url,
    /// Every header but `host` and `content-length`, which follow from the rest.
    pub headers: Vec<(&'a str, String)>,
    /// Empty where there is none.
    pub body: Vec<u8>,
    /// A longer reply is refused before it is kept.
    pub max_reply: usize,
}

/// A reply. Its head has at most 16 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers: at most 64.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Reply {
    /// What the service says the time is, in seconds since 1970, UTC.
    #[must_use]
    pub fn date(&self) -> Option<i64> {
        http_date(self.headers.get(DATE)?.to_str().ok()?)
    }
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpError {
    /// The parent's allow-list has not this host.
    EgressRefused,
    /// The host did not answer, or not TLS.
    Unreachable,
    /// Not the host, or not under the roots.
    Untrusted,
    /// The connection ended before the reply did.
    Interrupted,
    /// Not HTTP/1.1.
    Malformed,
    /// Longer than the request allows.
    TooLong,
    /// No connection, or no reply, in time.
    Timeout,
    /// The request cannot be written as HTTP.
    Request,
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EgressRefused => "the parent's allow-list has not this host",
            Self::Unreachable => "the host was not reached",
            Self::Untrusted => "the host did not prove its name under the policy's roots",
            Self::Interrupted => "the connection ended early",
            Self::Malformed => "the reply is not HTTP/1.1",
            Self::TooLong => "the reply is too long",
            Self::Timeout => "no answer in time",
            Self::Request => "the request cannot be written as HTTP",
        })
    }
}

impl std::error::Error for HttpError {}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() {
            Self::Malformed
        } else {
            Self::Interrupted
        }
    }
}
