//! One run against one server: its directory, its nonces, and requests that are tried again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use enclave_https::header::{HeaderName, LOCATION};
use enclave_https::{Clock, Method, Reply, Request, StatusCode, Url};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::attempts::{Attempts, Failure, Time};
use crate::directory::{Directory, Meta, server_url};
use crate::error::{AcmeError, Cause, ProtocolError, Step, Unavailable};
use crate::jws::{self, By};
use crate::problem::{BAD_NONCE, Problem, RATE_LIMITED};
use crate::signer::Signer;
use crate::transport::Transport;

/// A server, until the run's deadline.
pub struct Server {
    transport: Box<dyn Transport>,
    pub(crate) time: Time,
    at: Url,
    pub(crate) directory: Directory,
    /// From the last reply: each is good for one request.
    nonce: Mutex<Option<String>>,
}

impl Server {
    /// Reads the directory at `at`, which the policy allows. Nothing that is asked of this server goes on after `deadline`.
    pub async fn connect(
        transport: Box<dyn Transport>,
        clock: Clock,
        at: Url,
        deadline: Instant,
    ) -> Result<Self, AcmeError> {
        let time = Time { clock, deadline };
        let mut attempts = Attempts::of(Step::Directory, &time);
        let directory = loop {
            let attempt = async {
                let reply = transport.send(request(Method::GET, &at, ANY, MAX_JSON)).await?;
                let reply = success(&time, reply)?;
                Ok(Directory::read(&at, &reply.body)?)
            };
            if let Some(directory) = attempts.make(attempt).await? {
                break directory;
            }
        };
        Ok(Self {
            transport,
            time,
            at,
            directory,
            nonce: Mutex::new(None),
        })
    }

    /// What the server says of itself.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.directory.meta
    }

    /// Asks without a signature.
    pub(crate) async fn get(&self, step: Step, url: &Url) -> Result<Reply, AcmeError> {
        let mut attempts = Attempts::of(step, &self.time);
        loop {
            let attempt = async {
                let reply = self.transport.send(request(Method::GET, url, ANY, MAX_JSON)).await?;
                success(&self.time, reply)
            };
            if let Some(reply) = attempts.make(attempt).await? {
                return Ok(reply);
            }
        }
    }

    /// Asks with a signature, again and again while that may help.
    pub(crate) async fn post(&self, signer: &dyn Signer, ask: &Ask<'_>) -> Result<Reply, AcmeError> {
        let mut attempts = Attempts::of(ask.step, &self.time);
        loop {
            if let Some(reply) = attempts.make(self.post_once(signer, ask)).await? {
                return Ok(reply);
            }
        }
    }

    /// A URL that the server gave.
    pub(crate) fn url(&self, step: Step, text: &str) -> Result<Url, AcmeError> {
        server_url(&self.at, text).map_err(|error| protocol(step, error))
    }

    /// Where a reply says that what was made is.
    pub(crate) fn location(&self, step: Step, reply: &Reply) -> Result<Url, AcmeError> {
        let location = reply.headers.get(LOCATION).and_then(|text| text.to_str().ok());
        self.url(step, location.ok_or(protocol(step, ProtocolError::NoUrl))?)
    }

    async fn post_once(&self, signer: &dyn Signer, ask: &Ask<'_>) -> Result<Reply, Failure> {
        for refused in 0..MAX_NONCES {
            let nonce = self.take_nonce().await?;
            let body = jws::signed(signer, ask.by, &nonce, ask.url, &ask.payload);
            let mut request = request(Method::POST, ask.url, ask.accept, ask.max_reply);
            request.body = body.map_err(|_| Failure::Final(Cause::NoSignature))?;
            request
                .headers
                .push(("content-type", "application/jose+json".to_owned()));
            let reply = self.transport.send(request).await?;
            self.keep_nonce(&reply);
            match success(&self.time, reply) {
                Err(Failure::Final(Cause::Refused(problem))) if problem.is(BAD_NONCE) => {
                    tracing::trace!(refused, "a nonce was refused");
                    // Soon, for most are good; but a server that refuses them all is not flooded.
                    sleep(Duration::from_millis(u64::from(refused.min(LONGEST_NONCE_PAUSE_MS)))).await;
                }
                answered => return answered,
            }
        }
        let (why, retry_at) = (Unavailable::Nonces, None);
        Err(Failure::Final(Cause::Unavailable { why, retry_at }))
    }

    async fn take_nonce(&self) -> Result<String, Failure> {
        let kept = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(nonce) = kept {
            return Ok(nonce);
        }
        let reply = self
            .transport
            .send(request(Method::HEAD, &self.directory.new_nonce, ANY, MAX_JSON));
        let reply = success(&self.time, reply.await?)?;
        Ok(nonce_of(&reply).ok_or(ProtocolError::Nonce)?)
    }

    fn keep_nonce(&self, reply: &Reply) {
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = nonce_of(reply);
    }
}

