//! Nitro's heartbeat: how `nitro-cli run-enclave` learns that the enclave has started.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use enclave_wire::address::Address;
use socket2::{Domain, Socket, Type};

use crate::logs::link::socket_address;

/// Sends the byte and takes it back. A machine that is no Nitro enclave may have nobody there: that is no reason to end.
pub(crate) fn beat(address: &Address) -> io::Result<()> {
    let address = socket_address(address)?;
    let mut socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
    socket.connect_timeout(&address, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(&[BEAT])?;
    let mut back = [0];
    socket.read_exact(&mut back)?;
    if back == [BEAT] {
        Ok(())
    } else {
        Err(io::Error::other("another byte came back"))
    }
}

const BEAT: u8 = 0xb7;
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answer_with(byte: u8, test: &str) -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("enclave-init-beat-{}-{test}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let parent = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = [0];
            stream.read_exact(&mut got).unwrap();
            stream.write_all(&[byte]).unwrap();
            got
        });
        let ended = beat(&Address::UnixPath(path.to_str().unwrap().to_owned()));
        assert_eq!(parent.join().unwrap(), [0xb7]);
        std::fs::remove_file(path).unwrap();
        ended
    }

    #[test]
    fn the_byte_comes_back() {
        answer_with(0xb7, "same").unwrap();
        assert_eq!(
            answer_with(0xb8, "other").unwrap_err().to_string(),
            "another byte came back"
        );
    }

    #[test]
    fn nobody_there_is_an_error_at_once() {
        assert!(beat(&Address::UnixPath("/nowhere".to_owned())).is_err());
    }
}
