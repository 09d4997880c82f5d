//! A bundle: a certificate with its chain, and its private key encrypted under a KMS key. Whoever stores it may have written it.

use base64ct::{Base64, Encoding as _};
use enclave_policy::aws::KeyArn;
use enclave_wire::control::ControlError;
use enclave_wire::identity::Certificate;
use enclave_wire::{Chain, Name};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A bundle, as it was read. Nothing in it is authenticated before its key is open and its leaf is that key's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    /// Leaf first.
    pub(super) chain: Chain,
    /// The private key's PEM, as KMS encrypted it.
    pub(super) encrypted_key: Vec<u8>,
    pub(super) made_by: MadeBy,
}

/// Who made a bundle, as far as it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MadeBy {
    /// `enclave-tlsctl seal`: the encryption context names the certificate, so that the key opens for no other.
    Us { name: Name, key: KeyArn },
    /// Another program: there is no encryption context.
    Others,
}

impl Bundle {
    /// Reads a bundle's JSON. Other programs may say more than is known here; ours does not.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Invalid> {
        if json.len() > MAX_JSON {
            return Err(Invalid::Json);
        }
        let file: File = serde_json::from_slice(json).map_err(|_| Invalid::Json)?;
        let made_by = match file.enclave_tls {
            None => MadeBy::Others,
            Some(_) if !file.others.is_empty() => return Err(Invalid::Json),
            Some(ours) => ours.read()?,
        };
        if file.encryption_method != "SYMMETRIC_DEFAULT" {
            return Err(Invalid::Method);
        }
        let encrypted_key = base64(&file.encrypted_private_key).ok_or(Invalid::Base64)?;
        let mut certificates = certificates(&file.certificate)?;
        if certificates.len() != 1 || encrypted_key.is_empty() {
            return Err(Invalid::Certificates);
        }
        certificates.extend(self::certificates(&file.certificate_chain)?);
        Ok(Self {
            chain: Chain::try_from(certificates).map_err(|_| Invalid::Certificates)?,
            encrypted_key,
            made_by,
        })
    }
}

/// Why it is no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalid {
    /// Not the JSON of a bundle.
    Json,
    /// A version that is not known.
    Version,
    /// An encryption method that is not the one of symmetric KMS keys.
    Method,
    /// The encrypted key is not base64.
    Base64,
    /// Not one leaf and its issuers in PEM, or too many.
    Certificates,
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json => "not the JSON of a bundle",
            Self::Version => "a bundle of a version that is not known",
            Self::Method => "the encryption method is not SYMMETRIC_DEFAULT",
            Self::Base64 => "the encrypted private key is not base64",
            Self::Certificates => "not one certificate, and its issuers, in PEM",
        })
    }
}

impl From<Invalid> for ControlError {
    fn from(_: Invalid) -> Self {
        Self::BundleInvalid
    }
}

/// The JSON, as ACM's association and its users write it. A member that stands twice is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    certificate: String,
    #[serde(default)]
    certificate_chain: String,
    encrypted_private_key: String,
    encryption_method: String,
    /// What ours add. Null is no absence: it was written by somebody.
    #[serde(default, deserialize_with = "present")]
    enclave_tls: Option<Ours>,
    #[serde(flatten)]
    others: std::collections::HashMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ours {
    version: u32,
    name: String,
    key_arn: String,
}

impl Ours {
    fn read(self) -> Result<MadeBy, Invalid> {
        if self.version != VERSION {
            return Err(Invalid::Version);
        }
        Ok(MadeBy::Us {
            name: self.name.parse().map_err(|_| Invalid::Json)?,
            key: self.key_arn.parse().map_err(|_| Invalid::Json)?,
        })
    }
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Ours>, D::Error> {
    Ours::deserialize(deserializer).map(Some)
}

/// The certificates of a PEM text, in their order. What stands between them is for people, as with every server that reads such files.
fn certificates(pem: &str) -> Result<Vec<Certificate>, Invalid> {
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some((_, from)) = rest.split_once(BEGIN) {
        let (body, after) = from.split_once(END).ok_or(Invalid::Certificates)?;
        let der = base64(body)
            .filter(|der| !der.is_empty())
            .ok_or(Invalid::Certificates)?;
        found.push(Certificate::try_from(der).map_err(|_| Invalid::Certificates)?);
        rest = after;
    }
    Ok(found)
}

/// Base64 in lines of any length.
fn base64(text: &str) -> Option<Vec<u8>> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    Base64::decode_vec(&packed).ok()
}

