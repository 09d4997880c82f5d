//! What conditions say of attestation, encryption contexts and callers.

use super::*;

#[test]
fn attestation_conditions() {
    let ab = "ab".repeat(48);
    let upper = ab.to_uppercase();
    let pcr0 = |operator: &str, value: &str| json!({ operator: { "kms:RecipientAttestation:PCR0": value } });
    let image = |operator: &str, value: &str| json!({ operator: { "kms:RecipientAttestation:ImageSha384": value } });
    let attested: &[(u8, u8)] = &[(0, 0xab), (16, 0xcd)];
    let other: &[(u8, u8)] = &[(0, 0xaa), (16, 0xcd)];
    let debug: &[(u8, u8)] = &[(0, 0), (16, 0xcd)];
    for (name, condition, pcrs, holds) in [
        ("equal", pcr0("StringEquals", &ab), Some(attested), true),
        (
            "equal but for the case",
            pcr0("StringEquals", &upper),
            Some(attested),
            false,
        ),
        (
            "ignoring case",
            pcr0("StringEqualsIgnoreCase", &upper),
            Some(attested),
            true,
        ),
        ("another", pcr0("StringEqualsIgnoreCase", &ab), Some(other), false),
        ("debug", pcr0("StringEqualsIgnoreCase", &ab), Some(debug), false),
        (
            "debug, where zero is asked for",
            pcr0("StringEqualsIgnoreCase", &"00".repeat(48)),
            Some(debug),
            true,
        ),
        ("unattested", pcr0("StringEqualsIgnoreCase", &ab), None, false),
        (
            "unattested, if exists",
            pcr0("StringEqualsIgnoreCaseIfExists", &ab),
            None,
            true,
        ),
        (
            "the image",
            image("StringEqualsIgnoreCase", &upper),
            Some(attested),
            true,
        ),
        (
            "the image, unattested",
            image("StringNotEqualsIgnoreCase", &ab),
            None,
            true,
        ),
        (
            "not, attested",
            pcr0("StringNotEqualsIgnoreCase", &upper),
            Some(attested),
            false,
        ),
        (
            "not, another",
            pcr0("StringNotEqualsIgnoreCase", &ab),
            Some(other),
            true,
        ),
        ("not, unattested", pcr0("StringNotEqualsIgnoreCase", &ab), None, true),
        (
            "null",
            json!({ "Null": { "kms:RecipientAttestation:PCR0": true } }),
            None,
            true,
        ),
        (
            "not null",
            json!({ "Null": { "kms:RecipientAttestation:PCR0": "false" } }),
            None,
            false,
        ),
        (
            "not null, attested",
            json!({ "Null": { "kms:RecipientAttestation:PCR0": "false" } }),
            Some(attested),
            true,
        ),
        (
            "a register that is not locked",
            json!({ "StringNotEquals": { "kms:RecipientAttestation:PCR17": "x" } }),
            Some(attested),
            true,
        ),
    ] {
        let mut case = Case::new(ALICE, allow_if(condition.clone()));
        case.pcrs = None;
        let case = match pcrs {
            Some(pcrs) => case.attested(pcrs),
            None => case,
        };
        assert_eq!(case.decide().is_ok(), holds, "{name}: Allow");
        let case = Case {
            key_policy: deny_if(condition),
            ..case
        };
        assert_eq!(case.decide() == KEY_DENIES, holds, "{name}: Deny");
    }
}

/// Two pairs in one statement are four: (a, b) ∨ (c, d) by lists also allows (a, d).
#[test]
fn conditions_of_several_keys_hold_together_and_their_values_apart() {
    let [a, b, c, d] = [0x0a, 0x0b, 0x0c, 0x0d].map(|byte: u8| format!("{byte:02x}").repeat(48));
    let pairs = json!({ "StringEqualsIgnoreCase": {
        "kms:RecipientAttestation:PCR0": [a, c],
        "kms:RecipientAttestation:PCR16": [b, d],
    } });
    for (pcrs, expected) in [
        ([0x0a, 0x0b], true),
        ([0x0c, 0x0d], true),
        ([0x0a, 0x0d], true),
        ([0x0a, 0x0a], false),
    ] {
        let case = Case::new(ALICE, allow_if(pairs.clone())).attested(&[(0, pcrs[0]), (16, pcrs[1])]);
        assert_eq!(case.decide().is_ok(), expected, "{pcrs:?}");
    }
    // Negated, the list is of what is no reason to deny.
    let not =
        json!({ "StringNotEqualsIgnoreCase": { "kms:RecipientAttestation:PCR0": ["0a".repeat(48), "0c".repeat(48)] } });
    for (pcr, denied) in [(0x0a, false), (0x0c, false), (0x0d, true)] {
        let case = Case::new(ALICE, deny_if(not.clone())).attested(&[(0, pcr)]);
        assert_eq!(case.decide() == KEY_DENIES, denied, "{pcr}");
    }
}

