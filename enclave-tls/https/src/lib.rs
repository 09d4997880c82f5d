//! HTTPS from inside an enclave.
//!
//! The parent passes the bytes of [`Egress`], and nothing that comes from there is believed: TLS ends here, under roots that the
//! caller names and no other, at the host of the [`Url`], by the enclave's own clock. Every part of a reply has a bound.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod client;
pub mod date;
mod egress;
mod io;
mod message;
mod pause;
mod url;

pub use client::{Clock, Https, Limits, RootsError, Session};
pub use egress::{BoxFuture, BoxIo, Egress, Stream};
pub use message::{HttpError, Reply, Request};
pub use pause::Pauses;
pub use url::{MAX_URL, Url, UrlError};

/// The types of requests and replies.
pub use hyper::{HeaderMap, Method, StatusCode, header};