/// What is asked with a signature.
pub(crate) struct Ask<'a> {
    pub(crate) step: Step,
    pub(crate) url: &'a Url,
    pub(crate) by: By<'a>,
    /// JSON; empty to read a resource (POST-as-GET).
    pub(crate) payload: String,
    pub(crate) accept: &'static str,
    pub(crate) max_reply: usize,
}

/// A payload: types whose names are fields have no other form.
pub(crate) fn json(payload: &impl Serialize) -> String {
    serde_json::to_string(payload).unwrap_or_default()
}

pub(crate) fn protocol(step: Step, error: ProtocolError) -> AcmeError {
    let cause = Cause::Protocol(error);
    AcmeError { step, cause }
}

fn request<'a>(method: Method, url: &'a Url, accept: &str, max_reply: usize) -> Request<'a> {
    Request {
        method,
        url,
        headers: vec![
            ("user-agent", USER_AGENT.to_owned()),
            ("accept", accept.to_owned()),
            ("accept-language", "en".to_owned()),
        ],
        body: Vec::new(),
        max_reply,
    }
}

/// A reply that is a success, or what it means that it is none.
fn success(time: &Time, reply: Reply) -> Result<Reply, Failure> {
    let status = reply.status;
    if status.is_success() {
        return Ok(reply);
    }
    if !status.is_client_error() && !status.is_server_error() {
        return Err(ProtocolError::Status(status.as_u16()).into());
    }
    let problem = Problem::read(status.as_u16(), &reply.body);
    let asked = time.retry_after(&reply);
    if problem.is(RATE_LIMITED) || status == StatusCode::TOO_MANY_REQUESTS {
        let retry_at = asked.map(|asked| time.at(asked));
        Err(Failure::Final(Cause::RateLimited { problem, retry_at }))
    } else if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        Err(Failure::Passing(Unavailable::Failed(status.as_u16()), asked))
    } else {
        Err(Failure::Final(Cause::Refused(problem)))
    }
}

/// One that is no base64url is none: it would have to be escaped.
fn nonce_of(reply: &Reply) -> Option<String> {
    let nonce = reply.headers.get(REPLAY_NONCE)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_nonce = (1..=MAX_NONCE).contains(&nonce.len()) && nonce.bytes().all(is_plain);
    is_nonce.then(|| nonce.to_owned())
}

pub(crate) const ANY: &str = "application/json";
/// An order of 100 names has 25 KiB, a failed authorisation quotes what web servers answered.
pub(crate) const MAX_JSON: usize = 65_536;
/// How many nonces a server may refuse in a row: where nine of ten are, a thousand million requests have one that fails.
pub const MAX_NONCES: u16 = 200;
/// 200 refusals take 8 seconds of pauses.
const LONGEST_NONCE_PAUSE_MS: u16 = 50;
/// Let's Encrypt's have 44 bytes.
const MAX_NONCE: usize = 512;
const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");
const USER_AGENT: &str = concat!("enclave-tls/", env!("CARGO_PKG_VERSION"));
