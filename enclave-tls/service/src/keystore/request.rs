//! A certificate request (PKCS #10, RFC 2986) for a key, signed by it.

use der::asn1::{Any, BitString, Ia5String, Null, OctetString, SetOfVec, UintRef, Utf8StringRef};
use der::{Decode, Encode};
use enclave_wire::identity::CertificateRequest;
use enclave_wire::{DnsName, KeyType, Mechanism};
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::key::{KeyError, SigningKey};
use crate::chain::oid;

impl SigningKey {
    /// A request for a certificate of these names. The usage does not restrict it: the service says all of what it signs here.
    ///
    /// The names go into a subjectAltName; the first is the common name, too, where it is short enough for one.
    pub fn certificate_request(&self, names: &[DnsName]) -> Result<CertificateRequest, KeyError> {
        let info = self.request_info(names).map_err(|_| KeyError::Library)?;
        let (mechanism, algorithm) = self.request_algorithm();
        let signed = info.to_der().map_err(|_| KeyError::Library)?;
        let signature = self
            .sign_unrestricted(mechanism, &signed)
            .map_err(|_| KeyError::Library)?;
        let der = self
            .x509_signature(&signature)
            .and_then(|signature| {
                CertReq {
                    info,
                    algorithm,
                    signature,
                }
                .to_der()
            })
            .map_err(|_| KeyError::Library)?;
        CertificateRequest::try_from(der).map_err(|_| KeyError::TooManyNames)
    }

    fn request_info(&self, names: &[DnsName]) -> der::Result<CertReqInfo> {
        let subject = subject(names)?;
        let mut attributes = SetOfVec::new();
        if !names.is_empty() {
            // RFC 5280, 4.2.1.6: critical where nothing else names the subject.
            let extension = subject_alt_name(names, subject.is_empty())?;
            attributes.insert(Attribute::try_from(ExtensionReq(vec![extension]))?)?;
        }
        Ok(CertReqInfo {
            version: Version::V1,
            subject,
            public_key: SubjectPublicKeyInfoOwned::from_der(self.spki().as_bytes())?,
            attributes,
        })
    }

    fn request_algorithm(&self) -> (Mechanism, AlgorithmIdentifierOwned) {
        let (mechanism, oid, parameters) = match self.key_type() {
            KeyType::Rsa(_) => (Mechanism::RsaPkcs1Sha256, oid::SHA256_WITH_RSA, Some(Any::from(Null))),
            KeyType::P256 => (Mechanism::EcdsaSha256, oid::ECDSA_WITH_SHA256, None),
            KeyType::P384 => (Mechanism::EcdsaSha384, oid::ECDSA_WITH_SHA384, None),
            KeyType::P521 => (Mechanism::EcdsaSha512, oid::ECDSA_WITH_SHA512, None),
            KeyType::Ed25519 => (Mechanism::Ed25519, oid::ED25519, None),
        };
        (mechanism, AlgorithmIdentifierOwned { oid, parameters })
    }

    /// X.509 writes an ECDSA signature as a SEQUENCE of r and s, the others as they are.
    fn x509_signature(&self, signature: &[u8]) -> der::Result<BitString> {
        match self.key_type() {
            KeyType::Rsa(_) | KeyType::Ed25519 => BitString::from_bytes(signature),
            KeyType::P256 | KeyType::P384 | KeyType::P521 => {
                let (r, s) = signature.split_at(signature.len().div_euclid(2));
                BitString::from_bytes(&vec![UintRef::new(r)?, UintRef::new(s)?].to_der()?)
            }
        }
    }
}

fn subject(names: &[DnsName]) -> der::Result<Name> {
    let Some(common_name) = names.first().filter(|name| name.as_str().len() <= MAX_COMMON_NAME) else {
        return Ok(Name::default());
    };
    let attribute = AttributeTypeAndValue {
        oid: oid::COMMON_NAME,
        value: Any::from(Utf8StringRef::new(common_name.as_str())?),
    };
    let common_name = RelativeDistinguishedName::from(SetOfVec::try_from(vec![attribute])?);
    Name::from_der(&RdnSequence::from(vec![common_name]).to_der()?)
}

