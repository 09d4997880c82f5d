//! The way out of the enclave, as this crate sees it.

use std::future::Future;
use std::io;
use std::pin::Pin;

use enclave_wire::DnsName;
use tokio::io::{AsyncRead, AsyncWrite};

/// Reaches hosts through the parent. What comes back is not trusted: TLS is spoken over it.
pub trait Egress: Send + Sync {
    /// A connection to `host`. [`io::ErrorKind::PermissionDenied`] says that the parent's allow-list has not this host: it is
    /// reported at once. Any other error is tried again.
    fn connect(&self, host: &DnsName, port: u16) -> BoxFuture<io::Result<BoxIo>>;
}

/// A future of its own: it borrows nothing.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A connection.
pub type BoxIo = Box<dyn Stream>;

/// What a connection can do.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