#[test]
fn encryption_context_conditions() {
    let key = |operator: &str, value: Value| json!({ operator: { "kms:EncryptionContext:purpose": value } });
    let keys = |operator: &str, value: Value| json!({ operator: { "kms:EncryptionContextKeys": value } });
    let sealed: &[(&str, &str)] = &[("group", "web"), ("purpose", "sealed")];
    let none: &[(&str, &str)] = &[];
    for (condition, context, expected) in [
        (key("StringEquals", json!("sealed")), sealed, true),
        (key("StringEquals", json!(["bundle", "sealed"])), sealed, true),
        (key("StringEquals", json!("Sealed")), sealed, false),
        (key("StringLike", json!("sea*")), sealed, true),
        (key("StringNotLike", json!("sea*")), sealed, false),
        (key("StringNotEquals", json!("sealed")), none, true),
        (
            json!({ "StringEquals": { "KMS:encryptioncontext:Purpose": "sealed" } }),
            sealed,
            true,
        ),
        (keys("ForAnyValue:StringEquals", json!("purpose")), sealed, true),
        (keys("ForAnyValue:StringEquals", json!("purpose")), none, false),
        (keys("ForAllValues:StringEquals", json!("purpose")), sealed, false),
        (
            keys("ForAllValues:StringEquals", json!(["purpose", "group"])),
            sealed,
            true,
        ),
        (keys("ForAllValues:StringEquals", json!("purpose")), none, true),
        (keys("ForAnyValue:StringNotEquals", json!("purpose")), sealed, true),
        (keys("ForAllValues:StringNotEquals", json!("name")), sealed, true),
        (json!({ "Null": { "kms:EncryptionContextKeys": true } }), none, true),
    ] {
        let case = Case::new(ALICE, allow_if(condition.clone())).with_context(context);
        assert_eq!(case.decide().is_ok(), expected, "{condition} {context:?}");
    }
}

#[test]
fn conditions_on_the_caller() {
    for (condition, expected) in [
        (json!({ "ArnEquals": { "aws:PrincipalArn": ROLE } }), true),
        (
            json!({ "ArnLike": { "aws:PrincipalArn": "arn:aws:iam::*:role/w?b" } }),
            true,
        ),
        (
            json!({ "ArnNotLike": { "aws:PrincipalArn": "arn:aws:iam::*:role/*" } }),
            false,
        ),
        (
            json!({ "StringEquals": { "aws:PrincipalAccount": "111122223333" } }),
            true,
        ),
        (
            json!({ "StringEquals": { "kms:CallerAccount": "999900001111" } }),
            false,
        ),
        (
            json!({ "StringEquals": { "kms:ViaService": "s3.us-east-1.amazonaws.com" } }),
            false,
        ),
        (
            json!({ "StringNotEquals": { "kms:ViaService": "s3.us-east-1.amazonaws.com" } }),
            true,
        ),
        (json!({ "Bool": { "aws:SecureTransport": "true" } }), true),
        (json!({ "Bool": { "aws:SecureTransport": false } }), false),
        (json!({ "Bool": { "kms:GrantIsForAWSResource": true } }), false),
        (json!({ "BoolIfExists": { "kms:GrantIsForAWSResource": true } }), true),
        (
            json!({ "StringEquals": { "aws:PrincipalType": "AssumedRole" }, "Bool": { "aws:SecureTransport": false } }),
            false,
        ),
    ] {
        let case = Case::new(SESSION, allow_if(condition.clone()));
        assert_eq!(case.decide().is_ok(), expected, "{condition}");
    }
}
