//! Whether the signing plane answers: a connection that says nothing that needs a credential.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use enclave_wire::Writer;
use enclave_wire::address::Address;
use enclave_wire::signing::Request;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use vsock::VsockStream;

/// Whether anybody answers there within a second. Any answer will do: a service that is stalled gives none.
pub(crate) fn answers(signing: &Address) -> bool {
    ask(signing).is_ok()
}

fn ask(signing: &Address) -> std::io::Result<()> {
    let mut writer = Writer::new();
    Request::Ping.write(&mut writer, 1);
    let frame = writer.into_bytes();
    let mut first = [0];
    match signing {
        Address::UnixPath(path) => unix(&SocketAddrUnix::new(path.as_str())?, &frame, &mut first),
        Address::UnixAbstract(name) => unix(&SocketAddrUnix::new_abstract_name(name.as_bytes())?, &frame, &mut first),
        Address::Vsock { cid, port } => {
            // Refused at once where nobody listens; a guest that is stalled takes vsock's own two seconds.
            let mut stream = VsockStream::connect_with_cid_port(cid.unwrap_or(0), *port)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.set_write_timeout(Some(WITHIN))?;
            stream.write_all(&frame)?;
            stream.read_exact(&mut first)
        }
    }
}

/// The deadline comes before the connection: where the backlog is full, nobody takes any.
fn unix(address: &SocketAddrUnix, frame: &[u8], first: &mut [u8]) -> std::io::Result<()> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for direction in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, direction, Some(WITHIN))?;
    }
    connect(&socket, address)?;
    let mut stream = UnixStream::from(socket);
    stream.write_all(frame)?;
    stream.read_exact(first)
}

const WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;
    use crate::clock::tests::Directory;

    #[test]
    fn threat_04_a_service_that_takes_no_connection_is_silent_within_seconds() {
        let directory = Directory::new();
        let path = directory.path().join("s");
        assert!(
            !answers(&Address::UnixPath(path.to_str().unwrap().to_owned())),
            "nobody is there"
        );
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let began = Instant::now();
        let _waiting: Vec<_> = (0..1).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert!(
            !answers(&Address::UnixPath(path.to_str().unwrap().to_owned())),
            "its backlog is full"
        );
        assert!(began.elapsed() < Duration::from_secs(20));
        drop(listener);

        let path = directory.path().join("t");
        let listener = UnixListener::bind(&path).unwrap();
        let served = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"x"));
        assert!(answers(&Address::UnixPath(path.to_str().unwrap().to_owned())));
        served.join().unwrap().unwrap();
    }
}
