//! What the enclave must begin with: a ClientHello for the host that it asked for.

use std::io;

use enclave_wire::DnsName;
use rustls::server::Acceptor;

use enclave_tls_admin::deadline::Deadline;
use enclave_tls_admin::frames::Socket;

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No ClientHello, or not in time.
    NotTls,
    /// One for another name, or for none.
    OtherName,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotTls => "it did not begin with a ClientHello",
            Self::OtherName => "its ClientHello is for another name",
        })
    }
}

/// Reads until the ClientHello is whole, and gives back all that was read: it is for the host.
pub(crate) fn read(stream: &mut impl Socket, host: &DnsName, deadline: Deadline) -> Result<Vec<u8>, Refused> {
    let mut acceptor = Acceptor::default();
    let mut seen = Vec::with_capacity(CHUNK);
    while seen.len() < MAX_HELLO {
        let mut chunk = [0; CHUNK];
        let count = some(stream, &mut chunk, deadline).map_err(|_| Refused::NotTls)?;
        let mut new = chunk
            .get(..count)
            .filter(|new| !new.is_empty())
            .ok_or(Refused::NotTls)?;
        seen.extend_from_slice(new);
        while !new.is_empty() {
            // It takes a part of the bytes at a time.
            let taken = acceptor.read_tls(&mut new).map_err(|_| Refused::NotTls)?;
            if let Some(accepted) = acceptor.accept().map_err(|_| Refused::NotTls)? {
                return match accepted.client_hello().server_name() {
                    Some(name) if name == host.as_str() => Ok(seen),
                    _ => Err(Refused::OtherName),
                };
            }
            if taken == 0 {
                return Err(Refused::NotTls);
            }
        }
    }
    Err(Refused::NotTls)
}

fn some(stream: &mut impl Socket, chunk: &mut [u8], deadline: Deadline) -> io::Result<usize> {
    loop {
        let left = deadline.left().ok_or(io::ErrorKind::TimedOut)?;
        stream.read_within(left)?;
        match stream.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

const CHUNK: usize = 4_096;
/// One with a key share of ML-KEM has 2 KiB.
const MAX_HELLO: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ClientConfig;
    use rustls::ClientConnection;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    fn hello(name: &str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut bytes = Vec::new();
        ClientConnection::new(Arc::new(config), name)
            .unwrap()
            .write_tls(&mut bytes)
            .unwrap();
        bytes
    }

    fn read_from(bytes: &[u8], step: usize) -> Result<Vec<u8>, Refused> {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        let pieces: Vec<_> = bytes.chunks(step).map(<[u8]>::to_vec).collect();
        let writing = std::thread::spawn(move || {
            for piece in pieces {
                if there.write_all(&piece).is_err() {
                    return;
                }
            }
        });
        let read = read(
            &mut here,
            &"kms.example".parse().unwrap(),
            Deadline::after(Duration::from_secs(5)),
        );
        drop(here);
        writing.join().unwrap();
        read
    }

    #[test]
    fn a_client_hello_for_the_host_passes_whole_however_it_is_cut() {
        let hello = hello("kms.example");
        for step in [1, 7, 4_096] {
            assert_eq!(read_from(&hello, step), Ok(hello.clone()));
        }
    }

    #[test]
    fn another_name_and_no_name_are_refused() {
        for name in ["s3.example", "kms.example.evil", "192.0.2.1"] {
            assert_eq!(read_from(&hello(name), 4_096), Err(Refused::OtherName), "{name}");
        }
    }

    #[test]
    fn what_is_no_client_hello_is_refused() {
        let mut alert = hello("kms.example");
        alert[5] = 2; // a ServerHello
        let endless = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 20_000]].concat();
        for bytes in [&b"GET /latest/meta-data/ HTTP/1.1\r\n\r\n"[..], &[], &alert, &endless] {
            assert_eq!(read_from(bytes, 4_096), Err(Refused::NotTls));
        }
    }
}
