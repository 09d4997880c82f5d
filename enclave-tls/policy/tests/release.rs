//! The policy of a release image: what every enclave made from it is bound by.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use aws_lc_rs::digest::{SHA256, digest};
use enclave_policy::aws::{KeyArn, Region};
use enclave_policy::{NsmTrust, Policy};
use enclave_wire::control::ControlError;
use enclave_wire::{KeyType, Name, Usage};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

const RELEASE: &str = include_str!("../../../packaging/eif/policy.toml");

fn release() -> Policy {
    Policy::parse(RELEASE.as_bytes()).unwrap()
}

#[test]
fn threat_19_documents_of_aws_alone_are_true() {
    let amazon = NsmTrust::Root(enclave_attestation::AWS_ROOT_SHA256);
    assert_eq!(release().attestation(), Some(amazon));
}

#[test]
fn threat_31_the_roots_are_amazons_five_and_no_other() {
    let policy = release();
    let subjects: Vec<String> = policy.aws_roots().iter().map(|der| subject(der)).collect();
    let amazon = |n| format!("CN=Amazon Root CA {n},O=Amazon,C=US");
    let starfield = "CN=Starfield Services Root Certificate Authority - G2,O=Starfield Technologies\\, Inc.,\
                     L=Scottsdale,ST=Arizona,C=US";
    let expected = [amazon(1), amazon(2), amazon(3), amazon(4), starfield.to_owned()];
    assert_eq!(subjects, expected);
    // Each has the key that its name promises.
    let keys: Vec<String> = policy.aws_roots().iter().map(|der| key_sha256(der)).collect();
    assert_eq!(keys, AMAZON_KEYS_SHA256);
}

#[test]
fn threat_31_the_image_leaves_keys_and_regions_open_and_nothing_else() {
    let policy = release();
    let region: Region = "eu-central-1".parse().unwrap();
    assert_eq!(policy.allows_region(&region), Ok(()));
    assert!(policy.sealing_keys().is_empty());
    let key: KeyArn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        .parse()
        .unwrap();
    assert_eq!(policy.bundle_key(&key), Err(ControlError::KmsKeyRefused));
    assert_eq!(policy.allows_foreign_bundles(), Ok(()));
}

#[test]
fn threat_31_certificates_are_ordered_of_two_cas_and_each_has_its_own_roots() {
    let policy = release();
    let roots = |host: &str, path: &str| policy.acme_roots(&host.parse().unwrap(), 443, path);
    for host in ["acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org"] {
        let mut keys: Vec<String> = roots(host, "/directory")
            .unwrap()
            .iter()
            .map(|der| key_sha256(der))
            .collect();
        keys.sort();
        assert_eq!(keys, ISRG_KEYS_SHA256, "{host}");
    }
    let acm = roots(
        "acm-acme-enroll.eu-west-1.api.aws",
        "/0b1cdd8c-1f3a-4c1e-9d3c-1f3a4c1e9d3c/directory",
    );
    let mut amazon = policy.aws_roots().to_vec();
    amazon.sort();
    assert_eq!(acm, Ok(amazon));
    for (host, path) in [
        ("acme-v02.api.letsencrypt.org", "/other"),
        ("acme-v03.api.letsencrypt.org", "/directory"),
        ("acm-acme-enroll.eu-west-1.api.aws", "/directory"),
        ("other.eu-west-1.api.aws", "/a/directory"),
        ("step.example", "/acme/acme/directory"),
    ] {
        assert_eq!(roots(host, path), Err(ControlError::DirectoryRefused), "{host}{path}");
    }
    assert_eq!(policy.resolver(), Err(ControlError::ResolverRefused));
}

#[test]
fn keys_serve_tls_and_are_never_imported() {
    let policy = release();
    let name = Name::try_from("www.example.com").unwrap();
    assert_eq!(policy.allows_imports(), Err(ControlError::ImportsRefused));
    assert_eq!(policy.allows(&name, Usage::Tls), Ok(()));
    assert_eq!(policy.allows(&name, Usage::TlsClient), Ok(()));
    assert_eq!(policy.allows(&name, Usage::AcmeAccount), Ok(()));
    assert_eq!(policy.allows(&name, Usage::Digest), Err(ControlError::UsageRefused));
    for (text, allowed) in [
        ("RSA-2048", true),
        ("RSA-4096", true),
        ("RSA-8192", false),
        ("P-256", true),
        ("P-384", true),
        ("P-521", true),
        ("Ed25519", true),
    ] {
        let key_type: KeyType = text.parse().unwrap();
        assert_eq!(policy.allows_key(key_type).is_ok(), allowed, "{text}");
    }
}

#[test]
fn threat_16_a_release_counts_by_kvm_clock() {
    assert!(!release().allows_any_clock_source());
}

fn subject(der: &[u8]) -> String {
    let certificate = Certificate::from_der(der).unwrap();
    certificate.tbs_certificate().subject().to_string()
}

fn key_sha256(der: &[u8]) -> String {
    let certificate = Certificate::from_der(der).unwrap();
    let spki = certificate
        .tbs_certificate()
        .subject_public_key_info()
        .to_der()
        .unwrap();
    let hash = digest(&SHA256, &spki);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of each root's SPKI, as Amazon Trust Services publishes it: <https://www.amazontrust.com/repository/>
const AMAZON_KEYS_SHA256: [&str; 5] = [
    "fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
    "7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
    "36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
    "f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
    "2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
];

/// The SHA-256 of each root's SPKI, in order: X1 and X2, as <https://letsencrypt.org/certificates/> publishes the certificates.
const ISRG_KEYS_SHA256: [&str; 2] = [
    "0b9fa5a59eed715c26c1020c711b4f6ec42d58b0015e14337a39dad301c5afc3",
    "762195c225586ee6c0237456e2107dc54f1efc21f61a792ebd515913cce68332",
];
