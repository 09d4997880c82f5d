//! How requests reach the server, as this crate sees it.

use std::pin::Pin;
use std::time::Duration;

use enclave_https::{HttpError, Limits, Reply, Request, Session};

/// Sends requests.
pub trait Transport: Send + Sync {
    /// Sends one, once: who asks decides whether to try again.
    fn send<'a>(&'a self, request: Request<'a>) -> Sent<'a>;
}

/// A request on its way.
pub type Sent<'a> = Pin<Box<dyn Future<Output = Result<Reply, HttpError>> + Send + 'a>>;

impl Transport for Session {
    fn send<'a>(&'a self, request: Request<'a>) -> Sent<'a> {
        Box::pin(Session::send(self, request))
    }
}

/// What suits an ACME server: they are farther away than AWS's own services, and some validate or sign before they answer.
pub const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    exchange: Duration::from_secs(30),
};
