//! Private keys as bundles carry them: PEM, in the three forms that tools write.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

use der::asn1::{AnyRef, OctetStringRef};
use der::{Encode, Header, SliceWriter, Tag};
use pem_rfc7468::Decoder;
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

use super::{KeyError, SigningKey, pkcs8};
use crate::chain::oid;

impl SigningKey {
    /// Reads a private key in PEM (RFC 7468): PKCS#8, PKCS#1 (RSA) or SEC 1 (on a named curve), one key and nothing after it. The
    /// parameters that openssl writes before a SEC 1 key are skipped, since the key names its curve itself.
    ///
    /// The text is decoded in constant time, and every copy that is made of the key is wiped.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        if text.len() > MAX_TEXT {
            return Err(KeyError::NotPem);
        }
        let text = after_parameters(text.trim_ascii())?;
        if has_header(text) {
            return Err(KeyError::Encrypted);
        }
        let mut decoder = Decoder::new_detect_wrap(text).map_err(|_| KeyError::NotPem)?;
        let label = decoder.type_label();
        let mut key = Zeroizing::new(vec![0; decoder.remaining_len()]);
        decoder.decode(&mut key).map_err(|_| KeyError::NotPem)?;
        match label {
            "PRIVATE KEY" => Self::from_pkcs8(&key),
            "RSA PRIVATE KEY" => Self::from_pkcs8(&pkcs8_of_rsa(&key)?),
            "EC PRIVATE KEY" => Self::from_pkcs8(&pkcs8_of_ec(&key)?),
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            _ => Err(KeyError::NotPem),
        }
    }
}

/// What follows the parameters of a SEC 1 key, where the text begins with them.
fn after_parameters(text: &[u8]) -> Result<&[u8], KeyError> {
    let Some(parameters) = text.strip_prefix(BEGIN_PARAMETERS) else {
        return Ok(text);
    };
    let mut windows = parameters.windows(END_PARAMETERS.len());
    let end = windows.position(|window| window == END_PARAMETERS);
    let rest = end.and_then(|end| parameters.get(end..)?.strip_prefix(END_PARAMETERS));
    rest.map(<[u8]>::trim_ascii_start).ok_or(KeyError::NotPem)
}

/// Whether traditional encryption's header follows the first line. Only what stands there before a key's own bytes is compared.
fn has_header(text: &[u8]) -> bool {
    let begin = text.windows(BEGIN.len()).position(|window| window == BEGIN);
    let first_line = begin.and_then(|begin| text.get(begin..));
    let rest = first_line.and_then(|text| text.splitn(2, |byte| *byte == b'\n').nth(1));
    rest.is_some_and(|rest| rest.starts_with(PROC_TYPE))
}

fn pkcs8_of_rsa(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let algorithm = AlgorithmIdentifierRef {
        oid: oid::RSA_ENCRYPTION,
        parameters: Some(AnyRef::NULL),
    };
    envelope(&algorithm, key).map_err(|_| KeyError::Malformed)
}

/// The curve stands in the key: without it the key could be any curve's.
fn pkcs8_of_ec(key: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let curve = pkcs8::ec_private_key(key)?.ok_or(KeyError::Unsupported)?;
    let algorithm = AlgorithmIdentifierRef {
        oid: oid::EC_PUBLIC_KEY,
        parameters: Some(AnyRef::from(&curve)),
    };
    envelope(&algorithm, key).map_err(|_| KeyError::Malformed)
}

/// A PrivateKeyInfo (RFC 5208) around a key, in a buffer that never has to grow.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a sum of two `der::Length` is a Result: it is checked"
)]
fn envelope(algorithm: &AlgorithmIdentifierRef<'_>, key: &[u8]) -> der::Result<Zeroizing<Vec<u8>>> {
    let key = OctetStringRef::new(key)?;
    let length = [VERSION.encoded_len()?, algorithm.encoded_len()?, key.encoded_len()?]
        .into_iter()
        .try_fold(der::Length::ZERO, |sum, length| sum + length)?;
    let header = Header::new(Tag::Sequence, length);
    let total = (header.encoded_len()? + length)?;
    let mut buffer = Zeroizing::new(vec![0; usize::try_from(total)?]);
    let mut writer = SliceWriter::new(&mut buffer);
    header.encode(&mut writer)?;
    VERSION.encode(&mut writer)?;
    algorithm.encode(&mut writer)?;
    key.encode(&mut writer)?;
    writer.finish()?;
    Ok(buffer)
}

const VERSION: u8 = 0;
const BEGIN: &[u8] = b"-----BEGIN ";
/// What the header begins with (RFC 1421): nine characters, which in a key are of the seven bytes before its secret, or of fewer. No key has a
/// hyphen.
const PROC_TYPE: &[u8] = b"Proc-Type";
const BEGIN_PARAMETERS: &[u8] = b"-----BEGIN EC PARAMETERS-----";
const END_PARAMETERS: &[u8] = b"-----END EC PARAMETERS-----";
/// RSA-8192 has some 6.4 KB, and other text may stand before it.
const MAX_TEXT: usize = 16_384;
