//! Threat 43: no byte of a private key decides anything here, while keys are read and written. What the library does is left out.

use std::ops::Range;

use der::asn1::{OctetStringRef, UintRef};
use der::{Reader, SliceReader};
use pem_rfc7468::LineEnding;

use super::super::{SigningKey, pkcs8};
use super::vector;

/// Where a key in PKCS#8 is secret.
fn secrets(der: &[u8]) -> Vec<Range<usize>> {
    let mut envelope = SliceReader::new(der).unwrap();
    let key = envelope.sequence(|fields| {
        fields.decode::<u8>()?;
        fields.tlv_bytes()?;
        let key = fields.decode::<&OctetStringRef>()?.as_bytes();
        while !fields.is_finished() {
            fields.tlv_bytes()?;
        }
        Ok::<_, der::Error>(key)
    });
    places(der, inner_secrets(key.unwrap()))
}

/// Where these parts of a key lie.
fn places(der: &[u8], parts: Vec<&[u8]>) -> Vec<Range<usize>> {
    let place = |part: &[u8]| {
        let start = part.as_ptr().addr() - der.as_ptr().addr();
        start..start + part.len()
    };
    parts.into_iter().map(place).collect()
}

/// What is secret of what stands inside: RSA's numbers (RFC 8017, A.1.2), a scalar (RFC 5915), or a seed (RFC 8410).
fn inner_secrets(key: &[u8]) -> Vec<&[u8]> {
    if let [0x04, 32, seed @ ..] = key {
        return vec![seed];
    }
    let mut reader = SliceReader::new(key).unwrap();
    let numbers = reader.sequence(|fields| {
        fields.decode::<u8>()?;
        if fields.peek_byte() == Some(0x04) {
            let scalar = fields.decode::<&OctetStringRef>()?.as_bytes();
            while !fields.is_finished() {
                fields.tlv_bytes()?;
            }
            return Ok::<_, der::Error>(vec![scalar]);
        }
        let numbers = (0..8)
            .map(|_| fields.decode())
            .collect::<der::Result<Vec<UintRef<'_>>>>()?;
        // n and e are public. By the first byte of a number DER says whether a zero precedes it: every reader of DER looks there.
        Ok(numbers.iter().skip(2).map(|number| &number.as_bytes()[1..]).collect())
    });
    numbers.unwrap()
}

/// PEM of it, in which every character is secret that says nothing but what is secret.
fn poisoned_pem(label: &str, der: &[u8], secrets: Vec<Range<usize>>) -> Vec<u8> {
    let mut text = pem_rfc7468::encode_string(label, LineEnding::LF, der)
        .unwrap()
        .into_bytes();
    let body = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for secret in secrets {
        // Four characters are three bytes, and 64 of them a line. The last four say how long the key is.
        let last = (der.len() - 1) / 3;
        let characters = secret.start.div_ceil(3) * 4..(secret.end / 3).min(last) * 4;
        characters.for_each(|at| lab_poison::poison(&mut text[body + at + at / 64..][..1]));
    }
    text
}

#[test]
fn threat_43_no_byte_of_a_key_decides_while_it_is_read_and_written() {
    let seen = lab_poison::watch(|| {
        let poisoned = |der: &[u8]| {
            let (mut poisoned, secrets) = (der.to_vec(), secrets(der));
            secrets
                .into_iter()
                .for_each(|secret| lab_poison::poison(&mut poisoned[secret]));
            poisoned
        };
        for key in [vector!("p-256"), vector!("p-384"), vector!("p-521")] {
            let key = SigningKey::from_pkcs8(&poisoned(key)).unwrap();
            assert!(key.to_pkcs8().is_ok());
        }
        // The library finds out how long its numbers are when it writes them: that is public, and nothing here says so.
        assert!(SigningKey::from_pkcs8(&poisoned(vector!("rsa-2048"))).is_ok());
        // Its public key is computed of the seed, and public as well.
        assert!(pkcs8::parse(&poisoned(vector!("ed25519"))).is_ok());
    });
    seen.unwrap().at_most(0);
}

#[test]
fn threat_43_no_character_of_a_key_decides_while_pem_is_read() {
    let seen = lab_poison::watch(|| {
        for (label, der) in [
            ("RSA PRIVATE KEY", vector!("rsa-pkcs1")),
            ("EC PRIVATE KEY", vector!("p-256-sec1")),
        ] {
            let text = poisoned_pem(label, der, places(der, inner_secrets(der)));
            assert!(SigningKey::from_pem(&text).is_ok(), "{label}");
        }
        for der in [vector!("p-256"), vector!("p-384")] {
            let text = poisoned_pem("PRIVATE KEY", der, secrets(der));
            assert!(SigningKey::from_pem(&text).is_ok());
        }
    });
    seen.unwrap().at_most(0);
}
