//! The forms that control messages are made of.

use zeroize::Zeroize;

use crate::codec::{Decode, DecodeError, Encode, Reader, Writer};

/// A list of at most `MAX` items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Listed<T, MAX> {
    /// The items.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.0
    }

    /// The items, owned.
    #[must_use]
    pub fn into_items(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for Listed<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for Listed<T, MAX> {
    type Error = DecodeError;

    fn try_from(items: Vec<T>) -> Result<Self, DecodeError> {
        if items.len() > MAX {
            Err(DecodeError::TooLong)
        } else {
            Ok(Self(items))
        }
    }
}

impl<T: Decode, const MAX: usize> Decode for Listed<T, MAX> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.list(MAX)?))
    }
}

impl<T: Encode, const MAX: usize> Encode for Listed<T, MAX> {
    fn encode(&self, writer: &mut Writer) {
        writer.list(&self.0);
    }
}

/// Bytes that mean nothing to the protocol: a `bytes32` of at most `MAX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opaque<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Opaque<MAX> {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Opaque<MAX> {
    type Error = DecodeError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        if bytes.len() > MAX {
            Err(DecodeError::TooLong)
        } else {
            Ok(Self(bytes))
        }
    }
}

impl<const MAX: usize> Decode for Opaque<MAX> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.bytes32(MAX)?.to_vec()))
    }
}

impl<const MAX: usize> Encode for Opaque<MAX> {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes32(&self.0);
    }
}

/// Secret bytes: a `bytes16` of at most `MAX`. Wiped on drop; never printed, never copied.
pub struct Secret<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Drop for Secret<MAX> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const MAX: usize> Secret<MAX> {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Secret<MAX> {
    type Error = DecodeError;

    fn try_from(mut bytes: Vec<u8>) -> Result<Self, DecodeError> {
        if bytes.len() > MAX {
            bytes.zeroize();
            return Err(DecodeError::TooLong);
        }
        Ok(Self(bytes))
    }
}

impl<const MAX: usize> Decode for Secret<MAX> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.bytes16(MAX)?.to_vec()))
    }
}

impl<const MAX: usize> Encode for Secret<MAX> {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes16(&self.0);
    }
}
