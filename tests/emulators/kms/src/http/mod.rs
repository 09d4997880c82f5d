//! HTTP/1.1 between a connection and the service.

mod body;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use emulator_aws::Stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use body::ReplyBody;

use crate::error::{Kind, KmsError};
use crate::faults::Close;
use crate::kms::{Answer, Kms};

/// Serves KMS on one connection, until either side ends it.
pub(crate) async fn serve_kms(kms: Arc<Kms>, connection: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| kms_request(&kms, request));
    // A peer that goes away is no concern of the emulator's.
    let _ = http1::Builder::new()
        .serve_connection(Stream::new(connection), service)
        .await;
}

/// Serves the switches and counters on one connection.
pub(crate) async fn serve_admin(kms: Arc<Kms>, connection: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(|request| admin_request(&kms, request));
    let _ = http1::Builder::new()
        .serve_connection(Stream::new(connection), service)
        .await;
}

/// No answer at all: hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("closed by a fault")]
struct Closed;

async fn kms_request(kms: &Kms, request: Request<Incoming>) -> Result<Response<ReplyBody>, Closed> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return too_long(error.as_ref()),
    };
    let answer = kms.answer(&head, &body);
    tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
    match answer.close {
        Some(Close::BeforeReply) => Err(Closed),
        Some(Close::MidReply) => Ok(response(answer, ReplyBody::cut)),
        None => Ok(response(answer, ReplyBody::whole)),
    }
}

fn too_long(error: &(dyn std::error::Error + 'static)) -> Result<Response<ReplyBody>, Closed> {
    if !error.is::<LengthLimitError>() {
        return Err(Closed);
    }
    let error = KmsError::new(Kind::RequestEntityTooLarge, "");
    let mut response = Response::new(ReplyBody::whole(error.body().to_string().into_bytes()));
    *response.status_mut() = hyper::StatusCode::PAYLOAD_TOO_LARGE;
    Ok(response)
}

fn response(answer: Answer, body: fn(Vec<u8>) -> ReplyBody) -> Response<ReplyBody> {
    let built = Response::builder()
        .status(answer.status)
        .header("content-type", answer.content_type)
        .header("x-amzn-requestid", answer.request_id)
        .header("date", answer.date)
        .header("cache-control", "no-cache, no-store, must-revalidate, private")
        .body(body(answer.body));
    built.unwrap_or_default()
}

async fn admin_request(kms: &Kms, request: Request<Incoming>) -> Result<Response<ReplyBody>, Infallible> {
    let (head, body) = request.into_parts();
    let collected = Limited::new(body, MAX_BODY).collect().await;
    let body = collected.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (status, body) = crate::admin::answer(kms, head.method.as_str(), head.uri.path(), &body);
    let built = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(ReplyBody::whole(body.into_bytes()));
    Ok(built.unwrap_or_default())
}

/// A request carries at most a ciphertext of 6 KiB and a document of 16 KiB, or a policy of 32 KiB, in base64 or escaped.
const MAX_BODY: usize = 256 * 1_024;