/// As much as the control plane and S3 give.
const MAX_JSON: usize = 65_536;
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    fn pem(der: &[u8]) -> String {
        format!("{BEGIN}\n{}\n{END}\n", Base64::encode_string(der))
    }

    fn foreign() -> serde_json::Value {
        serde_json::json!({
            "certificate": pem(&[1, 2]),
            "certificateChain": format!("{}\n{}", pem(&[3]), pem(&[4])),
            "encryptedPrivateKey": "AQID\nBA==\n",
            "encryptionMethod": "SYMMETRIC_DEFAULT",
        })
    }

    fn ours() -> serde_json::Value {
        let mut bundle = foreign();
        bundle["enclaveTls"] = serde_json::json!({"version": 1, "name": "lab-a", "keyArn": KEY});
        bundle
    }

    fn parse(bundle: &serde_json::Value) -> Result<Bundle, Invalid> {
        Bundle::parse(bundle.to_string().as_bytes())
    }

    #[test]
    fn a_bundle_is_read_whoever_made_it() {
        let certificates: Vec<_> = [vec![1, 2], vec![3], vec![4]]
            .map(|der| Certificate::try_from(der).unwrap())
            .into();
        let mut expected = Bundle {
            chain: Chain::try_from(certificates).unwrap(),
            encrypted_key: vec![1, 2, 3, 4],
            made_by: MadeBy::Others,
        };
        assert_eq!(parse(&foreign()), Ok(expected.clone()));
        let mut more = foreign();
        more["comment"] = "for people".into();
        assert_eq!(parse(&more), Ok(expected.clone()));
        expected.made_by = MadeBy::Us {
            name: "lab-a".parse().unwrap(),
            key: KEY.parse().unwrap(),
        };
        assert_eq!(parse(&ours()), Ok(expected));
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let cases: [(&str, serde_json::Value, Invalid); 15] = [
            ("/comment", "x".into(), Invalid::Json),
            ("/enclaveTls", serde_json::Value::Null, Invalid::Json),
            ("/enclaveTls/comment", "x".into(), Invalid::Json),
            ("/enclaveTls/version", 2.into(), Invalid::Version),
            ("/enclaveTls/version", (-1).into(), Invalid::Json),
            ("/enclaveTls/name", "../a".into(), Invalid::Json),
            ("/enclaveTls/keyArn", "alias/a".into(), Invalid::Json),
            ("/encryptionMethod", "RSAES_OAEP_SHA_256".into(), Invalid::Method),
            ("/encryptedPrivateKey", "AQI".into(), Invalid::Base64),
            ("/encryptedPrivateKey", "".into(), Invalid::Certificates),
            ("/certificate", "".into(), Invalid::Certificates),
            ("/certificate", pem(&[1]).repeat(2).into(), Invalid::Certificates),
            ("/certificate", pem(&[]).into(), Invalid::Certificates),
            ("/certificateChain", BEGIN.into(), Invalid::Certificates),
            ("/certificateChain", pem(&[1]).repeat(8).into(), Invalid::Certificates),
        ];
        for (place, value, error) in cases {
            let mut bundle = ours();
            let (parent, member) = place.rsplit_once('/').unwrap();
            bundle.pointer_mut(parent).unwrap()[member] = value;
            assert_eq!(parse(&bundle), Err(error), "{place}");
        }
        let twice = ours().to_string().replacen('{', r#"{"certificate":"","#, 1);
        assert_eq!(Bundle::parse(twice.as_bytes()), Err(Invalid::Json));
        assert_eq!(Bundle::parse(&vec![b' '; MAX_JSON + 1]), Err(Invalid::Json));
        assert_eq!(Bundle::parse(&[b'['; MAX_JSON]), Err(Invalid::Json));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, text in ".{0,200}") {
            let _ = Bundle::parse(&bytes);
            let mut bundle = ours();
            bundle["certificateChain"] = text.into();
            let _ = parse(&bundle);
        }
    }
}
