//! Values of the replay directory's files: read from a string, or refused without repeating it, since it may be a secret.

use std::marker::PhantomData;

use enclave_wire::control::Origin;
use enclave_wire::credential::{CredentialId, Verifier};
use enclave_wire::{BootId, DnsName, Name, Usage, log};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use enclave_tls_admin::{hex, printable, s3};

/// A value that a file writes as a string.
pub(crate) struct Text<T>(pub(crate) T);

/// How a string becomes a value.
pub(crate) trait Field: Sized {
    /// What the string should have been.
    const EXPECTED: &'static str;
    fn parse(text: &str) -> Option<Self>;
}

impl<'de, T: Field> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

impl<T: Field> Visitor<'_> for FieldVisitor<T> {
    type Value = Text<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
        T::parse(text).map(Text).ok_or_else(|| refused::<T, E>())
    }

    // Digits without quotes. What serde says by itself repeats them.

    fn visit_i64<E: Error>(self, _: i64) -> Result<Text<T>, E> {
        Err(refused::<T, E>())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Text<T>, E> {
        Err(refused::<T, E>())
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Text<T>, E> {
        Err(refused::<T, E>())
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Text<T>, E> {
        Err(refused::<T, E>())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Text<T>, E> {
        Err(refused::<T, E>())
    }
}

fn refused<T: Field, E: Error>() -> E {
    E::custom(format_args!("expected {}", T::EXPECTED))
}

macro_rules! fields {
    ($($type:ty, $expected:literal, $parse:expr;)*) => {$(
        impl Field for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(text: &str) -> Option<Self> {
                $parse(text)
            }
        }
    )*};
}
fields! {
    Name, "a name: 1 to 64 of A-Z a-z 0-9 - _ .", |text: &str| text.parse().ok();
    DnsName, "a DNS name in lower case", |text: &str| text.parse().ok();
    Usage, "\"tls\", \"tls-client\" or \"digest\"", |text: &str| text.parse().ok();
    Origin, "\"born\", \"imported\" or \"bundle\"", |text: &str| Origin::ALL.iter().copied().find(|o| o.to_string() == text);
    BootId, "32 lower-case hexadecimal digits", |text| hex::decode(text).map(BootId);
    CredentialId, "32 lower-case hexadecimal digits", |text| hex::decode(text).map(CredentialId);
    Verifier, "64 lower-case hexadecimal digits", |text| hex::decode(text).map(Verifier);
    s3::Location, "s3://BUCKET/KEY", |text: &str| text.parse().ok();
    log::Text<256>, "at most 256 printable characters", printable::exact;
    log::Text<32>, "at most 32 printable characters", printable::exact;
}
