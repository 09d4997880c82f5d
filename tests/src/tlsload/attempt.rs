//! One connection: connect, handshake, perhaps a request.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use rustls::client::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, Error, Stream};

use super::Digest;
use super::report::FailureKind;

/// What a connection needs.
pub(super) struct Attempt<'a> {
    pub(super) address: SocketAddr,
    pub(super) name: &'a ServerName<'static>,
    pub(super) config: &'a Arc<ClientConfig>,
    pub(super) spki: &'a [Digest],
    pub(super) http: Option<&'a str>,
    pub(super) deadline: Instant,
}

/// What a connection that went well tells.
#[derive(Debug)]
pub(super) struct Success {
    /// From the first SYN to the end of the handshake.
    pub(super) took: Duration,
    pub(super) spki: Digest,
    /// What `X-Worker:` said.
    pub(super) worker: Option<String>,
}

/// How a connection failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

impl Attempt<'_> {
    pub(super) fn make(&self) -> Result<Success, Failed> {
        let began = Instant::now();
        let timeout = self
            .deadline
            .saturating_duration_since(began)
            .max(Duration::from_millis(1));
        let stream = TcpStream::connect_timeout(&self.address, timeout)?;
        stream.set_nodelay(true)?;
        let mut stream = Timed {
            stream,
            deadline: self.deadline,
        };
        let mut tls = ClientConnection::new(self.config.clone(), self.name.clone())?;
        match self.talk(began, &mut tls, &mut stream) {
            Err(failed) if failed.kind == FailureKind::Reset => Err(said_before(failed, &mut tls, &mut stream)),
            result => result,
        }
    }

    fn talk(&self, began: Instant, tls: &mut ClientConnection, stream: &mut Timed) -> Result<Success, Failed> {
        while tls.is_handshaking() {
            tls.complete_io(stream)?;
        }
        let took = began.elapsed();
        let spki = self.check_key(tls)?;
        let worker = match self.http {
            Some(path) => self.get(path, tls, stream)?,
            None => None,
        };
        tls.send_close_notify();
        // The handshake is over and counted; a server that has gone by now did nothing wrong.
        let _ = tls.complete_io(stream);
        Ok(Success { took, spki, worker })
    }

    /// The digest of the server's public key, if it is one of those that may be served.
    fn check_key(&self, tls: &ClientConnection) -> Result<Digest, Failed> {
        let leaf = tls
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or(Error::NoCertificatesPresented)?;
        let spki = ParsedCertificate::try_from(leaf)?.subject_public_key_info();
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, &spki).as_ref());
        if !self.spki.is_empty() && !self.spki.contains(&digest) {
            return Err(Failed {
                kind: FailureKind::WrongKey,
                text: hex::encode(digest),
            });
        }
        Ok(digest)
    }

    /// GETs the path and returns the worker that the answer names.
    fn get(&self, path: &str, tls: &mut ClientConnection, stream: &mut Timed) -> Result<Option<String>, Failed> {
        let host = self.name.to_str();
        let mut tls = Stream::new(tls, stream);
        // One record: a server may answer and close after the first.
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        tls.write_all(request.as_bytes())?;
        tls.flush()?;
        let mut answer = Vec::new();
        match tls.take(MAX_ANSWER).read_to_end(&mut answer) {
            Ok(_) => {}
            // A server that closes without close_notify may still have said everything: its length tells.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error.into()),
        }
        parse_answer(&String::from_utf8_lossy(&answer)).map_err(|text| Failed {
            kind: FailureKind::Http,
            text,
        })
    }
}

/// The alert that a server sent before it reset the connection, which we learn of while we write; else the reset.
fn said_before(reset: Failed, tls: &mut ClientConnection, stream: &mut Timed) -> Failed {
    while matches!(tls.read_tls(stream), Ok(1..)) {
        if let Err(error) = tls.process_new_packets() {
            return error.into();
        }
    }
    reset
}

/// The worker that a complete answer with a good status names.
fn parse_answer(answer: &str) -> Result<Option<String>, String> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("no answer in {:?}", first_line(answer)))?;
    let length = field(head, "content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    if body.len() < length {
        return Err(format!("{} of {length} bytes", body.len()));
    }
    let status = head.split(' ').nth(1).unwrap_or_default();
    if !status.starts_with('2') {
        return Err(first_line(head).to_owned());
    }
    Ok(field(head, "x-worker")
        .or_else(|| field(body, "x-worker"))
        .map(str::to_owned))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let kind = match (tls, error.kind()) {
            (Some(tls), _) => kind_of(tls),
            (None, ErrorKind::ConnectionRefused) => FailureKind::Refused,
            (None, ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe) => {
                FailureKind::Reset
            }
            (None, ErrorKind::UnexpectedEof) => FailureKind::Closed,
            (None, ErrorKind::TimedOut | ErrorKind::WouldBlock) => FailureKind::Timeout,
            (None, _) => FailureKind::Io,
        };
        Self {
            kind,
            text: error.to_string(),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self {
            kind: kind_of(&error),
            text: error.to_string(),
        }
    }
}

fn kind_of(error: &Error) -> FailureKind {
    match error {
        Error::AlertReceived(_) => FailureKind::Alert,
        Error::InvalidCertificate(_) => FailureKind::Verify,
        _ => FailureKind::Protocol,
    }
}

/// A stream on which everything together takes no longer than until the deadline.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(ErrorKind::TimedOut.into())
        } else {
            Ok(Some(left))
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// An answer is a few hundred bytes; a server that sends without end must not fill our memory.
const MAX_ANSWER: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let ok = |text: &str| parse_answer(text).unwrap();
        assert_eq!(ok("HTTP/1.1 200 OK\r\nx-worker: 7\r\n\r\n").as_deref(), Some("7"));
        assert_eq!(
            ok("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nX-Worker: 8").as_deref(),
            Some("8")
        );
        assert_eq!(ok("HTTP/1.1 204 No Content\r\n\r\n"), None);
        assert_eq!(
            parse_answer("HTTP/1.1 502 Bad Gateway\r\n\r\n"),
            Err("HTTP/1.1 502 Bad Gateway".to_owned())
        );
        assert_eq!(
            parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
            Err("5 of 9 bytes".to_owned())
        );
        assert!(parse_answer("").is_err());
    }

    #[test]
    fn kinds_of_errors() {
        let kind = |error: io::Error| Failed::from(error).kind;
        assert_eq!(kind(ErrorKind::ConnectionRefused.into()), FailureKind::Refused);
        assert_eq!(kind(ErrorKind::WouldBlock.into()), FailureKind::Timeout);
        let alert = Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        assert_eq!(kind(io::Error::new(ErrorKind::InvalidData, alert)), FailureKind::Alert);
        assert_eq!(kind(io::Error::other("x")), FailureKind::Io);
    }
}
