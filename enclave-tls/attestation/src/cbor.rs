//! CBOR (RFC 8949) read strictly: shortest lengths, nothing indefinite, nothing left over.

use minicbor::data::Type;
use minicbor::decode::Decoder;

/// Why CBOR was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CborError {
    /// Not well-formed, of another type, or an indefinite length.
    Form,
    /// A length or a number in more bytes than it needs.
    NotShortest,
    /// Bytes follow the item.
    Trailing,
}

/// A reader of strict CBOR.
pub(crate) struct Strict<'b> {
    decoder: Decoder<'b>,
    len: usize,
}

impl<'b> Strict<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self {
            decoder: Decoder::new(bytes),
            len: bytes.len(),
        }
    }

    pub(crate) fn uint(&mut self) -> Result<u64, CborError> {
        self.head(|decoder| decoder.u64().map(|value| (value, value, 0)))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], CborError> {
        self.head(|decoder| decoder.bytes().map(|bytes| (bytes, wide(bytes.len()), bytes.len())))
    }

    pub(crate) fn text(&mut self) -> Result<&'b str, CborError> {
        self.head(|decoder| decoder.str().map(|text| (text, wide(text.len()), text.len())))
    }

    pub(crate) fn array(&mut self) -> Result<u64, CborError> {
        self.head(|decoder| {
            let count = decoder.array()?.ok_or_else(indefinite)?;
            Ok((count, count, 0))
        })
    }

    pub(crate) fn map(&mut self) -> Result<u64, CborError> {
        self.head(|decoder| {
            let count = decoder.map()?.ok_or_else(indefinite)?;
            Ok((count, count, 0))
        })
    }

    /// A tag, if one is next.
    pub(crate) fn tag(&mut self) -> Result<Option<u64>, CborError> {
        if self.decoder.datatype().map_err(|_| CborError::Form)? != Type::Tag {
            return Ok(None);
        }
        self.head(|decoder| decoder.tag().map(|tag| (Some(tag.as_u64()), tag.as_u64(), 0)))
    }

    /// Bytes, or null.
    pub(crate) fn optional_bytes(&mut self) -> Result<Option<&'b [u8]>, CborError> {
        if self.decoder.datatype().map_err(|_| CborError::Form)? != Type::Null {
            return self.bytes().map(Some);
        }
        self.decoder.null().map_err(|_| CborError::Form)?;
        Ok(None)
    }

    pub(crate) fn finish(self) -> Result<(), CborError> {
        if self.decoder.position() == self.len {
            Ok(())
        } else {
            Err(CborError::Trailing)
        }
    }

    /// Reads one item; its head must be as short as its argument allows, so that each value has one form.
    fn head<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'b>) -> Result<(T, u64, usize), minicbor::decode::Error>,
    ) -> Result<T, CborError> {
        let start = self.decoder.position();
        let (value, argument, content) = read(&mut self.decoder).map_err(|_| CborError::Form)?;
        let used = self.decoder.position().saturating_sub(start);
        if used == shortest(argument).saturating_add(content) {
            Ok(value)
        } else {
            Err(CborError::NotShortest)
        }
    }
}

fn indefinite() -> minicbor::decode::Error {
    minicbor::decode::Error::message("indefinite length")
}

/// A length as CBOR counts it.
pub(crate) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The bytes of the shortest head that holds `argument` (RFC 8949, section 3).
fn shortest(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}
