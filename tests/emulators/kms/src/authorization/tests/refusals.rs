//! Policies that the emulator does not take, since it could not evaluate them.

use super::*;

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let statement = |change: Value| {
        let mut statement = allow(json!("*"));
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => statement.as_object_mut().unwrap().remove(name),
                _ => statement.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        json!([statement])
    };
    let condition = |condition: Value| statement(json!({ "Condition": condition }));
    for (statements, words) in [
        (json!([]), "there is no statement"),
        (statement(json!({ "Principal": null })), "a statement needs Principal"),
        (
            statement(json!({ "NotPrincipal": { "AWS": ALICE } })),
            "a statement cannot have NotPrincipal here",
        ),
        (
            statement(json!({ "NotResource": "*" })),
            "a statement cannot have NotResource here",
        ),
        (
            statement(json!({ "Action": null })),
            "a statement needs Action or NotAction",
        ),
        (
            statement(json!({ "NotAction": "kms:Sign" })),
            "a statement cannot have both Action and NotAction here",
        ),
        (statement(json!({ "Resource": null })), "a statement needs Resource"),
        (statement(json!({ "Resource": "key" })), "not a resource: \"key\""),
        (
            statement(json!({ "Action": "kms:Decript" })),
            "no action of KMS: \"kms:Decript\"",
        ),
        (
            statement(json!({ "Action": "s3:GetObject" })),
            "no action of KMS: \"s3:GetObject\"",
        ),
        (statement(json!({ "Principal": "alice" })), "not a principal: \"alice\""),
        (
            statement(json!({ "Principal": { "AWS": "arn:aws:iam::111122223333:role/*" } })),
            "not a principal: \"arn:aws:iam::111122223333:role/*\"",
        ),
        (
            statement(json!({ "Principal": { "Federated": "x" } })),
            "not a principal: \"x\"",
        ),
        (statement(json!({ "Effect": "allow" })), "not a policy: "),
        (statement(json!({ "Conditions": {} })), "not a policy: "),
        (
            condition(json!({ "StringMatches": { "aws:PrincipalArn": "x" } })),
            "not a condition operator: \"StringMatches\"",
        ),
        (
            condition(json!({ "NumericEquals": { "aws:PrincipalArn": "1" } })),
            "not a condition operator: \"NumericEquals\"",
        ),
        (
            condition(json!({ "NullIfExists": { "aws:PrincipalArn": "true" } })),
            "not a condition operator: \"NullIfExists\"",
        ),
        (
            condition(json!({ "ForSomeValues:StringEquals": { "aws:PrincipalArn": "x" } })),
            "not a condition operator: \"ForSomeValues:StringEquals\"",
        ),
        (
            condition(json!({ "StringEquals": { "kms:RecipientAttestation:PCR32": "x" } })),
            "not a condition key: \"kms:recipientattestation:pcr32\"",
        ),
        (
            condition(json!({ "StringEquals": { "kms:RecipientAttestation:PCR01": "x" } })),
            "not a condition key: \"kms:recipientattestation:pcr01\"",
        ),
        (
            condition(json!({ "StringEquals": { "kms:RecipientAttestation": "x" } })),
            "not a condition key: \"kms:recipientattestation\"",
        ),
        (
            condition(json!({ "StringEquals": { "kms:EncryptionContextKeys": "x" } })),
            "\"kms:encryptioncontextkeys\" has several values: ForAnyValue or ForAllValues",
        ),
        (
            condition(json!({ "StringEquals": { "aws:PrincipalArn": "${aws:userid}" } })),
            "not a value that \"aws:principalarn\" is compared with",
        ),
        (
            condition(json!({ "Bool": { "aws:SecureTransport": "yes" } })),
            "not a value that \"aws:securetransport\" is compared with",
        ),
    ] {
        let error = parse(&statements, Kind::Key).unwrap_err().to_string();
        assert!(error.starts_with(words), "{statements}: {error}");
    }
}

#[test]
fn members_that_stand_twice_are_refused() {
    for text in [
        r#"{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}"#,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":
            {"StringEquals":{"aws:PrincipalArn":"a"},"StringEquals":{"aws:PrincipalArn":"b"}}}]}"#,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":
            {"StringEquals":{"aws:PrincipalArn":"a","aws:PrincipalArn":"b"}}}]}"#,
    ] {
        assert!(
            matches!(Policy::parse(text, Kind::Key), Err(PolicyError::Json(_))),
            "{text}"
        );
    }
    let sids = json!([
        { "Sid": "One", "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" },
        { "Sid": "One", "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*" },
    ]);
    assert_eq!(parse(&sids, Kind::Key), Err(PolicyError::Sid("One".to_owned())));
}

#[test]
fn policies_have_limits() {
    let long = format!(
        r#"{{"Version":"2012-10-17","Id":"{}","Statement":[]}}"#,
        "x".repeat(32 * 1_024)
    );
    assert_eq!(Policy::parse(&long, Kind::Key), Err(PolicyError::TooLong));
    let old = r#"{"Version":"2012-10-18","Statement":[]}"#;
    assert_eq!(Policy::parse(old, Kind::Key), Err(PolicyError::Version));
    let mine = json!([{ "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" }]);
    assert_eq!(parse(&mine, Kind::Identity), Err(PolicyError::Excess("Principal")));
}
