//! How the wire's types stand in JSON. Each length is compared before anything is allocated for what comes of it.

use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

pub(crate) mod text {
    //! A type that is written as it is read.

    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

pub(crate) mod texts {
    //! A list of what is written as it is read.

    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<T: Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(T::to_string))
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let texts = Vec::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| text.parse().map_err(D::Error::custom))
            .collect()
    }
}

pub(crate) mod secret {
    //! A credential, as the text of its file. It is read in place: no copy is left behind.

    use enclave_wire::credential::Secret;
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::{Error as _, Serializer};
    use zeroize::Zeroizing;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        let file = Zeroizing::new(secret.to_file());
        let line = file.strip_suffix(b"\n").unwrap_or_default();
        serializer.serialize_str(std::str::from_utf8(line).map_err(S::Error::custom)?)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_str(InPlace)
    }

    struct InPlace;

    impl<'de> Visitor<'de> for InPlace {
        type Value = Secret;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the line of a credential file, without escapes")
        }

        fn visit_borrowed_str<E: Error>(self, line: &'de str) -> Result<Secret, E> {
            let mut file = Zeroizing::new(Vec::with_capacity(line.len().saturating_add(1)));
            file.extend_from_slice(line.as_bytes());
            file.push(b'\n');
            // The text is not repeated in the error.
            Secret::parse(&file).map_err(|_| E::custom("no credential file has this line"))
        }

        // The default would put the text into the message.
        fn visit_str<E: Error>(self, _: &str) -> Result<Secret, E> {
            Err(E::custom("a credential has no escapes"))
        }
    }
}

pub(crate) mod key_id {
    //! 64 lower-case hexadecimal digits.

    use enclave_wire::KeyId;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(id: &KeyId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        super::unhex(&text)
            .map(KeyId)
            .ok_or_else(|| D::Error::custom("an id has 64 lower-case hexadecimal digits"))
    }
}

/// An optional array of bytes as hexadecimal digits.
macro_rules! optional_hex {
    ($($module:ident, $type:ty, $bytes:ident => $value:expr, $read:expr;)*) => {$(
        pub(crate) mod $module {
            use serde::de::{Deserialize, Deserializer, Error};
            use serde::ser::{Serialize, Serializer};

            pub(crate) fn serialize<S: Serializer>(value: &Option<$type>, serializer: S) -> Result<S::Ok, S::Error> {
                value.as_ref().map(|$bytes| super::hex(&$value)).serialize(serializer)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<$type>, D::Error> {
                let text = Option::<String>::deserialize(deserializer)?;
                text.map(|text| super::unhex(&text).map($read).ok_or_else(|| D::Error::custom("not hexadecimal digits")))
                    .transpose()
            }
        }
    )*};
}
optional_hex! {
    credential_id, enclave_wire::credential::CredentialId, id => id.0, enclave_wire::credential::CredentialId;
    digest, [u8; 32], digest => *digest, std::convert::identity;
}

pub(crate) mod chain {
    //! Certificates as base64 of their DER, leaf first.

    use base64ct::{Base64, Encoding};
    use enclave_wire::Chain;
    use enclave_wire::identity::Certificate;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(chain: &Chain, serializer: S) -> Result<S::Ok, S::Error> {
        let certificates = chain.certificates().iter();
        serializer.collect_seq(certificates.map(|certificate| Base64::encode_string(certificate.as_bytes())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Chain, D::Error> {
        let texts = Vec::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let certificates = texts.iter().map(|text| {
            let der = Base64::decode_vec(text).map_err(|_| D::Error::custom("a certificate is not base64"))?;
            Certificate::try_from(der).map_err(D::Error::custom)
        });
        Chain::try_from(certificates.collect::<Result<Vec<_>, _>>()?).map_err(D::Error::custom)
    }
}

pub(crate) mod objects {
    //! Base64 of at most [`MAX_OBJECTS`] bytes.

    use base64ct::{Base64, Encoding};
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use crate::request::MAX_OBJECTS;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Base64::encode_string(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        // Four characters hold three bytes.
        if text.len() > MAX_OBJECTS.div_ceil(3).saturating_mul(4) {
            return Err(D::Error::custom("the objects are too long"));
        }
        Base64::decode_vec(&text)
            .ok()
            .filter(|bytes| bytes.len() <= MAX_OBJECTS)
            .ok_or_else(|| D::Error::custom("the objects are not base64, or too long"))
    }
}

/// A list of at most `MAX` entries.
pub(crate) fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MAX} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(entry) = entries.next_element()? {
                if list.len() == MAX {
                    return Err(A::Error::custom(format_args!("a list has more than {MAX} entries")));
                }
                list.push(entry);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads exactly `N` bytes from lower-case hexadecimal digits.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    }
}
