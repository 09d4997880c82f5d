//! From a request to a reply: the server's, or a refusal.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use emulator_aws::Stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::judge::{Order, refusal};
use crate::observed::{Observed, account};
use crate::upstream::Upstream;
use crate::zone::Zone;

/// All that the proxy knows.
pub(crate) struct Proxy {
    pub(crate) upstream: Upstream,
    /// The CA's domain in CAA records.
    pub(crate) issuer: String,
    pub(crate) zone: Mutex<Zone>,
    pub(crate) observed: Mutex<Observed>,
    /// Why orders were refused, in turn.
    pub(crate) refusals: Mutex<Vec<String>>,
}

/// Serves one connection, until either side ends it.
pub(crate) async fn serve(proxy: Arc<Proxy>, connection: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| proxy.answer(request));
    // A peer that goes away is no concern of the proxy's.
    let _ = http1::Builder::new()
        .serve_connection(Stream::new(connection), service)
        .await;
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else {
            return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "too long"));
        };
        let (body, path) = (body.to_bytes(), head.uri.path().to_owned());
        if let Some(why) = self.refusal(&path, &body) {
            return Ok(self.refused(&head.headers, why).await);
        }
        locked(&self.observed).request(head.method.as_str(), &path);
        match self.upstream.ask(head, body).await {
            Ok(reply) => {
                locked(&self.observed).reply(&path, reply.body());
                Ok(reply.map(Full::new))
            }
            Err(error) => Ok(plain(StatusCode::BAD_GATEWAY, &error.to_string())),
        }
    }

    /// Why an order may not be finalised. Who does not say whose account it is, the server refuses itself.
    fn refusal(&self, path: &str, body: &[u8]) -> Option<String> {
        let names = locked(&self.observed).finalized(path)?;
        let account = account(body)?;
        let zone = locked(&self.zone);
        names.iter().find_map(|proven| {
            let order = Order {
                account: &account,
                method: proven.method.as_deref(),
            };
            refusal(&zone, &self.issuer, &proven.name, &order)
        })
    }

    /// A problem document as RFC 8555, section 6.7 has it, with a nonce, as every reply to a POST has one.
    async fn refused(&self, headers: &hyper::HeaderMap, why: String) -> Response<Full<Bytes>> {
        let problem = serde_json::json!({
            "type": "urn:ietf:params:acme:error:caa", "detail": why, "status": StatusCode::FORBIDDEN.as_u16(),
        });
        locked(&self.refusals).push(why);
        let mut response = Response::builder()
            .status(StatusCode::FORBIDDEN)
            .header("content-type", "application/problem+json")
            .header("cache-control", "no-store");
        if let Some(nonce) = self.nonce(headers).await {
            response = response.header("replay-nonce", nonce);
        }
        response.body(Full::new(problem.to_string().into())).unwrap_or_default()
    }

    async fn nonce(&self, headers: &hyper::HeaderMap) -> Option<hyper::header::HeaderValue> {
        let path = locked(&self.observed).new_nonce.clone()?;
        let mut request = Request::builder().method(Method::HEAD).uri(path);
        request = request
            .header("host", headers.get("host")?)
            .header("user-agent", "emulator-caa");
        let (head, ()) = request.body(()).ok()?.into_parts();
        let reply = self.upstream.ask(head, Bytes::new()).await.ok()?;
        reply.headers().get("replay-nonce").cloned()
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}

/// A request carries a certificate request at most, or a certificate to revoke.
const MAX_REQUEST: usize = 256 * 1_024;
