//! What is no policy, and where it says so.

use super::*;

#[test]
fn errors_name_the_line() {
    let arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    for (from, to, line) in [
        ("imports = true", "imports = true\nextra = 1", 4),
        ("imports = true", "imports = true\nimports = true", 4),
        ("pattern = \"lab-*\"", "pattern = \"l*b*\"", 5),
        ("usages = [\"tls\", \"digest\"]", "usages = [\"tls\", \"sign\"]", 6),
        ("\"Ed25519\"", "\"secp256k1\"", 12),
        ("max = 4096", "max = 16384", 11),
        ("max = 4096", "max = 2047", 11),
        ("max = 4096", "max = 4096.0", 11),
        ("max = 4096", "max = 9007199254740992", 11),
        ("max = 4096", "max = 4096, step = 8", 11),
        ("version = 1", "version = 2", 2),
        ("version = 1", "version = 1.0", 2),
        ("version = 1", "version = 99999999999999999999", 2),
        ("imports = true", "imports = 1979-05-27", 3),
        ("imports = true", "imports = ", 3),
        ("imports = true\n", "imports = true\r\n", 3),
        ("root_sha256 = \"0", "root_sha256 = \"", 14),
        ("root_sha256 = \"0", "root_sha256 = \"00", 14),
        ("root_sha256 = \"00f", "root_sha256 = \"00F", 14),
        ("root_sha256 = \"00f", "root_sha256 = \"00é", 14),
        ("root_sha256 = \"00f", "root_sha256 = \"+ff", 14),
        ("root_sha256", "pcr0 = \"00\"\nroot_sha256", 14),
        ("\"cn-north-1\"", "\"cn-north\"", 16),
        ("\"cn-north-1\"", "\n\"us-iso-east-1\"", 17),
        ("\"cn-north-1\"", "\"us-east-1\"", 16),
        ("\"cn-north-1\"", "\"*\"", 16),
        ("roots = []", "roots = [\n\"pem\"]", 18),
        ("roots = []", "roots = []\nendpoint = \"https://kms.example\"", 18),
        (arn, "arn:aws:kms:us-east-1:111122223333:alias/sealing", 19),
        (
            arn,
            "arn:aws:kms:cn-north-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            19,
        ),
        (arn, &format!("{arn}\",\"{arn}"), 19),
        (arn, &format!("*\",\"{arn}"), 19),
        ("[sealing]\nkeys", "[sealing]\nkey", 19),
        ("foreign = true", "foreign = \"yes\"", 22),
        ("foreign = true", "foriegn = false", 22),
        ("any_source = true", "any_source = \"tsc\"", 24),
        ("any_source = true", "source = \"tsc\"", 24),
        ("https://ca.example:8443/acme", "http://ca.example/acme", 26),
        ("https://ca.example:8443/acme", "https://ca*.example/acme", 26),
        ("roots = [\"*\"]", "roots = [\"*\", \"*\"]", 27),
        ("roots = [\"*\"]", "", 25),
        ("roots = [\"*\"]", "roots = [\"*\"]\nuser = 1", 28),
        ("https://dns.example/dns-query", "https://*.example/dns-query", 29),
        ("https://dns.example/dns-query", "dns.example", 29),
    ] {
        let text = LAB.replacen(from, to, 1);
        assert_ne!(text, LAB, "{from}");
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert!(
            matches!(&error, PolicyError::Form { line: Some(l), .. } if *l == line),
            "{to}: {error}"
        );
    }
    assert_eq!(Policy::parse(b"\xff"), Err(PolicyError::NotUtf8));
}

#[test]
fn errors_say_what_is_wrong() {
    for (from, to, message) in [
        ("4096", "4096.0", "line 11: a policy has no floats"),
        ("\"cn-north-1\"", "\"*\"", "line 16: a \"*\" stands alone"),
        (
            "key/1234",
            "alias/1234",
            "line 19: an alias is not a key: it can be pointed to another; write the key's own ARN",
        ),
    ] {
        let text = LAB.replacen(from, to, 1);
        assert_eq!(Policy::parse(text.as_bytes()).unwrap_err().to_string(), message);
    }
}

