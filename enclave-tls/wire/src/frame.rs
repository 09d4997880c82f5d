//! The frame that carries every message: a length, a version, an operation and a request id.

use crate::codec::{DecodeError, Encode, Writer};

/// The first [`HEADER_LEN`] bytes of a frame, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What is asked, or answered (with [`REPLY`] set).
    pub operation: u8,
    /// Chosen by the side that asks; a reply repeats it.
    pub request_id: u64,
    body_len: usize,
}

impl Header {
    /// Reads a header. `limit` is the plane's: see [`limit`]. Nothing has been allocated for the body yet.
    pub fn decode(bytes: &[u8; HEADER_LEN], limit: usize) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, version, operation, id @ ..] = *bytes;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).map_err(|_| FrameError::Length)?;
        if length > limit {
            return Err(FrameError::Length);
        }
        let body_len = length.checked_sub(COUNTED_HEADER).ok_or(FrameError::Length)?;
        if version != VERSION {
            return Err(FrameError::Version);
        }
        Ok(Self {
            operation,
            request_id: u64::from_be_bytes(id),
            body_len,
        })
    }

    /// How many bytes of body follow: never more than the plane's limit.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body_len
    }

    /// Whether this frame answers a request.
    #[must_use]
    pub fn is_reply(&self) -> bool {
        self.operation & REPLY != 0
    }
}

/// Why a frame was refused. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The length is below a header's or above the plane's limit.
    Length,
    /// Another version of the protocol.
    Version,
    /// The body is not what the operation asks for.
    Body(DecodeError),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length => f.write_str("a frame's length is outside its limits"),
            Self::Version => f.write_str("the peer speaks another version of the protocol"),
            Self::Body(error) => write!(f, "a frame's body was refused: {error}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl From<DecodeError> for FrameError {
    fn from(error: DecodeError) -> Self {
        Self::Body(error)
    }
}

/// Writes one whole frame whose body `body` appends.
pub fn encode_with(operation: u8, request_id: u64, body: impl FnOnce(&mut Writer)) -> Writer {
    let mut writer = Writer::new();
    write(&mut writer, operation, request_id, body);
    writer
}

/// Appends one whole frame to `writer`, for a caller that reuses its buffer.
pub fn write(writer: &mut Writer, operation: u8, request_id: u64, body: impl FnOnce(&mut Writer)) {
    let start = writer.len();
    writer.put(&[0; 4]);
    writer.put(&[VERSION, operation]);
    request_id.encode(writer);
    body(writer);
    let counted = writer.len().saturating_sub(start).saturating_sub(LENGTH_FIELD);
    let length = u32::try_from(counted).unwrap_or(u32::MAX);
    writer.patch(start, &length.to_be_bytes());
}

/// The largest value of the length field on each plane, compared before anything is allocated.
pub mod limit {
    /// A request on the signing plane: 16 KiB of input, and what names the key.
    pub const SIGNING_REQUEST: usize = 16_640;
    /// The same, of a peer that has not authenticated: a hello is the longest.
    pub const SIGNING_HANDSHAKE: usize = 64;
    /// A reply on the signing plane: a page of a listing, or a chain of 48 KiB.
    pub const SIGNING_REPLY: usize = 65_536;
    /// Control, either way: a policy of 64 KiB, or a chain and a page of keys.
    pub const CONTROL: usize = 131_072;
    /// A connection of the egress plane, until it is the remote host's.
    pub const EGRESS: usize = 512;
    /// One log record.
    pub const LOG: usize = 8_192;
}

/// Bytes of a frame before its body.
pub const HEADER_LEN: usize = 14;
/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;
/// Set in the operation of a reply.
pub const REPLY: u8 = 0x80;
/// The operation of a reply that carries an error.
pub const ERROR: u8 = 0xff;
/// What the length field does not count: itself.
const LENGTH_FIELD: usize = 4;
/// What the length field counts before the body: version, operation, request id.
const COUNTED_HEADER: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(bytes: &[u8]) -> Result<Header, FrameError> {
        Header::decode(bytes.first_chunk().unwrap(), 20)
    }

    #[test]
    fn a_frame_says_its_own_length() {
        let frame = encode_with(7, 9, |body| body.put(b"abc")).into_bytes();
        assert_eq!(frame, [0, 0, 0, 13, 1, 7, 0, 0, 0, 0, 0, 0, 0, 9, b'a', b'b', b'c']);
        assert_eq!(
            header(&frame),
            Ok(Header {
                operation: 7,
                request_id: 9,
                body_len: 3
            })
        );
    }

    #[test]
    fn threat_05_lengths_outside_the_limits_are_refused() {
        for length in [0, 9, 21, 0xffff_ffff_u32] {
            let mut frame = encode_with(7, 9, |_| ()).into_bytes();
            frame[..4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(header(&frame), Err(FrameError::Length), "{length}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut frame = encode_with(7, 9, |_| ()).into_bytes();
        frame[4] = 2;
        assert_eq!(header(&frame), Err(FrameError::Version));
    }
}
