//! What makes a proof fail: each by itself, and nothing else with it.

use enclave_attestation::Purpose;

use crate::directory::Directory;
use crate::enclave::{Enclave, SEALING_KEY, failed, key, nonce, pcr, words};

#[test]
fn a_whole_proof_is_one_and_says_what_it_does_not_show() {
    let enclave = Enclave::new("whole");
    enclave.attest();
    assert_eq!(enclave.failed(&enclave.options()), [""; 0]);
    let args = enclave.options();
    let text = enclave
        .directory
        .ok(&args.iter().map(String::as_str).collect::<Vec<_>>());
    for said in [
        "THE ROOT IS NOT AWS'S",
        "ok      freshness: it answers your nonce",
        "Proven: ",
        "born-sealed: nobody else has it, while nobody can change the policy of the KMS key that seals it",
        "bundle: whoever made or wrapped the key, and who can change",
        "root on the parent instance can use the keys",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours");
}

#[test]
fn threat_16_another_clock_source_is_said_and_fails_no_check() {
    let mut enclave = Enclave::new("clock");
    enclave.attest();
    let report = |enclave: &Enclave| {
        let args = enclave.options();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let json = enclave.directory.ok(&[&args[..], &["--json"]].concat());
        (
            enclave.directory.ok(&args),
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
        )
    };
    let (text, json) = report(&enclave);
    assert!(!text.contains("clock source"), "{text}");
    assert_eq!(json["statement"]["clock_source"], serde_json::Value::Null);

    enclave.statement.clock_source = Some("tsc\u{1b}[2J".to_owned());
    enclave.attest();
    assert_eq!(enclave.failed(&enclave.options()), [""; 0]);
    let (text, json) = report(&enclave);
    let said =
        "the enclave's clock source is tsc\u{fffd}[2J, not kvm-clock: expiry is judged by a clock that may run wrong";
    assert!(text.contains(&format!("- {said}\n")), "{text}");
    assert_eq!(json["statement"]["clock_source"], "tsc\u{1b}[2J");
    assert!(
        json["limits"].as_array().unwrap().iter().any(|limit| limit == said),
        "{json}"
    );
}

#[test]
fn threat_19_another_root_is_refused() {
    let (enclave, other) = (Enclave::new("root"), Enclave::new("root-of-another"));
    enclave.attest();
    let mut options = enclave.options();
    let root = options.iter().position(|word| *word == enclave.root()).unwrap();
    options[root] = other.root();
    assert_eq!(enclave.failed(&options), ["signature"]);
    // And without the option, it must be AWS's.
    options.drain(root - 1..=root);
    assert_eq!(enclave.failed(&options), ["signature"]);
}

#[test]
fn threat_20_an_answer_to_a_nonce_is_judged_as_of_now() {
    let enclave = Enclave::started("expired", 4 * 3_600, &[(0, 0x10)]);
    enclave.attest();
    assert_eq!(enclave.failed(&enclave.options()), ["signature"]);
    let bounded = |age: &str| {
        let mut options = enclave.unexpecting();
        options.extend(words(&format!("--policy policy.toml --max-age {age} --pcr")));
        options.push(pcr(0, 0x10));
        enclave.failed(&options)
    };
    assert_eq!(bounded("5h"), [""; 0]);
    assert_eq!(bounded("3h"), ["freshness"]);
}

#[test]
fn threat_25_a_debug_enclave_proves_nothing() {
    let enclave = Enclave::started("debug", 0, &[(3, 0x13)]);
    enclave.attest();
    let mut options = enclave.unexpecting();
    options.extend(words("--policy policy.toml --nonce"));
    options.extend([nonce(), "--pcr".to_owned(), pcr(0, 0)]);
    assert_eq!(enclave.failed(&options), ["mode"]);
}

#[test]
fn threat_25_26_real_documents() {
    let directory = Directory::new("real");
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../enclave-tls/attestation/tests/vectors"
    );
    let judge = |file: &str, rest: &str| {
        let mut options = words(&format!("verify --document {vectors}/{file} --statement statement"));
        options.extend(words(rest));
        failed(&directory, &options)
    };
    directory.write("statement", "none");
    let production = "production-2025-01-06.cose";
    // Nothing in it speaks of us, so statement and expectations fail; what matters here is what else does.
    assert_eq!(judge(production, "--max-age 10000d"), ["PCR0", "PCR16", "statement"]);
    assert_eq!(
        judge(production, "--max-age 1d"),
        ["freshness", "PCR0", "PCR16", "statement"]
    );
    assert_eq!(judge(production, &format!("--nonce {}", nonce())), ["signature"]);
    for freshness in ["--max-age 10000d", "--max-age 1d"] {
        assert_eq!(judge("debug-2024-09-09.cose", freshness), ["mode"]);
    }
    assert_eq!(
        judge("bad-signature-2024-07-23.cose", "--max-age 10000d"),
        ["signature"]
    );
}

