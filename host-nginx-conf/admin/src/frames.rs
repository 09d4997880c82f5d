//! Frames over blocking sockets, with a deadline on every one.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use enclave_wire::Writer;
use enclave_wire::frame::{FrameError, HEADER_LEN, Header};
use zeroize::Zeroizing;

use crate::deadline::Deadline;

/// A socket that can be told how long to wait.
pub trait Socket: Read + io::Write {
    fn read_within(&self, time: Duration) -> io::Result<()>;
    fn write_within(&self, time: Duration) -> io::Result<()>;
}

impl Socket for UnixStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn write_within(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

impl Socket for TcpStream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn write_within(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

/// A frame as it came. Its body is wiped, since it may carry a private key.
pub struct Frame {
    pub header: Header,
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no frame.
#[derive(Debug)]
pub enum ReadError {
    /// The peer said nothing for as long as it may.
    Idle,
    /// The peer closed between two frames.
    Closed,
    /// The peer began a frame and did not end it in time.
    Stalled,
    /// The peer does not speak this protocol.
    Protocol(FrameError),
    /// The socket failed, or closed inside a frame.
    Io(io::Error),
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Idle => f.write_str("nothing came within the time it may take"),
            Self::Closed => f.write_str("the peer closed the connection"),
            Self::Stalled => f.write_str("a frame began and did not end in time"),
            Self::Protocol(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<FrameError> for ReadError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads one frame whose length field is at most `limit`, and which begins within `idle`.
pub fn read(socket: &mut impl Socket, limit: usize, idle: Duration) -> Result<Frame, ReadError> {
    read_timed(socket, limit, idle, WHOLE_FRAME)
}

/// The same; once begun, it must be whole within `whole`.
pub fn read_timed(socket: &mut impl Socket, limit: usize, idle: Duration, whole: Duration) -> Result<Frame, ReadError> {
    let mut bytes = [0; HEADER_LEN];
    let (first, rest) = bytes.split_at_mut(1);
    fill(socket, first, Deadline::after(idle)).map_err(|error| match error {
        ReadError::Stalled => ReadError::Idle,
        ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => ReadError::Closed,
        other @ (ReadError::Idle | ReadError::Closed | ReadError::Protocol(_) | ReadError::Io(_)) => other,
    })?;
    let deadline = Deadline::after(whole);
    fill(socket, rest, deadline)?;
    let header = Header::decode(&bytes, limit)?;
    let mut body = Zeroizing::new(vec![0; header.body_len()]);
    fill(socket, &mut body, deadline)?;
    Ok(Frame { header, body })
}

/// Reads one frame that must be whole by `deadline`.
pub fn read_by(socket: &mut impl Socket, limit: usize, deadline: Deadline) -> Result<Frame, ReadError> {
    let mut bytes = [0; HEADER_LEN];
    fill(socket, &mut bytes, deadline)?;
    let header = Header::decode(&bytes, limit)?;
    let mut body = Zeroizing::new(vec![0; header.body_len()]);
    fill(socket, &mut body, deadline)?;
    Ok(Frame { header, body })
}

/// Writes what `writer` holds, and wipes it.
pub fn send(socket: &mut impl Socket, writer: Writer) -> io::Result<()> {
    socket.write_within(WHOLE_FRAME)?;
    socket.write_all(&Zeroizing::new(writer.into_bytes()))
}

fn fill(socket: &mut impl Socket, mut rest: &mut [u8], deadline: Deadline) -> Result<(), ReadError> {
    while !rest.is_empty() {
        socket.read_within(deadline.left().ok_or(ReadError::Stalled)?)?;
        match socket.read(rest) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
            Err(error) if is_pause(error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_pause(kind: io::ErrorKind) -> bool {
    [
        io::ErrorKind::WouldBlock,
        io::ErrorKind::TimedOut,
        io::ErrorKind::Interrupted,
    ]
    .contains(&kind)
}

/// A frame is at most 128 KiB and its peer is on the same machine.
const WHOLE_FRAME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use enclave_wire::frame::{encode_with, limit};
    use std::io::Write;

    const SOON: Duration = Duration::from_millis(50);

    #[test]
    fn frames_arrive_as_they_were_sent_and_then_the_end() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        send(&mut there, encode_with(3, 4, |body| body.put(b"abc"))).unwrap();
        drop(there);
        let frame = read(&mut here, limit::CONTROL, SOON).ok().unwrap();
        assert_eq!((frame.header.operation, frame.header.request_id), (3, 4));
        assert_eq!(frame.body.as_slice(), b"abc");
        assert!(matches!(read(&mut here, limit::CONTROL, SOON), Err(ReadError::Closed)));
    }

    #[test]
    fn silence_a_cut_and_a_length_above_the_limit_are_told_apart() {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        assert!(matches!(read(&mut here, limit::CONTROL, SOON), Err(ReadError::Idle)));
        there.write_all(&[0, 0, 0, 11, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(matches!(
            read(&mut here, 10, SOON),
            Err(ReadError::Protocol(FrameError::Length))
        ));
        there.write_all(&[0, 0]).unwrap();
        drop(there);
        assert!(matches!(read(&mut here, limit::CONTROL, SOON), Err(ReadError::Io(_))));
    }
}
