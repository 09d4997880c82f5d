use proptest::prelude::*;

use super::*;

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
"#;

fn lab() -> Policy {
    Policy::parse(LAB.as_bytes()).unwrap()
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn key_type(text: &str) -> KeyType {
    text.parse().unwrap()
}

#[test]
fn every_matching_pattern_adds_its_usages() {
    let policy = lab();
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
        assert_eq!(lab().allows_key(key_type(text)).is_ok(), allowed, "{text}");
    }
}

#[test]
fn what_is_not_said_is_not_allowed() {
    let policy = Policy::parse(b"version = 1\nimports = false\n[keys]\n").unwrap();
    assert_eq!(policy.allows(&name("a"), Usage::Tls), Err(ControlError::NameRefused));
    assert_eq!(policy.allows_key(key_type("P-256")), Err(ControlError::KeyTypeRefused));
    assert_eq!(
        policy.allows_key(key_type("RSA-2048")),
        Err(ControlError::KeyTypeRefused)
    );
    assert_eq!(policy.allows_imports(), Err(ControlError::ImportsRefused));
}

#[test]
fn errors_name_the_line() {
    for (from, to, line) in [
        ("imports = true", "imports = true\nextra = 1", 4),
        ("pattern = \"lab-*\"", "pattern = \"l*b*\"", 5),
        ("usages = [\"tls\", \"digest\"]", "usages = [\"tls\", \"sign\"]", 6),
        ("\"Ed25519\"", "\"secp256k1\"", 12),
        ("max = 4096", "max = 16384", 11),
        ("max = 4096", "max = 2047", 11),
        ("max = 4096", "max = 4096.0", 11),
        ("max = 4096", "max = 4096, step = 8", 11),
        ("version = 1", "version = 2", 2),
        ("imports = true", "imports = 1979-05-27", 3),
        ("imports = true", "imports = ", 3),
    ] {
        let error = Policy::parse(LAB.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(
            matches!(&error, PolicyError::Form { line: Some(l), .. } if *l == line),
            "{to}: {error}"
        );
    }
    assert_eq!(Policy::parse(b"\xff"), Err(PolicyError::NotUtf8));
    let many = "[[names]]\npattern = \"a\"\nusages = []\n".repeat(257);
    let many = format!("version = 1\nimports = true\n{many}[keys]\n");
    assert_eq!(Policy::parse(many.as_bytes()), Err(PolicyError::TooManyNames));
}

fn patterns() -> impl Strategy<Value = String> {
    // Few letters and short texts, so that heads and tails meet and overlap.
    prop_oneof!["[ab]{1,4}", "[ab]{0,4}\\*[ab-]{0,4}"]
        .prop_filter("a pattern", |text| Pattern::try_from(text.as_str()).is_ok())
}

fn rules() -> impl Strategy<Value = Vec<NameRule>> {
    let rule = (
        patterns(),
        proptest::collection::btree_set(proptest::sample::select(Usage::ALL), 0..4),
    )
        .prop_map(|(pattern, usages)| NameRule {
            pattern: Pattern::try_from(pattern.as_str()).unwrap(),
            usages,
        });
    proptest::collection::vec(rule, 0..5)
}

fn policies() -> impl Strategy<Value = Policy> {
    let bits = || (256u16..=1024).prop_map(|bytes| RsaBits::try_from(bytes * 8).unwrap());
    let range = proptest::option::of((bits(), bits()).prop_map(|(a, b)| RsaRange {
        min: a.min(b),
        max: a.max(b),
    }));
    let curves = [KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Ed25519].to_vec();
    let curves = proptest::collection::btree_set(proptest::sample::select(curves), 0..5);
    (any::<bool>(), rules(), range, curves).prop_map(|(imports, names, rsa, curves)| Policy {
        imports,
        names,
        rsa,
        curves,
    })
}

proptest! {
    /// threat_39: what the parent adds can only take away; and nothing that both allow is lost.
    #[test]
    fn threat_39_merged_is_within_the_image(image in policies(), parent in policies(), text in "[ab][ab-]{0,7}", bits in 256u16..=1024) {
        let merged = image.intersect(&parent);
        let name = name(&text);
        for usage in Usage::ALL.iter().copied() {
            let both = image.allows(&name, usage).is_ok() && parent.allows(&name, usage).is_ok();
            prop_assert_eq!(merged.allows(&name, usage).is_ok(), both, "{} {:?}", text, usage);
        }
        let rsa = KeyType::Rsa(RsaBits::try_from(bits * 8).unwrap());
        for key_type in [rsa, KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Ed25519] {
            let both = image.allows_key(key_type).is_ok() && parent.allows_key(key_type).is_ok();
            prop_assert_eq!(merged.allows_key(key_type).is_ok(), both);
        }
        let both = image.allows_imports().is_ok() && parent.allows_imports().is_ok();
        prop_assert_eq!(merged.allows_imports().is_ok(), both);
    }

    /// threat_49: whatever a parent sends as a policy, the answer is a policy or an error.
    #[test]
    fn threat_49_no_bytes_panic(start in 0..LAB.len(), taken in 0usize..40, bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut policy = LAB.as_bytes().to_vec();
        let end = (start + taken).min(policy.len());
        policy.splice(start..end, bytes);
        let _ = Policy::parse(&policy);
    }
}
