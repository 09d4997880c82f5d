use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;

mod form;
mod merged;

/// What a lab's image might say.
const LAB: &str = r#"
version = 1
imports = true
[[names]]
pattern = "lab-*"
usages = ["tls", "digest"]
[[names]]
pattern = "*-client"
usages = ["tls-client"]
[keys]
rsa = { min = 2048, max = 4096 }
curves = ["P-256", "Ed25519"]
[attestation]
root_sha256 = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff"
[aws]
regions = ["us-east-1", "cn-north-1"]
roots = []
[sealing]
keys = ["arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"]
[bundles]
keys = ["arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"]
foreign = true
[clock]
any_source = true
[[acme]]
directory = "https://ca.example:8443/acme/*/directory"
roots = ["*"]
[dns]
resolver = "https://dns.example/dns-query"
roots = []
"#;

const RELEASE: &str = include_str!("../../../packaging/eif/policy.toml");

fn policy(toml: &str) -> Policy {
    Policy::parse(toml.as_bytes()).unwrap()
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn key_type(text: &str) -> KeyType {
    text.parse().unwrap()
}

fn region(text: &str) -> Region {
    text.parse().unwrap()
}

/// The ARN of the n-th key of the tests.
fn key(n: u8) -> KeyArn {
    let text = format!("arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-{n:012x}");
    text.parse().unwrap()
}

fn acme_roots(policy: &Policy, url: &str) -> Result<Vec<Vec<u8>>, ControlError> {
    let (authority, path) = url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
    policy.acme_roots(&host.parse().unwrap(), port.parse().unwrap(), &format!("/{path}"))
}

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

#[test]
fn every_matching_pattern_adds_its_usages() {
    let policy = policy(LAB);
    assert_eq!(policy.allows(&name("lab-a"), Usage::Tls), Ok(()));
    assert_eq!(
        policy.allows(&name("lab-a"), Usage::TlsClient),
        Err(ControlError::UsageRefused)
    );
    assert_eq!(policy.allows(&name("lab-client"), Usage::TlsClient), Ok(()));
    assert_eq!(policy.allows(&name("lab-client"), Usage::Digest), Ok(()));
    assert_eq!(policy.allows(&name("prod"), Usage::Tls), Err(ControlError::NameRefused));
}

#[test]
fn key_types_and_sizes() {
    for (text, allowed) in [
        ("RSA-2048", true),
        ("RSA-4096", true),
        ("RSA-4104", false),
        ("RSA-8192", false),
        ("P-256", true),
        ("P-384", false),
        ("Ed25519", true),
    ] {
        assert_eq!(policy(LAB).allows_key(key_type(text)).is_ok(), allowed, "{text}");
    }
}

#[test]
fn threat_33_only_keys_and_regions_of_the_policy_are_used() {
    let policy = policy(LAB);
    let bundles = "arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
    let other_account = bundles.replace("111122223333", "444455556666");
    assert_eq!(policy.bundle_key(&bundles.parse().unwrap()), Ok(()));
    for arn in [other_account, policy.sealing_keys()[0].to_string()] {
        let refused = policy.bundle_key(&arn.parse().unwrap());
        assert_eq!(refused, Err(ControlError::KmsKeyRefused), "{arn}");
    }
    assert_eq!(policy.sealing_keys().len(), 1);
    assert_eq!(policy.allows_region(&region("cn-north-1")), Ok(()));
    assert_eq!(
        policy.allows_region(&region("us-west-2")),
        Err(ControlError::RegionRefused)
    );
    assert_eq!(policy.allows_foreign_bundles(), Ok(()));
}

#[test]
fn what_is_not_said_is_not_allowed() {
    let policy = policy("version = 1\nimports = false\n[keys]\n");
    assert_eq!(policy.allows(&name("a"), Usage::Tls), Err(ControlError::NameRefused));
    assert_eq!(policy.allows_key(key_type("P-256")), Err(ControlError::KeyTypeRefused));
    assert_eq!(
        policy.allows_key(key_type("RSA-2048")),
        Err(ControlError::KeyTypeRefused)
    );
    assert_eq!(policy.allows_imports(), Err(ControlError::ImportsRefused));
    assert_eq!(policy.attestation(), None);
    assert!(policy.aws_roots().is_empty() && policy.sealing_keys().is_empty());
    assert_eq!(
        policy.allows_region(&region("us-east-1")),
        Err(ControlError::RegionRefused)
    );
    assert_eq!(policy.bundle_key(&key(1)), Err(ControlError::KmsKeyRefused));
    assert_eq!(policy.allows_foreign_bundles(), Err(ControlError::ForeignBundleRefused));
    assert!(!policy.allows_any_clock_source());
    assert_eq!(acme_roots(&policy, LETS_ENCRYPT), Err(ControlError::DirectoryRefused));
    assert_eq!(policy.resolver(), Err(ControlError::ResolverRefused));
}

/// An entry without roots is none, whether they were left open or left out.
#[test]
fn threat_31_a_directory_and_its_roots_are_both_named() {
    let ca = |roots: &str| {
        let with = LAB.replacen("roots = [\"*\"]", roots, 1);
        acme_roots(&policy(&with), "https://ca.example:8443/acme/web/directory")
    };
    let pem = |n: usize| root::to_pem(&policy(RELEASE).aws_roots()[n]);
    let roots = |pems: &[String]| format!("roots = {pems:?}");
    assert_eq!(ca("roots = [\"*\"]"), Err(ControlError::DirectoryRefused));
    assert_eq!(ca("roots = []"), Err(ControlError::DirectoryRefused));
    assert_eq!(ca(&roots(&[pem(1)])), Ok(vec![policy(RELEASE).aws_roots()[1].clone()]));
    let twice = format!(
        "{}\n[[acme]]\ndirectory = \"https://ca.example:8443/acme/web/directory\"\n{}",
        roots(&[pem(3)]),
        roots(&[pem(3), pem(2)])
    );
    let mut both = [2, 3].map(|n: usize| policy(RELEASE).aws_roots()[n].clone());
    both.sort();
    assert_eq!(ca(&twice), Ok(both.to_vec()), "each that matches adds its roots");
    let any = LAB.replacen("https://ca.example:8443/acme/*/directory", "*", 1);
    let any = policy(&any.replacen("roots = [\"*\"]", &roots(&[pem(1)]), 1));
    assert_eq!(
        acme_roots(&any, "https://ca.example:8443/acme/web/directory"),
        Err(ControlError::DirectoryRefused)
    );
    assert_eq!(policy(LAB).resolver(), Err(ControlError::ResolverRefused));
}

#[test]
fn the_measurement_is_of_the_values_and_not_of_their_layout() {
    let plain = policy("version = 1\nimports = false\n[keys]\ncurves = [\"P-256\"]\n");
    assert_eq!(
        plain.canonical_json(),
        r#"{"imports":false,"keys":{"curves":["P-256"]},"version":1}"#
    );
    // printf '%s' JSON | sha384sum; the same after 48 zero bytes for PCR16.
    assert_eq!(hex(&plain.sha384()), SHA384_OF_PLAIN);
    assert_eq!(hex(&plain.pcr16()), PCR16_OF_PLAIN);
    let other = policy("# wörds\nkeys.curves = ['P-256',]\n\"imports\"= false\nversion = 0x1\n");
    assert_eq!(plain.pcr16(), other.pcr16());
    assert_ne!(plain.pcr16(), policy(LAB).pcr16());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const SHA384_OF_PLAIN: &str =
    "f0ecd3a46d4cfce57e3edefd2f1a90dfa3476dedb68740006b3845767aed51f8c94d2f2a7f8889375a093d00b9bbb4a1";
const PCR16_OF_PLAIN: &str =
    "fa79655ef2d698b3685ecca48feab66516d6c1b7126c38cf219c34402a1978ebd83df3145d47f1fbe2e2b833a9601259";