#[test]
fn documents_are_signed_under_a_root_or_by_nobody() {
    let with = |attestation: &str| {
        let text = format!("version = 1\nimports = true\n[keys]\n[attestation]\n{attestation}\n");
        Policy::parse(text.as_bytes())
    };
    let root = format!("root_sha256 = \"{}\"", "0a".repeat(32));
    assert_eq!(with(&root).unwrap().attestation(), Some(NsmTrust::Root([0x0a; 32])));
    assert_eq!(with("unsigned = true").unwrap().attestation(), Some(NsmTrust::Unsigned));
    for neither in [
        "",
        "unsigned = false",
        &format!("{root}\nunsigned = true"),
        &format!("{root}\nunsigned = false"),
    ] {
        let refused = with(neither).unwrap_err().to_string();
        assert!(
            refused.ends_with("[attestation] has root_sha256, or unsigned = true in a lab, and never both"),
            "{refused}"
        );
    }
}

#[test]
fn lists_are_bounded() {
    let many = "[[names]]\npattern = \"a\"\nusages = []\n".repeat(257);
    let many = format!("version = 1\nimports = true\n{many}[keys]\n");
    assert_eq!(Policy::parse(many.as_bytes()), Err(PolicyError::TooManyNames));
    let many = "[[acme]]\ndirectory = \"*\"\nroots = []\n".repeat(33);
    let many = format!("version = 1\nimports = true\n[keys]\n{many}");
    assert_eq!(Policy::parse(many.as_bytes()), Err(PolicyError::TooManyDirectories));
    let with = |count: u8| {
        let keys: Vec<String> = (0..count).map(|n| format!("\"{}\"", key(n))).collect();
        let text = format!(
            "version = 1\nimports = true\n[keys]\n[sealing]\nkeys = [{}]\n",
            keys.join(",")
        );
        Policy::parse(text.as_bytes())
    };
    assert_eq!(with(64).unwrap().sealing_keys().len(), 64);
    assert_eq!(with(65).unwrap_err().to_string(), "line 5: at most 64 of these");
    let pem = root::to_pem(&policy(RELEASE).aws_roots()[4]);
    let roots = |count| with_roots(&vec![pem.as_str(); count]).unwrap_err().to_string();
    assert_eq!(roots(17), "line 22: at most 16 of these");
    assert_eq!(roots(2), "line 7: this stands here twice");
}

#[test]
fn threat_31_a_root_is_one_certificate_and_nothing_else() {
    let release = policy(RELEASE);
    let der = &release.aws_roots()[4];
    let pem = root::to_pem(der);
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let trailing = root::to_pem(&[der.as_slice(), &[0]].concat());
    let cut = root::to_pem(&der[..der.len() - 1]);
    for text in [
        "",
        "*",
        base64.as_str(),
        &format!("Amazon Root CA\n{pem}"),
        &format!(" {pem}"),
        &format!("{pem}{pem}"),
        &format!("{pem}x"),
        &pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        &pem.replace("CERTIFICATE", "PUBLIC KEY"),
        &trailing,
        &cut,
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    ] {
        let error = with_roots(&[text]).unwrap_err();
        assert!(
            matches!(error, PolicyError::Form { line: Some(6), .. }),
            "{text}: {error}"
        );
    }
    for text in [pem.clone(), pem.trim_end().to_owned(), pem.replace('\n', "\r\n")] {
        assert_eq!(with_roots(&[&text]).unwrap().aws_roots(), std::slice::from_ref(der));
    }
}

/// A policy with these roots, the first on line 6.
fn with_roots(pems: &[&str]) -> Result<Policy, PolicyError> {
    let quoted: Vec<String> = pems
        .iter()
        .map(|pem| serde_json::Value::from(*pem).to_string())
        .collect();
    let text = format!(
        "version = 1\nimports = true\n[keys]\n[aws]\nroots = [\n{}]\n",
        quoted.join(",\n")
    );
    Policy::parse(text.as_bytes())
}

#[test]
fn threat_49_deep_nesting_is_an_error() {
    let dotted = format!("a{} = 1\n", ".a".repeat(30_000));
    let arrays = format!("a = {}{}\n", "[".repeat(30_000), "]".repeat(30_000));
    let tables = format!("a = {}1{}\n", "{a=".repeat(20_000), "}".repeat(20_000));
    let header = format!("[a{}]\n", ".a".repeat(30_000));
    for text in [dotted, arrays, tables, header] {
        assert!(Policy::parse(text.as_bytes()).is_err());
    }
}

proptest! {
    /// threat_49: whatever a parent sends as a policy, the answer is a policy or an error.
    #[test]
    fn threat_49_no_bytes_panic(start in 0..LAB.len(), taken in 0usize..40, bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut policy = LAB.as_bytes().to_vec();
        let end = start.saturating_add(taken).min(policy.len());
        policy.splice(start..end, bytes);
        let _ = Policy::parse(&policy);
    }
}
