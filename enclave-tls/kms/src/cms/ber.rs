//! The few tags and lengths of BER that KMS writes. Whoever reads says which tag comes next; nothing here recurses.

use super::CmsError;

/// What is left of a message, or of a definite value inside it.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// A constructed value that has been opened and must be closed.
pub(super) enum Scope<'a> {
    /// Its length was given; this is what follows it.
    Definite { after: &'a [u8] },
    /// It ends at an end-of-contents.
    Indefinite,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The content of a primitive value.
    pub(super) fn primitive(&mut self, tag: u8) -> Result<&'a [u8], CmsError> {
        self.literal(&[tag])?;
        let length = self.length()?.ok_or(CmsError::Form)?;
        self.take(length)
    }

    /// Enters a constructed value, of a definite length or not.
    pub(super) fn open(&mut self, tag: u8) -> Result<Scope<'a>, CmsError> {
        self.literal(&[tag])?;
        let Some(length) = self.length()? else {
            return Ok(Scope::Indefinite);
        };
        let (inside, after) = self.rest.split_at_checked(length).ok_or(CmsError::Form)?;
        self.rest = inside;
        Ok(Scope::Definite { after })
    }

    /// Enters a constructed value that KMS always writes with its length.
    pub(super) fn open_definite(&mut self, tag: u8) -> Result<Scope<'a>, CmsError> {
        match self.open(tag)? {
            Scope::Indefinite => Err(CmsError::Form),
            definite @ Scope::Definite { .. } => Ok(definite),
        }
    }

    /// Whether more values come before the end of the opened one.
    pub(super) fn has_more(&self, scope: &Scope<'a>) -> bool {
        match scope {
            Scope::Definite { .. } => !self.rest.is_empty(),
            Scope::Indefinite => !self.rest.starts_with(&END_OF_CONTENTS),
        }
    }

    /// Leaves the value that was opened last: all of it must have been read.
    pub(super) fn close(&mut self, scope: Scope<'a>) -> Result<(), CmsError> {
        match scope {
            Scope::Indefinite => self.literal(&END_OF_CONTENTS),
            Scope::Definite { after } if self.rest.is_empty() => {
                self.rest = after;
                Ok(())
            }
            Scope::Definite { .. } => Err(CmsError::Form),
        }
    }

    pub(super) fn finish(self) -> Result<(), CmsError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(CmsError::Form)
        }
    }

    /// Exactly these bytes.
    pub(super) fn literal(&mut self, bytes: &[u8]) -> Result<(), CmsError> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(CmsError::Form)?;
        Ok(())
    }

    /// Whether this tag comes next.
    pub(super) fn is_next(&self, tag: u8) -> bool {
        self.rest.first() == Some(&tag)
    }

    /// A definite length in as few bytes as it needs, or none where it is indefinite.
    fn length(&mut self) -> Result<Option<usize>, CmsError> {
        let (&first, rest) = self.rest.split_first().ok_or(CmsError::Form)?;
        self.rest = rest;
        match first {
            INDEFINITE => Ok(None),
            0..=0x7f => Ok(Some(usize::from(first))),
            ONE_BYTE => match self.take(1)? {
                [length @ 0x80..=0xff] => Ok(Some(usize::from(*length))),
                _ => Err(CmsError::Form),
            },
            TWO_BYTES => match self.take(2)? {
                [high @ 1..=0xff, low] => Ok(Some(usize::from(u16::from_be_bytes([*high, *low])))),
                _ => Err(CmsError::Form),
            },
            // A message is at most MAX_MESSAGE bytes: no length needs a third.
            _ => Err(CmsError::Form),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CmsError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CmsError::Form)?;
        self.rest = rest;
        Ok(taken)
    }
}

pub(super) const INDEFINITE: u8 = 0x80;
pub(super) const END_OF_CONTENTS: [u8; 2] = [0, 0];
const ONE_BYTE: u8 = 0x81;
const TWO_BYTES: u8 = 0x82;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// `[0]`, primitive.
pub(super) const IMPLICIT_0: u8 = 0x80;
/// `[0]`, constructed.
pub(super) const CONSTRUCTED_0: u8 = 0xa0;