#[test]
fn threat_26_each_pcr_is_compared() {
    let enclave = Enclave::new("pcrs");
    enclave.attest();
    let all = [(0, 0x10), (1, 0x11), (2, 0x12), (3, 0x13), (4, 0x14), (8, 0x18)];
    for changed in [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(8)] {
        let mut options = enclave.unexpecting();
        options.extend(words("--policy policy.toml --nonce"));
        options.push(nonce());
        for (index, byte) in all {
            let value = if changed == Some(index) { 0x55 } else { byte };
            options.extend(["--pcr".to_owned(), pcr(index, value)]);
        }
        let expected: Vec<String> = changed.iter().map(|index| format!("PCR{index}")).collect();
        assert_eq!(enclave.failed(&options), expected);
    }
}

#[test]
fn threat_26_image_and_policy_must_be_expected() {
    let enclave = Enclave::new("expected");
    enclave.attest();
    let mut options = enclave.unexpecting();
    options.extend([
        "--nonce".to_owned(),
        nonce(),
        "--sealed-to".to_owned(),
        SEALING_KEY.to_owned(),
    ]);
    assert_eq!(enclave.failed(&options), ["PCR0", "PCR16"]);
    // nitro-cli's measurements are an image's.
    let digits = |byte: &str| byte.repeat(48);
    let measurements = |pcr2: &str| {
        let text = serde_json::json!({ "Measurements": {
            "HashAlgorithm": "Sha384 { ... }", "PCR0": digits("10"), "PCR1": digits("11"), "PCR2": digits(pcr2)
        }});
        enclave.directory.write("measurements", text.to_string());
    };
    options.extend(words("--measurements measurements"));
    measurements("12");
    assert_eq!(enclave.failed(&options), ["PCR16"]);
    measurements("13");
    assert_eq!(enclave.failed(&options), ["PCR16", "PCR2"]);
}

#[test]
fn threat_27_freshness_is_proven_or_bounded() {
    let enclave = Enclave::new("freshness");
    enclave.attest();
    let judge = |rest: &str| {
        let mut options = enclave.unexpecting();
        options.extend(words("--policy policy.toml --pcr"));
        options.push(pcr(0, 0x10));
        options.extend(rest.split(' ').filter(|word| !word.is_empty()).map(str::to_owned));
        enclave.failed(&options)
    };
    assert_eq!(judge(""), ["freshness"]);
    assert_eq!(judge("--max-age 1h"), [""; 0]);
    assert_eq!(judge(&format!("--nonce {}", nonce())), [""; 0]);
    assert_eq!(
        judge(&format!("--nonce {}", "08".repeat(32))),
        ["freshness", "statement"]
    );
    // A document that answers us, with the statement of an earlier answer.
    let mut earlier = enclave.statement.clone();
    earlier.nonce = vec![8; 32];
    enclave.directory.write("statement", earlier.encode());
    assert_eq!(judge(&format!("--nonce {}", nonce())), ["statement"]);
}

#[test]
fn threat_28_a_statement_is_bound_by_its_document() {
    let mut enclave = Enclave::new("bound");
    enclave.attest();
    let mut other = enclave.statement.clone();
    other.keys.push(key(9, "born", "tls"));
    enclave.directory.write("statement", other.encode());
    assert_eq!(enclave.failed(&enclave.options()), ["statement"]);
    enclave.directory.write("statement", "");
    assert_eq!(enclave.failed(&enclave.options()), ["statement"]);
    // One that was made for KMS.
    enclave.statement.purpose = Purpose::KmsRecipient;
    enclave.attest();
    assert_eq!(enclave.failed(&enclave.options()), ["statement"]);
}

#[test]
fn threat_29_the_statement_names_the_policy_that_was_measured() {
    let mut enclave = Enclave::new("policy");
    enclave.statement.policy_sha384 = [1; 48];
    enclave.attest();
    assert_eq!(enclave.failed(&enclave.options()), ["policy"]);
    // Also where the register alone is expected.
    let mut options = enclave.unexpecting();
    let pcr16 = enclave.directory.ok(&["policy", "pcr16", "policy.toml"]);
    options.extend(["--nonce".to_owned(), nonce(), "--pcr".to_owned(), pcr(0, 0x10)]);
    options.extend(["--pcr".to_owned(), format!("16={}", pcr16.trim())]);
    options.extend(["--sealed-to".to_owned(), SEALING_KEY.to_owned()]);
    assert_eq!(enclave.failed(&options), ["policy"]);
    // A policy that was not measured.
    let enclave = Enclave::new("policies");
    enclave.attest();
    let policy = std::fs::read_to_string(enclave.directory.0.join("policy.toml")).unwrap();
    enclave
        .directory
        .write("policy.toml", policy.replace("imports = false", "imports = true"));
    assert_eq!(enclave.failed(&enclave.options()), ["PCR16", "policy"]);
}

