//! One connection of either plane: whole frames in, whole frames out, and a deadline on everything.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use enclave_wire::frame::{FrameError, Header};
use tokio::time::Instant;

use super::deadline::Deadline;
use super::frames::Frames;
use super::signing::Refusal;
use crate::transport::Stream;

/// A connection.
pub(super) struct Link {
    stream: Stream,
    frames: Frames,
    deadline: Deadline,
    /// When the frame in front began, if it is not whole yet.
    begun: Option<Instant>,
    /// Whether the frame in front was waited for.
    waited: bool,
    patience: Patience,
}

/// How long a connection waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For the first byte of a frame.
    pub(super) idle: Duration,
    /// From there to its last.
    pub(super) frame: Duration,
    /// For a frame to leave.
    pub(super) write: Duration,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The peer closed it.
    Closed,
    /// The peer missed a deadline.
    Deadline,
    /// The peer sent what is no frame, or what does not belong here.
    Refused(FrameError),
    /// The handshake failed.
    Authentication(Refusal),
    /// The credential was replaced by a newer one.
    Replaced,
    /// There are too many connections.
    Busy,
    /// The socket failed.
    Io(io::Error),
    /// The service failed.
    Failed(&'static str),
}

impl Link {
    pub(super) fn new(stream: Stream, limit: usize, patience: Patience) -> Self {
        Self {
            stream,
            frames: Frames::new(limit),
            deadline: Deadline::new(after(patience.idle)),
            begun: None,
            waited: false,
            patience,
        }
    }

    /// From now on the peer's frames may be as long as this.
    pub(super) fn allow(&mut self, limit: usize) {
        self.frames.allow(limit);
    }

    /// Waits for the next frame. It stays in front until [`Link::consume`]. Nothing is lost if this is dropped halfway.
    pub(super) async fn next(&mut self) -> Result<Header, End> {
        if self.frames.is_empty() {
            self.deadline.set(after(self.patience.idle));
        }
        loop {
            if let Some(header) = self.frames.whole().map_err(End::Refused)? {
                self.begun = None;
                return Ok(header);
            }
            if !self.frames.is_empty() && self.begun.is_none() {
                self.begun = Some(Instant::now());
                self.deadline.set(after(self.patience.frame));
            }
            self.fill().await?;
        }
    }

    /// The body of the frame in front.
    pub(super) fn body(&self, header: &Header) -> &[u8] {
        self.frames.body(header)
    }

    /// Whether the frame in front came after it was asked for. One that did not was sent before the reply to the frame before it.
    pub(super) fn has_waited(&self) -> bool {
        self.waited
    }

    /// The request id of a frame that was refused.
    pub(super) fn refused_id(&self) -> u64 {
        self.frames.refused_id()
    }

    /// Takes away the frame in front.
    pub(super) fn consume(&mut self, header: &Header) {
        self.frames.consume(header);
        self.waited = false;
    }

    /// Sends a whole frame: one system call, unless the peer does not keep up.
    pub(super) async fn send(&mut self, frame: &[u8]) -> Result<(), End> {
        let Self {
            stream,
            deadline,
            patience,
            ..
        } = self;
        let mut rest = frame;
        let mut late = false;
        poll_fn(|cx| {
            while !rest.is_empty() {
                match stream.poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(End::Closed)),
                    Poll::Ready(Ok(sent)) => rest = rest.get(sent..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(End::from(error))),
                    Poll::Pending => {
                        // Only a peer that does not keep up has its time measured.
                        if !late {
                            late = true;
                            deadline.set(after(patience.write));
                        }
                        return deadline.poll(cx).map(|()| Err(End::Deadline));
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Reads what is there, once.
    async fn fill(&mut self) -> Result<(), End> {
        let Self {
            stream,
            frames,
            deadline,
            waited,
            ..
        } = self;
        poll_fn(|cx| {
            match stream.poll_read(cx, frames.space()) {
                Poll::Ready(Ok(count)) => {
                    frames.advance(count);
                    // Nothing read is the end of the stream (threat 2), in the middle of a frame as well.
                    Poll::Ready(if count == 0 { Err(End::Closed) } else { Ok(()) })
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(End::from(error))),
                Poll::Pending => {
                    *waited = true;
                    deadline.poll(cx).map(|()| Err(End::Deadline))
                }
            }
        })
        .await
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        let gone = [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::NotConnected,
        ];
        if gone.contains(&error.kind()) {
            Self::Closed
        } else {
            Self::Io(error)
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed it"),
            Self::Deadline => f.write_str("the peer missed a deadline"),
            Self::Refused(error) => error.fmt(f),
            Self::Authentication(why) => write!(f, "the handshake failed: {why}"),
            Self::Replaced => f.write_str("its credential was replaced"),
            Self::Busy => f.write_str("too many connections"),
            Self::Io(error) => error.fmt(f),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}
