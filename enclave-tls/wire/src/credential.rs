//! A client's credential, as its file holds it, and the bytes that both sides of the handshake authenticate.
//!
//! This crate computes no hash. A peer hashes and MACs these inputs with the library that it trusts.

use zeroize::Zeroize;

use crate::codec::{DecodeError, message};

/// The 32 random bytes of a credential. Wiped on drop; never printed, never copied.
pub struct Secret([u8; 32]);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    /// Takes 32 bytes that the caller drew from the system's random numbers.
    #[must_use]
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a credential file: exactly [`PREFIX`], 64 lower-case hexadecimal digits and a line feed. No digit decides how long that takes.
    pub fn parse(file: &[u8]) -> Result<Self, DecodeError> {
        let digits = file.strip_prefix(PREFIX.as_bytes()).ok_or(DecodeError::Invalid)?;
        let digits: &[u8; 65] = digits.try_into().map_err(|_| DecodeError::Invalid)?;
        let (line_feed, digits) = digits.split_last().ok_or(DecodeError::Truncated)?;
        if *line_feed != b'\n' {
            return Err(DecodeError::Invalid);
        }
        let mut secret = Self([0; 32]);
        let mut valid = u8::MAX;
        for (byte, pair) in secret.0.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = *pair else {
                return Err(DecodeError::Truncated);
            };
            let ((high, high_valid), (low, low_valid)) = (nibble(high), nibble(low));
            valid &= high_valid & low_valid;
            *byte = high << 4 | low;
        }
        // Asked once, of all digits together.
        if valid == u8::MAX {
            Ok(secret)
        } else {
            Err(DecodeError::Invalid)
        }
    }

    /// The contents of a credential file. The caller wipes them.
    #[must_use]
    pub fn to_file(&self) -> Vec<u8> {
        let mut file = Vec::with_capacity(FILE_LEN);
        file.extend_from_slice(PREFIX.as_bytes());
        for byte in self.0 {
            file.push(digit(byte >> 4));
            file.push(digit(byte & 15));
        }
        file.push(b'\n');
        file
    }

    /// What SHA-256 takes to give the credential's id, of which the first 16 bytes are used. The caller wipes it.
    #[must_use]
    pub fn id_input(&self) -> Vec<u8> {
        [ID_LABEL, self.0.as_slice()].concat()
    }

    /// What SHA-256 takes to give the verifier. The caller wipes it.
    #[must_use]
    pub fn verifier_input(&self) -> Vec<u8> {
        [VERIFIER_LABEL, self.0.as_slice()].concat()
    }
}

/// Names a credential without saying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialId(pub [u8; 16]);

/// What both proofs are computed over.
#[derive(Debug, Clone, Copy)]
pub struct Transcript {
    /// The credential that the client claims.
    pub credential: CredentialId,
    /// Drawn by the client for this connection.
    pub client_nonce: [u8; 32],
    /// Drawn by the service for this connection.
    pub server_nonce: [u8; 32],
}

impl Transcript {
    /// What HMAC-SHA-256 takes, under the verifier, to give the service's proof.
    #[must_use]
    pub fn server_input(&self) -> Vec<u8> {
        self.input(SERVER_LABEL)
    }

    /// What HMAC-SHA-256 takes, under the verifier, to give the client's proof.
    #[must_use]
    pub fn client_input(&self) -> Vec<u8> {
        self.input(CLIENT_LABEL)
    }

    fn input(&self, label: &[u8]) -> Vec<u8> {
        [label, &self.credential.0, &self.client_nonce, &self.server_nonce].concat()
    }
}

/// What the enclave holds of a credential, in place of its secret. Wiped on drop.
pub struct Verifier(pub [u8; 32]);

impl Drop for Verifier {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl crate::Decode for Verifier {
    fn decode(reader: &mut crate::Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.array()?))
    }
}

impl crate::Encode for Verifier {
    fn encode(&self, writer: &mut crate::Writer) {
        writer.put(&self.0);
    }
}