fn subject_alt_name(names: &[DnsName], critical: bool) -> der::Result<Extension> {
    let names = names
        .iter()
        .map(|name| Ia5String::new(name.as_str()).map(GeneralName::DnsName))
        .collect::<der::Result<Vec<_>>>()?;
    Ok(Extension {
        extn_id: oid::SUBJECT_ALT_NAME,
        critical,
        extn_value: OctetString::new(SubjectAltName(names).to_der()?)?,
    })
}

/// ub-common-name (RFC 5280, appendix A.1).
const MAX_COMMON_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::key::tests::openssl::{Scratch, run};
    use super::*;

    fn names(names: &[&str]) -> Vec<DnsName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// What openssl prints of a request, after it has verified the request's signature.
    fn printed(key: &SigningKey, names: &[DnsName]) -> String {
        let request = key.certificate_request(names).unwrap();
        let scratch = Scratch::new();
        let file = scratch.file("request", request.as_bytes());
        let text = run(&["req", "-verify", "-inform", "DER", "-in", &file, "-noout", "-text"]).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn openssl_verifies_the_request_of_every_kind_of_key() {
        let algorithms = [
            ("RSA-2048", "sha256WithRSAEncryption"),
            ("P-256", "ecdsa-with-SHA256"),
            ("P-384", "ecdsa-with-SHA384"),
            ("P-521", "ecdsa-with-SHA512"),
            ("Ed25519", "ED25519"),
        ];
        for (key_type, algorithm) in algorithms {
            let key = SigningKey::generate(key_type.parse().unwrap()).unwrap();
            let text = printed(&key, &names(&["www.example.com", "*.example.com"]));
            assert!(text.contains("Subject: CN = www.example.com\n"), "{text}");
            assert!(text.contains("X509v3 Subject Alternative Name: \n"), "{text}");
            assert!(text.contains("DNS:www.example.com, DNS:*.example.com\n"), "{text}");
            assert!(text.contains(&format!("Signature Algorithm: {algorithm}\n")), "{text}");
        }
    }

    #[test]
    fn a_name_too_long_for_a_common_name_leaves_the_subject_empty() {
        let key = SigningKey::generate(KeyType::P256).unwrap();
        let long = format!("{}.example", "a".repeat(57));
        assert_eq!(long.len(), 65);
        let text = printed(&key, &names(&[&long]));
        assert!(text.contains("Subject: \n"), "{text}");
        assert!(text.contains("X509v3 Subject Alternative Name: critical\n"), "{text}");
        assert!(text.contains(&format!("DNS:{long}\n")), "{text}");
        let just_fits = &long[1..];
        assert!(printed(&key, &names(&[just_fits])).contains(&format!("Subject: CN = {just_fits}\n")));
    }

    #[test]
    fn a_client_needs_no_names() {
        let key = SigningKey::generate(KeyType::Ed25519).unwrap();
        let text = printed(&key, &[]);
        assert!(text.contains("Subject: \n") && !text.contains("Alternative"), "{text}");
    }

    #[test]
    fn the_requests_key_is_the_key() {
        let key = SigningKey::generate(KeyType::P384).unwrap();
        let request = CertReq::from_der(key.certificate_request(&[]).unwrap().as_bytes()).unwrap();
        assert_eq!(request.info.public_key.to_der().unwrap(), key.spki().as_bytes());
    }

    #[test]
    fn more_names_than_a_request_holds_are_refused() {
        let key = SigningKey::generate(KeyType::P256).unwrap();
        let label = "a".repeat(60);
        let many: Vec<DnsName> = (0..100)
            .map(|n| format!("n{n}.{label}.{label}.{label}.example").parse().unwrap())
            .collect();
        assert_eq!(key.certificate_request(&many), Err(KeyError::TooManyNames));
        assert!(key.certificate_request(&many[..60]).is_ok());
    }
}
