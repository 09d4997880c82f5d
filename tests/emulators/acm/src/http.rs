//! HTTP/1.1 between a connection and the service.

use std::convert::Infallible;
use std::sync::Arc;

use emulator_aws::Stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpStream;

use crate::acm::Acm;
use crate::error::AcmError;

/// Serves ACM on one connection, until either side ends it.
pub(crate) async fn serve_acm(acm: Arc<Acm>, connection: TcpStream) {
    let service = service_fn(|request| acm_request(&acm, request));
    // A peer that goes away is no concern of the emulator's.
    let _ = http1::Builder::new()
        .serve_connection(Stream::new(connection), service)
        .await;
}

/// Serves what tests in other processes tell and ask.
pub(crate) async fn serve_admin(acm: Arc<Acm>, connection: TcpStream) {
    let service = service_fn(|request| admin_request(&acm, request));
    let _ = http1::Builder::new()
        .serve_connection(Stream::new(connection), service)
        .await;
}

async fn acm_request(acm: &Acm, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        let body = AcmError::too_large().body().to_string();
        return Ok(response(413, body.into_bytes(), &[]));
    };
    let answer = acm.answer(&head, &body.to_bytes());
    let headers = [("x-amzn-requestid", &answer.request_id), ("date", &answer.date)];
    Ok(response(answer.status, answer.body, &headers))
}

async fn admin_request(acm: &Acm, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let collected = Limited::new(body, MAX_BODY).collect().await;
    let body = collected.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (status, body) = crate::admin::answer(acm, head.method.as_str(), head.uri.path(), &body);
    Ok(response(status, body.into_bytes(), &[]))
}

fn response(status: u16, body: Vec<u8>, headers: &[(&str, &String)]) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut built = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.1");
    for (name, value) in headers {
        built = built.header(*name, value.as_str());
    }
    built.body(Full::new(body.into())).unwrap_or_default()
}

/// Fifty tags of 128 and 256 characters, twice, escaped.
const MAX_BODY: usize = 256 * 1_024;
