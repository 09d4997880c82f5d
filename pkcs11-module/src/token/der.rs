//! Just enough DER (X.690) to take public keys and certificates apart. Nothing here decides what is trusted.

/// A cursor over the elements of a constructed value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'a> {
    rest: &'a [u8],
}

/// One element: its tag, its contents, and the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) contents: &'a [u8],
    pub(super) whole: &'a [u8],
}

/// The bytes are not DER, or not of the form that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotDer;

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Takes the next element, whatever it is. Lengths have their shortest form, and tags one byte.
    pub(super) fn any(&mut self) -> Result<Element<'a>, NotDer> {
        let (&tag, after_tag) = self.rest.split_first().ok_or(NotDer)?;
        let (length, after_length) = length(after_tag)?;
        if tag & 0x1f == 0x1f {
            return Err(NotDer);
        }
        let (contents, rest) = after_length.split_at_checked(length).ok_or(NotDer)?;
        let taken = self.rest.len().saturating_sub(rest.len());
        let whole = self.rest.get(..taken).ok_or(NotDer)?;
        self.rest = rest;
        Ok(Element { tag, contents, whole })
    }

    /// Takes the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, NotDer> {
        let element = self.any()?;
        if element.tag == tag { Ok(element) } else { Err(NotDer) }
    }

    /// Takes the next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, NotDer> {
        if self.rest.first() == Some(&tag) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Asserts that nothing is left.
    pub(super) fn finish(self) -> Result<(), NotDer> {
        if self.rest.is_empty() { Ok(()) } else { Err(NotDer) }
    }
}

impl<'a> Element<'a> {
    /// A cursor over what this element contains.
    pub(super) fn inner(&self) -> Der<'a> {
        Der::new(self.contents)
    }
}

/// The one element that `bytes` are.
pub(super) fn only(bytes: &[u8], tag: u8) -> Result<Element<'_>, NotDer> {
    let mut der = Der::new(bytes);
    let element = der.expect(tag)?;
    der.finish()?;
    Ok(element)
}

/// The bytes of a BIT STRING of whole octets.
pub(super) fn octets_of_bit_string(contents: &[u8]) -> Result<&[u8], NotDer> {
    match contents.split_first() {
        Some((0, octets)) => Ok(octets),
        _ => Err(NotDer),
    }
}

/// The magnitude of a positive INTEGER, without the zero that keeps it positive.
pub(super) fn unsigned(contents: &[u8]) -> Result<&[u8], NotDer> {
    match *contents {
        [] | [0] | [0, 0..=0x7f, ..] | [0x80..=0xff, ..] => Err(NotDer),
        [0, ref magnitude @ ..] => Ok(magnitude),
        ref magnitude => Ok(magnitude),
    }
}

/// Wraps bytes in an OCTET STRING. For what is below 64 KiB, as every public key is.
pub(super) fn octet_string(contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let header: &[u8] = match length {
        0..=0x7f => &[tag::OCTET_STRING, low],
        0x80..=0xff => &[tag::OCTET_STRING, 0x81, low],
        _ => &[tag::OCTET_STRING, 0x82, high, low],
    };
    [header, contents].concat()
}

/// Reads a length and what follows it.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), NotDer> {
    match *bytes {
        [short @ 0..=0x7f, ref rest @ ..] => Ok((usize::from(short), rest)),
        [0x81, long @ 0x80..=0xff, ref rest @ ..] => Ok((usize::from(long), rest)),
        [0x82, high @ 1..=0xff, low, ref rest @ ..] => Ok((usize::from(u16::from_be_bytes([high, low])), rest)),
        _ => Err(NotDer),
    }
}

/// The tags that keys and certificates are made of.
pub(super) mod tag {
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const BIT_STRING: u8 = 0x03;
    pub(in super::super) const OCTET_STRING: u8 = 0x04;
    pub(in super::super) const NULL: u8 = 0x05;
    pub(in super::super) const OID: u8 = 0x06;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;
    pub(in super::super) const EXPLICIT_0: u8 = 0xa0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form() {
        for bad in [
            &[0x04][..],
            &[0x04, 1],
            &[0x04, 0x80],
            &[0x04, 0x81, 0x01, 0],
            &[0x04, 0x82, 0, 0x80],
            &[0x04, 0x83, 1, 0, 0],
            &[0x1f, 1, 0],
        ] {
            assert_eq!(Der::new(bad).any(), Err(NotDer), "{bad:?}");
        }
        for count in [0, 1, 127, 128, 255, 256, 1000] {
            let bytes = octet_string(&vec![7; count]);
            assert_eq!(only(&bytes, tag::OCTET_STRING).map(|e| e.contents.len()), Ok(count));
        }
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        for bad in [&[][..], &[0], &[0, 0x7f], &[0x80], &[0xff, 0]] {
            assert_eq!(unsigned(bad), Err(NotDer), "{bad:?}");
        }
        assert_eq!(unsigned(&[0, 0x80, 1]), Ok(&[0x80, 1][..]));
        assert_eq!(unsigned(&[1, 0, 1]), Ok(&[1, 0, 1][..]));
    }

    proptest::proptest! {
        #[test]
        fn threat_49_any_bytes_are_refused_or_read_exactly(bytes: Vec<u8>) {
            let mut der = Der::new(&bytes);
            let mut read = Vec::new();
            while let Ok(element) = der.any() {
                proptest::prop_assert!(element.whole.ends_with(element.contents));
                read.extend_from_slice(element.whole);
            }
            proptest::prop_assert!(bytes.starts_with(&read));
        }
    }
}
