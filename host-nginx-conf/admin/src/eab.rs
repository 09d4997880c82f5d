//! The file of an external account binding (RFC 8555, section 7.3.4): its MAC key, as a KMS ciphertext that a measured enclave opens.
//!
//! `enclave-tlsctl acm eab credentials` and `acme eab` write it, the agent hands it on to the enclave. Nothing in it is secret: the
//! ciphertext is what KMS made of the key's bytes (not of their base64url) with the encryption context
//! `{purpose: "eab", directory, kid}`, so that it opens for this directory and this identifier alone.

use base64ct::{Base64, Encoding};
use enclave_wire::control::{Binding, Listed};
use enclave_wire::log::Text;
use serde::{Deserialize, Serialize};

use crate::printable;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingFile {
    /// The directory of the CA that gave the key.
    pub directory: Text<1024>,
    /// What the enclave is given.
    pub binding: Binding,
}

/// Why a file is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingError {
    /// It is not this JSON.
    Json,
    /// A member is no printable text of its length, or the ciphertext no base64 of one.
    Member(&'static str),
}

impl std::fmt::Display for BindingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json => f.write_str(
                "it is not the JSON that `enclave-tlsctl acm eab credentials` and `acme eab` write: kid, directory, kms_key and \
                 ciphertext",
            ),
            Self::Member(name) => write!(f, "its {name} is not as `enclave-tlsctl acme eab` writes it; write it again"),
        }
    }
}

impl std::error::Error for BindingError {}

/// The context under which KMS encrypts the MAC key, and opens it.
#[must_use]
pub fn encryption_context<'a>(directory: &'a str, kid: &'a str) -> [(&'static str, &'a str); 3] {
    [("purpose", "eab"), ("directory", directory), ("kid", kid)]
}

impl BindingFile {
    /// Reads the JSON of a file.
    pub fn parse(text: &[u8]) -> Result<Self, BindingError> {
        let form: Form = serde_json::from_slice(text).map_err(|_| BindingError::Json)?;
        let ciphertext = Base64::decode_vec(&form.ciphertext)
            .ok()
            .filter(|bytes| !bytes.is_empty());
        let ciphertext = ciphertext.and_then(|bytes| Listed::try_from(bytes).ok());
        Ok(Self {
            directory: member("directory", &form.directory)?,
            binding: Binding {
                kid: member("kid", &form.kid)?,
                kms_key: member("kms_key", &form.kms_key)?,
                ciphertext: ciphertext.ok_or(BindingError::Member("ciphertext"))?,
            },
        })
    }

    /// The JSON of a file.
    #[must_use]
    pub fn text(&self) -> String {
        let form = Form {
            kid: self.binding.kid.as_str().to_owned(),
            directory: self.directory.as_str().to_owned(),
            kms_key: self.binding.kms_key.as_str().to_owned(),
            ciphertext: Base64::encode_string(self.binding.ciphertext.items()),
        };
        let mut text = serde_json::to_string_pretty(&form).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    kid: String,
    directory: String,
    kms_key: String,
    ciphertext: String,
}

fn member<const MAX: usize>(name: &'static str, text: &str) -> Result<Text<MAX>, BindingError> {
    printable::exact(text).ok_or(BindingError::Member(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "kid": "kid-1",
  "directory": "https://ca.example/directory",
  "kms_key": "arn:aws:kms:us-east-1:111122223333:key/1",
  "ciphertext": "AQID"
}
"#;

    #[test]
    fn what_is_written_is_read() {
        let read = BindingFile::parse(FILE.as_bytes()).unwrap();
        assert_eq!(read.binding.ciphertext.items(), [1, 2, 3]);
        assert_eq!(read.text(), FILE);
    }

    #[test]
    fn what_is_not_so_is_refused() {
        let spoil = |from: &str, to: &str| BindingFile::parse(FILE.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(spoil("kid-1", ""), BindingError::Member("kid"));
        assert_eq!(spoil("AQID", "AQI"), BindingError::Member("ciphertext"));
        assert_eq!(spoil("AQID", ""), BindingError::Member("ciphertext"));
        assert_eq!(spoil("AQID", &"AAAA".repeat(2_049)), BindingError::Member("ciphertext"));
        assert_eq!(spoil("https", "\u{e9}"), BindingError::Member("directory"));
        assert_eq!(spoil("\"kid\"", "\"mac_key\""), BindingError::Json);
        assert_eq!(BindingFile::parse(b"zWND"), Err(BindingError::Json));
    }
}
