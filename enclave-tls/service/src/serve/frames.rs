//! The bytes of a connection, as far as they make no whole frame yet.

use enclave_wire::frame::{FrameError, HEADER_LEN, Header};
use zeroize::Zeroizing;

/// A buffer for one frame at a time. It is wiped as frames are taken from it, as it grows, and on drop: one may carry a key.
pub(super) struct Frames {
    bytes: Zeroizing<Vec<u8>>,
    filled: usize,
    /// The largest value of a frame's length field.
    limit: usize,
}

impl Frames {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: empty(USUAL),
            filled: 0,
            limit,
        }
    }

    /// From now on frames may be as long as this.
    pub(super) fn allow(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether no frame has begun.
    pub(super) fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Where the next bytes go. Never empty before [`Frames::whole`] has found a frame.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// Says that `count` bytes came.
    pub(super) fn advance(&mut self, count: usize) {
        self.filled = self.filled.saturating_add(count).min(self.bytes.len());
    }

    /// The header of the frame in front, if all of it is here. If not, there is room for exactly what its header announces.
    pub(super) fn whole(&mut self) -> Result<Option<Header>, FrameError> {
        let Some(front) = self.bytes.get(..self.filled).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        let header = Header::decode(front, self.limit)?;
        let total = total(&header);
        if self.filled >= total {
            return Ok(Some(header));
        }
        self.resize(total.max(self.bytes.len()));
        Ok(None)
    }

    /// The body of the frame in front.
    pub(super) fn body(&self, header: &Header) -> &[u8] {
        self.bytes.get(HEADER_LEN..total(header)).unwrap_or_default()
    }

    /// The request id of a frame whose header was refused, as far as it came.
    pub(super) fn refused_id(&self) -> u64 {
        let id = self.bytes.get(..self.filled).and_then(|front| front.get(6..HEADER_LEN));
        id.and_then(|id| id.try_into().ok()).map_or(0, u64::from_be_bytes)
    }

    /// Takes away the frame in front, and with it the room that only a large one needs.
    pub(super) fn consume(&mut self, header: &Header) {
        let total = total(header).min(self.filled);
        let rest = self.filled.saturating_sub(total);
        self.bytes.copy_within(total..self.filled, 0);
        if let Some(gone) = self.bytes.get_mut(rest..self.filled) {
            gone.fill(0);
        }
        self.filled = rest;
        if self.bytes.len() > USUAL && rest <= USUAL {
            self.resize(USUAL);
        }
    }

    fn resize(&mut self, len: usize) {
        if len != self.bytes.len() {
            let mut resized = empty(len);
            if let (Some(to), Some(from)) = (resized.get_mut(..self.filled), self.bytes.get(..self.filled)) {
                to.copy_from_slice(from);
            }
            self.bytes = resized;
        }
    }
}

fn empty(len: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![0; len])
}

fn total(header: &Header) -> usize {
    header.body_len().saturating_add(HEADER_LEN)
}

/// Takes every request of a TLS handshake at one read, and shows by the room left that nothing more is there to be read.
const USUAL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use enclave_wire::frame::encode_with;

    fn feed(frames: &mut Frames, bytes: &[u8]) {
        frames.space()[..bytes.len()].copy_from_slice(bytes);
        frames.advance(bytes.len());
    }

    #[test]
    fn frames_are_taken_one_after_the_other() {
        let mut frames = Frames::new(1_000);
        let two = [
            encode_with(1, 1, |w| w.put(b"one")).into_bytes(),
            encode_with(2, 2, |w| w.put(b"two!")).into_bytes(),
        ]
        .concat();
        feed(&mut frames, &two[..20]);
        let first = frames.whole().unwrap().unwrap();
        assert_eq!((first.operation, frames.body(&first)), (1, b"one".as_slice()));
        frames.consume(&first);
        assert_eq!(frames.whole(), Ok(None));
        feed(&mut frames, &two[20..]);
        let second = frames.whole().unwrap().unwrap();
        assert_eq!((second.operation, frames.body(&second)), (2, b"two!".as_slice()));
        frames.consume(&second);
        assert!(frames.is_empty());
        assert!(
            frames.bytes.iter().all(|byte| *byte == 0),
            "nothing of a frame stays behind"
        );
    }

    /// threat_05: room is made for what a header announces, within the limit, and only while that frame is here.
    #[test]
    fn threat_05_room_is_bounded_by_the_header() {
        let mut frames = Frames::new(1_010);
        let large = encode_with(1, 1, |w| w.put(&[7; 1_000])).into_bytes();
        feed(&mut frames, &large[..HEADER_LEN]);
        assert_eq!(frames.whole(), Ok(None));
        assert_eq!(frames.bytes.len(), large.len());
        feed(&mut frames, &large[HEADER_LEN..]);
        let header = frames.whole().unwrap().unwrap();
        frames.consume(&header);
        assert_eq!(frames.bytes.len(), USUAL);

        let too_large = encode_with(1, 77, |w| w.put(&[7; 1_001])).into_bytes();
        feed(&mut frames, &too_large[..HEADER_LEN]);
        assert_eq!(frames.whole(), Err(FrameError::Length));
        assert_eq!((frames.bytes.len(), frames.refused_id()), (USUAL, 77));
    }

    proptest::proptest! {
        /// threat_06: however the bytes come, the frames are the same.
        #[test]
        fn threat_06_frames_do_not_depend_on_how_they_come(
            bodies in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..700), 1..6),
            pieces in proptest::collection::vec(1usize..900, 1..20),
        ) {
            let sent: Vec<u8> = bodies.iter().flat_map(|body| encode_with(7, 9, |w| w.put(body)).into_bytes()).collect();
            let (mut frames, mut taken, mut rest) = (Frames::new(1_000), Vec::new(), sent.as_slice());
            for piece in pieces.iter().cycle() {
                while let Some(header) = frames.whole().unwrap() {
                    taken.push(frames.body(&header).to_vec());
                    frames.consume(&header);
                }
                if rest.is_empty() {
                    break;
                }
                let count = rest.len().min(*piece).min(frames.space().len());
                assert_ne!(count, 0, "there is room while no frame is whole");
                let (now, later) = rest.split_at(count);
                feed(&mut frames, now);
                rest = later;
            }
            assert!(frames.is_empty());
            assert_eq!(taken, bodies);
        }
    }
}
