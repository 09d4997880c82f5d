//! The log plane: records that the enclave sends to the parent, and never waits for.

mod meter;

pub use meter::Meter;

use crate::codec::{Decode, DecodeError, Encode, Reader, Writer, byte_enum, message};

byte_enum! {
    /// How much a record matters.
    pub enum Level {
        /// Something failed.
        Error = 0x01,
        /// Something is not as it should be.
        Warn = 0x02,
        /// Something happened.
        Info = 0x03,
        /// For whoever looks for a fault.
        Debug = 0x04,
        /// Every step.
        Trace = 0x05,
    }
}

message! {
    /// One record.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Record {
        /// Counts the records of this boot, dropped ones included.
        sequence: u64,
        /// How many records were dropped since the one before this.
        dropped: u32,
        /// Microseconds since boot.
        uptime_us: u64,
        /// How much it matters.
        level: Level,
        /// Which part of the service speaks.
        target: Text<128>,
        /// What it says.
        message: Text<4096>,
    }
}

/// Printable ASCII of at most `MAX` bytes: nothing in it can move a terminal's cursor or forge a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes `text` fit: what is not printable ASCII becomes `?`, what is too long is cut.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        Self(
            text.chars()
                .map(|c| if is_printable(c) { c } else { '?' })
                .take(MAX)
                .collect(),
        )
    }
}

impl<const MAX: usize> Decode for Text<MAX> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let text = reader.text(MAX)?;
        if text.chars().all(is_printable) {
            Ok(Self(text.to_owned()))
        } else {
            Err(DecodeError::Invalid)
        }
    }
}

impl<const MAX: usize> Encode for Text<MAX> {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes16(self.0.as_bytes());
    }
}

fn is_printable(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

/// The operation of a record's frame.
pub const RECORD: u8 = 0x01;
