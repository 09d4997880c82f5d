//! Bytes both ways, until both ends have ended or nothing comes any more.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::meter::Counts;
use crate::Shared;
use crate::sockets::Stream;
use enclave_tls_admin::frames::Socket;

/// Sends the host what the enclave said already, and then passes on what either says.
pub(crate) fn carry(enclave: &mut Stream, host: &mut TcpStream, hello: &[u8], counts: &Counts) {
    if carry_all(enclave, host, hello, counts).is_err() {
        cut(enclave, host);
    }
}

fn carry_all(enclave: &mut Stream, host: &mut TcpStream, hello: &[u8], counts: &Counts) -> io::Result<()> {
    let (mut from_enclave, mut to_enclave) = (enclave.try_clone()?, enclave.try_clone()?);
    let (mut from_host, mut to_host) = (host.try_clone()?, host.try_clone()?);
    to_host.write_within(IDLE)?;
    to_enclave.write_within(IDLE)?;
    send(&mut to_host, hello, &counts.up)?;
    let last = Shared::new(Instant::now());
    let ends = (&*enclave, &*host);
    std::thread::scope(|scope| {
        let down = std::thread::Builder::new().spawn_scoped(scope, || {
            pump(&mut from_host, &mut to_enclave, &counts.down, &last).unwrap_or_else(|_| cut(ends.0, ends.1));
        })?;
        pump(&mut from_enclave, &mut to_host, &counts.up, &last).unwrap_or_else(|_| cut(ends.0, ends.1));
        down.join().map_err(|_| io::ErrorKind::Other.into())
    })
}

/// One direction. Its end is passed on, and the other direction lives on.
fn pump(from: &mut impl End, to: &mut impl End, count: &AtomicU64, last: &Shared<Instant>) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        let Some(quiet) = IDLE.checked_sub(last.lock().elapsed()).filter(|left| !left.is_zero()) else {
            return Err(io::ErrorKind::TimedOut.into());
        };
        from.read_within(quiet)?;
        match from.read(&mut chunk) {
            Ok(0) => return to.shut(Shutdown::Write),
            Ok(read) => {
                send(to, chunk.get(..read).unwrap_or_default(), count)?;
                *last.lock() = Instant::now();
            }
            // The other direction may have been busy.
            Err(error) if is_pause(error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
}

fn send(to: &mut impl End, bytes: &[u8], count: &AtomicU64) -> io::Result<()> {
    to.write_all(bytes)?;
    Counts::add(count, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    Ok(())
}

/// Ends both connections; whoever reads from one learns it.
fn cut(enclave: &Stream, host: &TcpStream) {
    enclave.end();
    drop(host.shutdown(Shutdown::Both)); // It may have ended already.
}

/// A connection whose directions end one by one.
trait End: Socket {
    fn shut(&self, how: Shutdown) -> io::Result<()>;
}

impl End for Stream {
    fn shut(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

impl End for TcpStream {
    fn shut(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

fn is_pause(kind: io::ErrorKind) -> bool {
    [
        io::ErrorKind::WouldBlock,
        io::ErrorKind::TimedOut,
        io::ErrorKind::Interrupted,
    ]
    .contains(&kind)
}

/// How long neither end may say anything, and how long one may leave what the other says unread.
const IDLE: Duration = Duration::from_secs(60);
/// A TLS record is about as long.
const CHUNK: usize = 16_384;