#[test]
fn threat_33_sealed_keys_are_sealed_to_what_is_expected() {
    let mut enclave = Enclave::new("sealed");
    let judge = |enclave: &Enclave, rest: &[&str]| {
        enclave.attest();
        let pcr16 = enclave.directory.ok(&["policy", "pcr16", "policy.toml"]);
        let mut options = enclave.unexpecting();
        options.extend(["--nonce".to_owned(), nonce(), "--pcr".to_owned(), pcr(0, 0x10)]);
        options.extend(["--pcr".to_owned(), format!("16={}", pcr16.trim())]);
        options.extend(rest.iter().map(|word| (*word).to_owned()));
        enclave.failed(&options)
    };
    let other = "arn:aws:kms:us-east-1:444455556666:key/12345678-1234-1234-1234-123456789012";
    assert_eq!(judge(&enclave, &[]), ["sealed to"], "nobody said whose key that is");
    assert_eq!(judge(&enclave, &["--sealed-to", SEALING_KEY]), [""; 0]);
    assert_eq!(judge(&enclave, &["--sealed-to", other]), ["sealed to"]);
    assert_eq!(
        judge(&enclave, &["--sealed-to", SEALING_KEY, "--sealed-to", other]),
        ["sealed to"]
    );
    assert_eq!(judge(&enclave, &["--policy", "policy.toml"]), [""; 0]);
    enclave.statement.sealed_to = vec![other.to_owned()];
    assert_eq!(judge(&enclave, &["--policy", "policy.toml"]), ["sealed to"]);
    enclave.statement.sealed_to = vec![];
    assert_eq!(judge(&enclave, &["--policy", "policy.toml"]), ["sealed to"]);
    assert_eq!(judge(&enclave, &[]), [""; 0], "nothing is sealed");
}

#[test]
fn threat_40_a_required_usage_holds_for_every_key() {
    let mut enclave = Enclave::new("usage");
    let judge = |enclave: &Enclave| {
        enclave.attest();
        let mut options = enclave.options();
        options.extend(words("--require-usage tls"));
        enclave.failed(&options)
    };
    assert_eq!(judge(&enclave), [""; 0]);
    enclave.statement.keys.push(key(3, "born", "digest"));
    assert_eq!(judge(&enclave), ["usage"]);
    let options = enclave.options();
    let text = enclave
        .directory
        .ok(&options.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        text.contains("digest (weaker)") && text.contains("signs whatever the parent instance sends"),
        "{text}"
    );
}

#[test]
fn threat_28_a_statement_without_keys_proves_nothing() {
    let mut enclave = Enclave::new("no-keys");
    enclave.statement.keys.clear();
    enclave.attest();
    assert_eq!(enclave.failed(&enclave.options()), ["keys"]);
}

#[test]
fn what_an_enclave_says_does_not_reach_the_terminal_as_control_characters() {
    let mut enclave = Enclave::new("terminal");
    enclave.statement.keys[0].origin = "born\u{1b}[2J\r".to_owned();
    enclave.attest();
    let options = enclave.options();
    let text = enclave
        .directory
        .ok(&options.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(!text.contains(['\u{1b}', '\r']), "{text:?}");
    assert!(text.contains("an origin that this version does not know"), "{text}");
}

#[test]
fn wrong_usage_has_its_own_status() {
    let directory = Directory::new("usage-2");
    let files = ["verify", "--document", "a", "--statement", "b"];
    for rest in [
        vec!["--nonce", "07"],
        vec!["--max-age", "3"],
        vec!["--pcr", "32=00"],
        vec!["--connect", "127.0.0.1:1"],
        vec!["--image-policy", "c"],
        vec!["--policy", "c", "--sealed-to", SEALING_KEY],
        vec!["http://www.example"],
    ] {
        directory.fails(2, &[&files[..], &rest].concat());
    }
    let twice = [pcr(0, 1), pcr(0, 2)];
    let error = directory.fails(2, &[&files[..], &["--pcr", &twice[0], "--pcr", &twice[1]]].concat());
    assert!(error.contains("PCR0 is given twice"), "{error}");
    assert!(directory.fails(1, &files).contains("a: No such file"));
}
