//! The way out: a connection of the parent's egress plane for each host. TLS ends in this service, so the parent passes bytes only.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use enclave_kms::{BoxFuture, BoxIo};
use enclave_wire::address::Address;
use enclave_wire::egress::{Answer, Connect, EgressError};
use enclave_wire::frame::{FrameError, HEADER_LEN, Header, limit};
use enclave_wire::{DnsName, Writer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use crate::transport::{Stream, dial};

/// The parent's egress plane.
#[derive(Debug, Clone)]
pub(crate) struct Egress {
    address: Address,
}

impl Egress {
    /// The plane that listens at this address.
    pub(crate) fn new(address: Address) -> Self {
        Self { address }
    }
}

impl enclave_kms::Egress for Egress {
    fn connect(&self, host: &DnsName, port: u16) -> BoxFuture<io::Result<BoxIo>> {
        let address = self.address.clone();
        let request = Connect {
            host: host.clone(),
            port,
        };
        Box::pin(async move {
            let passage = Passage(dial(&address, DIAL).await?);
            let connected = timeout(ANSWER, passage.connected(&request)).await;
            let passage = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            let passage: BoxIo = Box::new(passage);
            Ok(passage)
        })
    }
}

/// A connection of the plane.
#[derive(Debug)]
struct Passage(Stream);

impl Passage {
    /// Names the host. Not a byte beyond the parent's answer is read: what follows is the host's.
    async fn connected(mut self, request: &Connect) -> io::Result<Self> {
        let mut frame = Writer::new();
        request.write(&mut frame, REQUEST_ID);
        self.write_all(&frame.into_bytes()).await?;
        let mut header = [0; HEADER_LEN];
        self.read_exact(&mut header).await?;
        let header = Header::decode(&header, limit::EGRESS).map_err(malformed)?;
        let mut body = vec![0; header.body_len()];
        self.read_exact(&mut body).await?;
        match Answer::decode(&header, &body).map_err(malformed)? {
            Answer::Connected if header.request_id == REQUEST_ID => Ok(self),
            Answer::Connected => Err(io::ErrorKind::InvalidData.into()),
            Answer::Refused(EgressError::NotAllowed) => Err(io::ErrorKind::PermissionDenied.into()),
            Answer::Refused(EgressError::Malformed) => Err(io::ErrorKind::InvalidData.into()),
            Answer::Refused(EgressError::Unreachable) => Err(io::ErrorKind::HostUnreachable.into()),
            Answer::Refused(EgressError::Busy) => Err(io::ErrorKind::ResourceBusy.into()),
        }
    }
}

impl AsyncRead for Passage {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = ready!(self.0.poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Passage {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown())
    }
}

fn malformed(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The one request of a connection.
const REQUEST_ID: u64 = 1;
/// The parent's own socket: it is there or it is not.
const DIAL: Duration = Duration::from_secs(1);
/// The parent looks the host up and connects to it. Whoever calls has a deadline of its own.
const ANSWER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::thread::JoinHandle;

    use enclave_kms::Egress as _;
    use enclave_wire::frame::encode_with;

    use super::*;

    /// A parent that answers one connection with these bytes, and gives what it was sent until the service had said all.
    fn parent(test: &str, answer: Vec<u8>) -> (Egress, JoinHandle<Vec<u8>>) {
        let name = format!("enclave-tls-egress-{}-{test}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let heard = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).unwrap();
            stream.write_all(&answer).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut rest = first.to_vec();
            // A service that found the answer wrong closes with bytes unread: no end of stream.
            let _ = stream.read_to_end(&mut rest);
            rest
        });
        (Egress::new(format!("unix:@{name}").parse().unwrap()), heard)
    }

    fn frame(answer: Answer, request_id: u64) -> Vec<u8> {
        let mut writer = Writer::new();
        answer.write(&mut writer, request_id);
        writer.into_bytes()
    }

    fn host() -> DnsName {
        "kms.us-east-1.amazonaws.com".parse().unwrap()
    }

    /// Not a byte of the host's is lost, even where it comes with the answer.
    #[tokio::test]
    async fn what_follows_the_answer_is_the_hosts() {
        let answer = [frame(Answer::Connected, 1), b"the host speaks".to_vec()].concat();
        let (egress, heard) = parent("host", answer);
        let mut stream = egress.connect(&host(), 443).await.unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"the host speaks");
        stream.write_all(b"and is spoken to").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut expected = Writer::new();
        let request = Connect {
            host: host(),
            port: 443,
        };
        request.write(&mut expected, 1);
        let expected = [expected.into_bytes(), b"and is spoken to".to_vec()].concat();
        assert_eq!(heard.join().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        for (error, kind) in [
            (EgressError::NotAllowed, io::ErrorKind::PermissionDenied),
            (EgressError::Malformed, io::ErrorKind::InvalidData),
            (EgressError::Unreachable, io::ErrorKind::HostUnreachable),
            (EgressError::Busy, io::ErrorKind::ResourceBusy),
        ] {
            let (egress, heard) = parent(&format!("{error:?}"), frame(Answer::Refused(error), 1));
            let refused = egress.connect(&host(), 443).await.map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), kind, "{error:?}");
            heard.join().unwrap();
        }
    }

    /// threat_05 and others: a parent that answers anything else is not believed.
    #[tokio::test]
    async fn what_is_no_answer_is_refused() {
        let long = encode_with(0x81, 1, |writer| writer.put(&[0; 600])).into_bytes();
        for (test, answer, kind) in [
            ("id", frame(Answer::Connected, 2), io::ErrorKind::InvalidData),
            (
                "body",
                encode_with(0x81, 1, |w| w.put(b"x")).into_bytes(),
                io::ErrorKind::InvalidData,
            ),
            (
                "operation",
                encode_with(0x82, 1, |_| ()).into_bytes(),
                io::ErrorKind::InvalidData,
            ),
            ("length", long, io::ErrorKind::InvalidData),
            (
                "end",
                frame(Answer::Connected, 1)[..9].to_vec(),
                io::ErrorKind::UnexpectedEof,
            ),
        ] {
            let (egress, heard) = parent(test, answer);
            let refused = egress.connect(&host(), 443).await.map(|_| ()).unwrap_err();
            assert_eq!(refused.kind(), kind, "{test}");
            heard.join().unwrap();
        }
        let nobody = Egress::new("unix:@enclave-tls-egress-nobody".parse().unwrap());
        assert!(nobody.connect(&host(), 443).await.is_err());
    }
}
