//! A connected socket of either kind, as the runtime waits for it.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connection that was accepted, and that no runtime waits for yet.
#[derive(Debug)]
pub struct Accepted(pub(super) OwnedFd);

impl Accepted {
    /// Hands it to the tokio runtime that this is called in.
    pub fn into_stream(self) -> io::Result<Stream> {
        Stream::new(self.0)
    }

    /// Sends a last word, and closes. A peer that is gone misses it.
    pub fn refuse(self, word: &[u8]) {
        let _ = rustix::net::send(&self.0, word, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// A connection of any plane.
///
/// The runtime's own streams wait for a socket to become writable all the time: each time the peer reads a reply the kernel wakes
/// the service for nothing. This one waits for bytes to read, and for room to write only where there was none.
#[derive(Debug)]
pub struct Stream {
    socket: AsyncFd<OwnedFd>,
    /// A second descriptor of the socket, while there is no room to write.
    full: Option<AsyncFd<OwnedFd>>,
}

impl Stream {
    /// Takes a connected socket. Call it within a tokio runtime.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = wait_for(socket.into(), Interest::READABLE)?;
        Ok(Self { socket, full: None })
    }

    /// Reads what is there, in one system call. Nothing read is the end of the stream.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            match rustix::net::recv(ready.get_inner(), &mut *space, RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    // A stream that did not fill the space has nothing more: asking again would be a call for nothing.
                    if 0 < count && count < space.len() {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Writes what there is room for, in one system call.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let head = bytes.get(..MAX_WRITE).unwrap_or(bytes);
        loop {
            match rustix::net::send(&self.socket, head, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.full = None;
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => ready!(self.poll_room(cx))?,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Says that nothing more will be written.
    pub fn shutdown(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.socket, Shutdown::Write)?)
    }

    /// Whether it waits for nothing but bytes to read.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.full.is_none()
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.full.is_none() {
            self.full = Some(wait_for(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?);
        }
        match &self.full {
            None => Poll::Ready(Ok(())),
            Some(full) => {
                ready!(full.poll_write_ready(cx))?.clear_ready();
                Poll::Ready(Ok(()))
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its replacement is unsafe, for types whose descriptor may change; that of an OwnedFd does not"
)]
fn wait_for(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, interest)
}

/// The most that one write passes: with vhost-user-vsock, a guest's write of more than 32 KiB stalls for ever.
const MAX_WRITE: usize = 16_384;
