//! Strict reading and writing of the forms that `PROTOCOL.md` names.

use std::collections::TryReserveError;

use zeroize::Zeroize;

/// A type that can be read from a body.
pub trait Decode: Sized {
    /// Reads one value from the front of `reader`.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// Reads one value that must be all of `bytes`.
    fn decode_all(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// A type that can be written to a body.
pub trait Encode {
    /// Appends this value to `writer`.
    fn encode(&self, writer: &mut Writer);

    /// This value alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.encode(&mut writer);
        writer.into_bytes()
    }
}

/// Why bytes were refused. The peer is at fault, and a retry is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The input ends before the value does.
    Truncated,
    /// Bytes follow the value.
    Trailing,
    /// A count is above the form's limit.
    TooLong,
    /// A tag or an operation that this version does not define.
    UnknownTag,
    /// Text outside the field's alphabet, or a number outside its range.
    Invalid,
    /// The value has another, shorter or ordered, form that must be used.
    NotCanonical,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the input ends before the value does",
            Self::Trailing => "bytes follow the value",
            Self::TooLong => "a count is above its limit",
            Self::UnknownTag => "an unknown tag",
            Self::Invalid => "a value outside its range",
            Self::NotCanonical => "a value in a form that is not the canonical one",
        })
    }
}

impl std::error::Error for DecodeError {}

/// A cursor over bytes that came from a peer.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins at the front of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// Takes exactly `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }

    /// Reads a `bytes16<max>`.
    pub fn bytes16(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let count = usize::from(u16::decode(self)?);
        if count > max {
            return Err(DecodeError::TooLong);
        }
        self.take(count)
    }

    /// Reads a `bytes32<max>`.
    pub fn bytes32(&mut self, max: usize) -> Result<&'a [u8], DecodeError> {
        let count = usize::try_from(u32::decode(self)?).map_err(|_| DecodeError::TooLong)?;
        if count > max {
            return Err(DecodeError::TooLong);
        }
        self.take(count)
    }

    /// Reads a `text<max>`, without looking at its alphabet.
    pub fn text(&mut self, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes16(max)?).map_err(|_| DecodeError::Invalid)
    }

    /// Reads a `list<T, max>`. Nothing is allocated for items that are not there.
    pub fn list<T: Decode>(&mut self, max: usize) -> Result<Vec<T>, DecodeError> {
        let count = usize::from(u16::decode(self)?);
        if count > max {
            return Err(DecodeError::TooLong);
        }
        (0..count).map(|_| T::decode(self)).collect()
    }

    /// Asserts that nothing is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

/// Bytes being written. What it held is wiped when it grows or is dropped, since some frames carry a private key.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(INITIAL_CAPACITY)
    }

    /// An empty writer that takes `capacity` bytes before it has to move.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
        }
    }

    /// The same, or an error where there is no memory for so many.
    pub fn try_with_capacity(capacity: usize) -> Result<Self, TryReserveError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(capacity)?;
        Ok(Self { bytes })
    }

    /// What was written. The caller wipes it where it holds a secret.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// How much was written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len().saturating_add(bytes.len());
        if needed > self.bytes.capacity() {
            let mut grown = Vec::with_capacity(needed.saturating_mul(2));
            grown.extend_from_slice(&self.bytes);
            self.bytes.zeroize();
            self.bytes = grown;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a `bytes16`. The types of this crate keep their contents within 65,535 bytes; what is longer is cut there,
    /// and the peer refuses the frame.
    pub fn bytes16(&mut self, bytes: &[u8]) {
        let count = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        count.encode(self);
        self.put(bytes.get(..usize::from(count)).unwrap_or(bytes));
    }

    /// Writes a `bytes32`.
    pub fn bytes32(&mut self, bytes: &[u8]) {
        u32::try_from(bytes.len()).unwrap_or(u32::MAX).encode(self);
        self.put(bytes);
    }

    /// Writes a `list`.
    pub fn list<T: Encode>(&mut self, items: &[T]) {
        u16::try_from(items.len()).unwrap_or(u16::MAX).encode(self);
        for item in items.iter().take(usize::from(u16::MAX)) {
            item.encode(self);
        }
    }

    pub(crate) fn patch(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if let Some(place) = self.bytes.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Decode for $t {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.array()?))
            }
        }
        impl Encode for $t {
            fn encode(&self, writer: &mut Writer) {
                writer.put(&self.to_be_bytes());
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i64);

impl<const N: usize> Decode for [u8; N] {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array()
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, writer: &mut Writer) {
        writer.put(self);
    }
}

impl Decode for bool {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

impl Encode for bool {
    fn encode(&self, writer: &mut Writer) {
        u8::from(*self).encode(writer);
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(None),
            1 => Ok(Some(T::decode(reader)?)),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, writer: &mut Writer) {
        match self {
            None => 0u8.encode(writer),
            Some(value) => {
                1u8.encode(writer);
                value.encode(writer);
            }
        }
    }
}

/// Declares a message as a struct of fields that are read and written in order.
macro_rules! message {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$fmeta])* pub $field: $type),* }

        impl $crate::codec::Decode for $name {
            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $($field: <$type as $crate::codec::Decode>::decode(reader)?),* })
            }
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, writer: &mut $crate::codec::Writer) {
                $($crate::codec::Encode::encode(&self.$field, writer);)*
            }
        }
    };
}
pub(crate) use message;

/// Declares an enum whose variants are single bytes on the wire.
macro_rules! byte_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $byte:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }

        impl $name {
            /// Every value, in the order of the bytes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The byte that stands for this value.
            #[must_use]
            pub const fn byte(self) -> u8 {
                match self { $(Self::$variant => $byte),* }
            }

            /// The value that this byte stands for.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($byte => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::codec::Decode for $name {
            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Self::from_byte(u8::decode(reader)?).ok_or($crate::codec::DecodeError::UnknownTag)
            }
        }

        impl $crate::codec::Encode for $name {
            fn encode(&self, writer: &mut $crate::codec::Writer) {
                self.byte().encode(writer);
            }
        }
    };
}
pub(crate) use byte_enum;

/// Enough for every request but an import or a chain.
const INITIAL_CAPACITY: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_refuses_what_is_short_long_or_left_over() {
        assert_eq!(u32::decode_all(&[0, 0, 1]), Err(DecodeError::Truncated));
        assert_eq!(u8::decode_all(&[1, 2]), Err(DecodeError::Trailing));
        assert_eq!(Reader::new(&[0, 3, 1, 2, 3]).bytes16(2), Err(DecodeError::TooLong));
        assert_eq!(Reader::new(&[0, 3, 1, 2]).bytes16(3), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[255, 255, 255, 255]).bytes32(8), Err(DecodeError::TooLong));
        assert_eq!(Reader::new(&[0, 9]).list::<u64>(8), Err(DecodeError::TooLong));
        assert_eq!(Reader::new(&[0, 1, 0xff]).text(8), Err(DecodeError::Invalid));
        assert_eq!(Option::<u8>::decode_all(&[2, 0]), Err(DecodeError::UnknownTag));
    }

    #[test]
    fn writer_grows_without_losing_bytes() {
        let mut writer = Writer::with_capacity(2);
        for byte in 0..=255u8 {
            writer.put(&[byte]);
        }
        assert_eq!(writer.into_bytes(), (0..=255u8).collect::<Vec<_>>());
    }
}
