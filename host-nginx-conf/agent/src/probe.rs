//! Whether the signing plane answers: a connection that says nothing that needs a credential.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use enclave_wire::Writer;
use enclave_wire::address::Address;
use enclave_wire::signing::Request;
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
        Address::UnixPath(path) => unix(UnixStream::connect(path)?, &frame, &mut first),
        Address::UnixAbstract(name) => {
            let address = SocketAddr::from_abstract_name(name.as_bytes())?;
            unix(UnixStream::connect_addr(&address)?, &frame, &mut first)
        }
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

fn unix(mut stream: UnixStream, frame: &[u8], first: &mut [u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(frame)?;
    stream.read_exact(first)
}

const WITHIN: Duration = Duration::from_secs(1);
