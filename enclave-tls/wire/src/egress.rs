//! The egress plane: the enclave names a host, and the parent passes bytes. TLS ends in the enclave.

use crate::codec::{Decode, DecodeError, Encode, Writer, byte_enum, message};
use crate::frame::{ERROR, FrameError, Header, REPLY, write};
use crate::identity::DnsName;

message! {
    /// The host to reach, in the one frame that the enclave sends. After `Connected`, the connection is the host's.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Connect {
        /// Its name: the parent compares it with its allow-list, and with the name in the ClientHello that follows.
        host: DnsName,
        /// Its TCP port.
        port: u16,
    }
}

impl Connect {
    /// Reads the body of the request that `header` announces.
    pub fn decode_frame(header: &Header, body: &[u8]) -> Result<Self, FrameError> {
        match header.operation {
            CONNECT => Ok(Self::decode_all(body)?),
            _ => Err(DecodeError::UnknownTag.into()),
        }
    }

    /// Appends the whole frame of this request.
    pub fn write(&self, writer: &mut Writer, request_id: u64) {
        write(writer, CONNECT, request_id, |body| self.encode(body));
    }
}

/// What the parent answers; nothing in it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// What follows are the host's bytes.
    Connected,
    /// The connection ends.
    Refused(EgressError),
}

impl Answer {
    /// Reads the body of the reply that `header` announces.
    pub fn decode(header: &Header, body: &[u8]) -> Result<Self, FrameError> {
        match header.operation {
            CONNECTED if body.is_empty() => Ok(Self::Connected),
            CONNECTED => Err(DecodeError::Trailing.into()),
            ERROR => Ok(Self::Refused(EgressError::decode_all(body)?)),
            _ => Err(DecodeError::UnknownTag.into()),
        }
    }

    /// Appends the whole frame of this reply.
    pub fn write(&self, writer: &mut Writer, request_id: u64) {
        match self {
            Self::Connected => write(writer, CONNECTED, request_id, |_| ()),
            Self::Refused(error) => write(writer, ERROR, request_id, |body| error.encode(body)),
        }
    }
}

byte_enum! {
    /// Why the parent does not connect.
    pub enum EgressError {
        /// Not this protocol.
        Malformed = 0x01,
        /// The allow-list has not this host and port.
        NotAllowed = 0x02,
        /// The host has no address, or does not answer.
        Unreachable = 0x03,
        /// Too many connections.
        Busy = 0x04,
    }
}

const CONNECT: u8 = 0x01;
const CONNECTED: u8 = CONNECT | REPLY;