impl crate::Decode for CredentialId {
    fn decode(reader: &mut crate::Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.array()?))
    }
}

impl crate::Encode for CredentialId {
    fn encode(&self, writer: &mut crate::Writer) {
        writer.put(&self.0);
    }
}

message! {
    /// The first request of a connection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Hello {
        /// The credential that the client claims.
        credential: CredentialId,
        /// Drawn for this connection.
        client_nonce: [u8; 32],
    }
}

message! {
    /// The service's answer to [`Hello`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Challenge {
        /// Drawn for this connection.
        server_nonce: [u8; 32],
        /// Shows that the service holds the verifier.
        server_proof: [u8; 32],
    }
}

/// What a digit stands for, and all ones if it is one. The digit is of a secret: nothing branches by it, nothing is looked up by it.
fn nibble(digit: u8) -> (u8, u8) {
    let (decimal, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
    let (is_decimal, is_letter) = (below(decimal, 10), below(letter, 6));
    let value = (decimal & is_decimal) | (letter.wrapping_add(10) & is_letter);
    (value, is_decimal | is_letter)
}

/// The digit of a secret, likewise.
fn digit(nibble: u8) -> u8 {
    let is_decimal = below(nibble, 10);
    (nibble.wrapping_add(b'0') & is_decimal) | (nibble.wrapping_sub(10).wrapping_add(b'a') & !is_decimal)
}

/// All ones where a number is below a bound, else zero: the borrow of a subtraction.
fn below(number: u8, bound: u8) -> u8 {
    let [borrow, _] = u16::from(number).wrapping_sub(u16::from(bound)).to_be_bytes();
    borrow
}

/// What a credential file begins with.
pub const PREFIX: &str = "enclave-tls-credential-v1:";
/// The length of a credential file, in bytes: one that is longer is not read.
pub const FILE_LEN: usize = 26 + 64 + 1;
const ID_LABEL: &[u8] = b"enclave-tls credential id v1\0";
const VERIFIER_LABEL: &[u8] = b"enclave-tls credential verifier v1\0";
const SERVER_LABEL: &[u8] = b"enclave-tls v1 server\0";
const CLIENT_LABEL: &[u8] = b"enclave-tls v1 client\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_file_has_one_form() {
        let secret = Secret::from_random(std::array::from_fn(|i| u8::try_from(i * 7).unwrap()));
        let file = secret.to_file();
        assert_eq!(file.len(), FILE_LEN);
        assert!(Secret::parse(&file).is_ok_and(|read| read.to_file() == file));
        let text = String::from_utf8(file).unwrap();
        for bad in [
            text.trim_end(),
            &text.to_uppercase(),
            &format!("{text}\n"),
            &text[1..],
            &text.replace('a', "g"),
            "",
        ] {
            assert!(Secret::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_byte_is_a_digit_or_none() {
        for byte in 0..=u8::MAX {
            let value = char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
            let (read, valid) = nibble(byte);
            assert_eq!((valid == 0xff).then_some(u32::from(read)), value, "{byte}");
            assert!(valid == 0xff || valid == 0);
            if let Some(value) = value {
                assert_eq!(digit(u8::try_from(value).unwrap()), byte);
            }
        }
    }

    #[test]
    fn threat_43_no_digit_of_a_credential_decides_anything() {
        let seen = lab_poison::watch(|| {
            let mut file = Secret::from_random([0x9a; 32]).to_file();
            lab_poison::poison(&mut file[PREFIX.len()..FILE_LEN - 1]);
            let Ok(secret) = Secret::parse(&file) else {
                panic!("it is one")
            };
            std::hint::black_box(secret.to_file());
        });
        seen.unwrap().at_most(1); // whether it is a credential
    }

    #[test]
    fn the_two_proofs_never_cover_the_same_bytes() {
        let transcript = Transcript {
            credential: CredentialId([1; 16]),
            client_nonce: [2; 32],
            server_nonce: [3; 32],
        };
        assert_ne!(transcript.server_input(), transcript.client_input());
    }
}
