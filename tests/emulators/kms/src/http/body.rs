//! A reply's body, which may break off.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};

/// Bytes of a known length, of which perhaps only a part ever comes.
#[derive(Default)]
pub(crate) struct ReplyBody {
    announced: u64,
    rest: Option<Bytes>,
    cut: bool,
}

/// The connection ends here, before what was announced.
#[derive(Debug, thiserror::Error)]
#[error("cut by a fault")]
pub(crate) struct Cut;

impl ReplyBody {
    pub(crate) fn whole(bytes: Vec<u8>) -> Self {
        Self {
            announced: u64::try_from(bytes.len()).unwrap_or_default(),
            rest: Some(bytes.into()),
            cut: false,
        }
    }

    pub(crate) fn cut(mut bytes: Vec<u8>) -> Self {
        let announced = u64::try_from(bytes.len()).unwrap_or_default();
        bytes.truncate(bytes.len() / 2);
        Self {
            announced,
            rest: Some(bytes.into()),
            cut: true,
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.rest.take() {
            Some(bytes) => {
                if self.cut {
                    // Comes back, so that what was given is written before the error is met.
                    context.waker().wake_by_ref();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None if self.cut => Poll::Ready(Some(Err(Cut))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.rest.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}
