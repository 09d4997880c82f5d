//! One connection: a line in, a line out.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use enclave_tls_apply::{MAX_REQUEST, Reply, Request};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::listen::ARRIVAL;
use crate::log;

/// Reads a request, has it answered, and writes the reply.
pub(crate) fn exchange(
    mut connection: UnixStream,
    admit: impl Fn(&UnixStream) -> Result<(), Failure>,
    answer: impl Fn(Request) -> Reply,
) {
    let request = admit(&connection).and_then(|()| request(&mut connection));
    let reply = match request {
        Ok(Some(request)) => answer(request),
        // Somebody looked whether anybody listens.
        Ok(None) => return,
        Err(failure) => {
            log(&failure);
            Reply::Refused(failure.refusal())
        }
    };
    if let Err(error) = write(&mut connection, &reply) {
        log(&format_args!("the answer was not taken: {error}"));
    }
}

fn request(connection: &mut UnixStream) -> Result<Option<Request>, Failure> {
    let line = read(connection).map_err(Failure::Arrival)?;
    if line.is_empty() {
        return Ok(None);
    }
    let request = line
        .strip_suffix(b"\n")
        .ok_or_else(|| Failure::Arrival(io::ErrorKind::UnexpectedEof.into()))?;
    serde_json::from_slice(request).map(Some).map_err(Failure::Form)
}

/// Reads to the first line feed, which must be the last byte.
fn read(connection: &mut UnixStream) -> io::Result<Zeroizing<Vec<u8>>> {
    let until = Instant::now().checked_add(ARRIVAL);
    let mut line = Zeroizing::new(Vec::with_capacity(CHUNK));
    // Wiped, as it may have held a credential.
    let mut chunk = Zeroizing::new([0; CHUNK]);
    while line.last() != Some(&b'\n') {
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        connection.set_read_timeout(Some(left))?;
        let count = match connection.read(chunk.as_mut_slice()) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        };
        let new = chunk.get(..count).unwrap_or_default();
        if new.split_last().is_some_and(|(_, before)| before.contains(&b'\n')) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more than one line came"));
        }
        if line.len().saturating_add(count) > MAX_REQUEST.saturating_add(1) {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {MAX_REQUEST} bytes"),
            ));
        }
        grow(&mut line, count);
        line.extend_from_slice(new);
    }
    Ok(line)
}

/// Makes room, and wipes the old room: a vector that grows by itself leaves it as it was.
fn grow(line: &mut Zeroizing<Vec<u8>>, more: usize) {
    if line.capacity().saturating_sub(line.len()) < more {
        let room = line.capacity().saturating_mul(2).max(line.len().saturating_add(more));
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(line);
        *line = larger;
    }
}

fn write(connection: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    connection.set_write_timeout(Some(ARRIVAL))?;
    connection.write_all(&line)
}

/// A credential's request fits.
const CHUNK: usize = 4_096;
