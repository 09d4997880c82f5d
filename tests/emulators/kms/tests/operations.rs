//! Keys, contexts, policies, grants, aliases, over HTTP.

mod support;

use emulator_kms::{Emulator, Key};
use serde_json::{Value, json};
use support::client::{Ask, Reply};
use support::{ADMIN, KEY_ARN, Login, OTHER_KEY_ARN, PARENT, PARENT_ROLE, base64, bytes, start, statements};

fn ask(kms: &Emulator, login: Login, operation: &str, body: &Value) -> Reply {
    Ask::new(login, operation, body).send(kms.address())
}

fn done(kms: &Emulator, operation: &str, body: &Value) -> Value {
    let reply = ask(kms, ADMIN, operation, body);
    assert_eq!(
        reply.status,
        200,
        "{operation}: {}",
        String::from_utf8_lossy(&reply.body)
    );
    reply.json()
}

fn encrypted(kms: &Emulator, context: &Value) -> Value {
    let body = json!({ "KeyId": OTHER_KEY_ARN, "Plaintext": base64(b"secret"), "EncryptionContext": context });
    done(kms, "Encrypt", &body)["CiphertextBlob"].clone()
}

#[test]
fn threat_34_a_ciphertext_opens_in_its_context_only() {
    let kms = start([0; 32]);
    let blob = encrypted(&kms, &json!({ "purpose": "bundle", "name": "a" }));
    let body = |context: Value| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
    let opened = done(&kms, "Decrypt", &body(json!({ "name": "a", "purpose": "bundle" })));
    assert_eq!(bytes(&opened["Plaintext"]), b"secret");
    assert_eq!(opened["KeyId"], OTHER_KEY_ARN);
    for wrong in [
        json!({}),
        json!({ "purpose": "bundle", "name": "b" }),
        json!({ "purpose": "bundle" }),
        json!({ "purpose": "bundle", "name": "a", "more": "" }),
        json!({ "purpose": "bundle", "Name": "a" }),
    ] {
        let reply = ask(&kms, ADMIN, "Decrypt", &body(wrong.clone()));
        assert_eq!(
            (reply.status, reply.json()),
            (400, json!({ "__type": "InvalidCiphertextException" })),
            "{wrong}"
        );
    }
    let reply = ask(&kms, ADMIN, "Decrypt", &body(json!({ "name": "a", "Name": "a" })));
    assert_eq!(reply.refusal(), "ValidationException");
}

#[test]
fn threat_33_a_ciphertext_of_another_key_is_refused() {
    let kms = start([0; 32]);
    let policy = statements(json!([
        { "Effect": "Allow", "Principal": { "AWS": ADMIN.arn }, "Action": "kms:*", "Resource": "*" },
    ]));
    done(&kms, "PutKeyPolicy", &json!({ "KeyId": KEY_ARN, "Policy": policy }));
    let blob = encrypted(&kms, &json!({}));
    let reply = ask(
        &kms,
        ADMIN,
        "Decrypt",
        &json!({ "CiphertextBlob": blob, "KeyId": KEY_ARN }),
    );
    assert_eq!(reply.refusal(), "IncorrectKeyException");
    let nobody = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-4000-8000-000000000000";
    for (key, words) in [
        (nobody.to_owned(), format!("Key '{nobody}' does not exist")),
        (
            OTHER_KEY_ARN.replace("us-east-1", "eu-west-1"),
            "Invalid arn eu-west-1".to_owned(),
        ),
        (
            OTHER_KEY_ARN.replace("1111222", "9999000"),
            format!("Key '{}' does not exist", OTHER_KEY_ARN.replace("1111222", "9999000")),
        ),
        (
            "alias/nothing".to_owned(),
            "Alias arn:aws:kms:us-east-1:111122223333:alias/nothing is not found.".to_owned(),
        ),
    ] {
        let reply = ask(&kms, ADMIN, "Decrypt", &json!({ "CiphertextBlob": blob, "KeyId": key }));
        assert_eq!(
            (reply.refusal(), reply.words()),
            ("NotFoundException".to_owned(), words)
        );
    }
}

#[test]
fn lengths_are_bounded() {
    let kms = start([0; 32]);
    let encrypt = |length| json!({ "KeyId": OTHER_KEY_ARN, "Plaintext": base64(&vec![7; length]) });
    let most = done(&kms, "Encrypt", &encrypt(4_096));
    assert_eq!(
        bytes(&done(&kms, "Decrypt", &json!({ "CiphertextBlob": most["CiphertextBlob"] }))["Plaintext"]).len(),
        4_096
    );
    for length in [0, 4_097] {
        assert_eq!(
            ask(&kms, ADMIN, "Encrypt", &encrypt(length)).refusal(),
            "ValidationException",
            "{length}"
        );
    }
    for bad in [
        json!({ "KeyId": OTHER_KEY_ARN }),
        json!({ "KeyId": OTHER_KEY_ARN, "KeySpec": "AES_256", "NumberOfBytes": 32 }),
        json!({ "KeyId": OTHER_KEY_ARN, "NumberOfBytes": 1_025 }),
    ] {
        assert_eq!(
            ask(&kms, ADMIN, "GenerateDataKey", &bad).refusal(),
            "ValidationException",
            "{bad}"
        );
    }
}

#[test]
fn fixed_material_outlives_a_restart() {
    let mut config = support::config([0; 32]);
    config.keys[1].material = Some("5a".repeat(32));
    let before = Emulator::start(&config).unwrap();
    let blob = encrypted(&before, &json!({}));
    drop(before);
    let after = Emulator::start(&config).unwrap();
    assert_eq!(
        bytes(&done(&after, "Decrypt", &json!({ "CiphertextBlob": blob }))["Plaintext"]),
        b"secret"
    );
    config.keys[1].material = None;
    let other = Emulator::start(&config).unwrap();
    assert_eq!(
        ask(&other, ADMIN, "Decrypt", &json!({ "CiphertextBlob": blob })).refusal(),
        "InvalidCiphertextException"
    );
}

#[test]
fn re_encryption_moves_between_keys_and_contexts() {
    let kms = start([0; 32]);
    let blob = encrypted(&kms, &json!({ "a": "1" }));
    let moved = done(
        &kms,
        "ReEncrypt",
        &json!({
            "CiphertextBlob": blob, "SourceEncryptionContext": { "a": "1" },
            "DestinationKeyId": OTHER_KEY_ARN, "DestinationEncryptionContext": { "b": "2" },
        }),
    );
    let body = json!({ "CiphertextBlob": moved["CiphertextBlob"], "EncryptionContext": { "b": "2" } });
    assert_eq!(bytes(&done(&kms, "Decrypt", &body)["Plaintext"]), b"secret");
}

#[test]
fn disabled_keys_do_nothing() {
    let kms = start([0; 32]);
    let blob = encrypted(&kms, &json!({}));
    done(&kms, "DisableKey", &json!({ "KeyId": OTHER_KEY_ARN }));
    let reply = ask(&kms, ADMIN, "Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_eq!(
        (reply.refusal().as_str(), reply.words()),
        ("DisabledException", format!("{OTHER_KEY_ARN} is disabled."))
    );
    assert_eq!(
        done(&kms, "DescribeKey", &json!({ "KeyId": OTHER_KEY_ARN }))["KeyMetadata"]["KeyState"],
        "Disabled"
    );
    done(&kms, "EnableKey", &json!({ "KeyId": OTHER_KEY_ARN }));
    done(&kms, "Decrypt", &json!({ "CiphertextBlob": blob }));
}

#[test]
fn aliases_name_keys() {
    let kms = start([0; 32]);
    done(
        &kms,
        "CreateAlias",
        &json!({ "AliasName": "alias/web", "TargetKeyId": OTHER_KEY_ARN }),
    );
    for name in ["alias/web", "arn:aws:kms:us-east-1:111122223333:alias/web"] {
        let reply = done(&kms, "Encrypt", &json!({ "KeyId": name, "Plaintext": base64(b"x") }));
        assert_eq!(reply["KeyId"], OTHER_KEY_ARN);
    }
    let listed = done(&kms, "ListAliases", &json!({ "KeyId": OTHER_KEY_ARN }));
    assert_eq!(
        listed["Aliases"][0]["AliasArn"],
        "arn:aws:kms:us-east-1:111122223333:alias/web"
    );
    let again = ask(
        &kms,
        ADMIN,
        "CreateAlias",
        &json!({ "AliasName": "alias/web", "TargetKeyId": KEY_ARN }),
    );
    assert_eq!(again.refusal(), "AlreadyExistsException");
}

#[test]
fn a_policy_that_locks_its_author_out_is_refused_unless_that_is_wanted() {
    let kms = start([0; 32]);
    let immutable = statements(json!([
        { "Effect": "Allow", "Principal": { "AWS": PARENT_ROLE }, "Action": "kms:Decrypt", "Resource": "*" },
    ]));
    let mut body = json!({ "KeyId": OTHER_KEY_ARN, "Policy": immutable });
    let reply = ask(&kms, ADMIN, "PutKeyPolicy", &body);
    assert_eq!(reply.refusal(), "MalformedPolicyDocumentException");
    assert_eq!(
        reply.words(),
        "The new key policy will not allow you to update the key policy in the future."
    );
    body["BypassPolicyLockoutSafetyCheck"] = true.into();
    done(&kms, "PutKeyPolicy", &body);
    let reply = ask(&kms, ADMIN, "PutKeyPolicy", &body);
    assert_eq!(reply.refusal(), "AccessDeniedException");
    assert!(
        reply
            .words()
            .ends_with("because no resource-based policy allows the kms:PutKeyPolicy action")
    );
}

#[test]
fn what_cannot_be_evaluated_is_refused_when_it_is_put() {
    let kms = start([0; 32]);
    let strange = statements(json!([
        { "Effect": "Allow", "Principal": { "AWS": ADMIN.arn }, "Action": "kms:*", "Resource": "*",
          "Condition": { "DateLessThan": { "aws:CurrentTime": "2030-01-01T00:00:00Z" } } },
    ]));
    let reply = ask(
        &kms,
        ADMIN,
        "PutKeyPolicy",
        &json!({ "KeyId": OTHER_KEY_ARN, "Policy": strange }),
    );
    assert_eq!(reply.refusal(), "MalformedPolicyDocumentException");
    assert_eq!(reply.words(), "not a condition operator: \"DateLessThan\"");
    let before = done(
        &kms,
        "GetKeyPolicy",
        &json!({ "KeyId": OTHER_KEY_ARN, "PolicyName": "default" }),
    );
    assert!(
        before["Policy"]
            .as_str()
            .unwrap()
            .contains("Enable IAM User Permissions")
    );
    let mut config = support::config([0; 32]);
    config.keys.push(Key {
        policy: Some(strange),
        ..Key::default()
    });
    match Emulator::start(&config) {
        Err(error) => assert!(error.to_string().contains("DateLessThan"), "{error}"),
        Ok(_) => panic!("the configuration was taken"),
    }
}

#[test]
fn threat_38_grants_give_what_their_constraint_says_until_they_are_revoked() {
    let kms = start([0; 32]);
    let blob = encrypted(&kms, &json!({ "group": "web" }));
    let body = json!({ "CiphertextBlob": blob, "EncryptionContext": { "group": "web" } });
    assert_eq!(ask(&kms, PARENT, "Decrypt", &body).refusal(), "AccessDeniedException");
    let made = done(
        &kms,
        "CreateGrant",
        &json!({
            "KeyId": OTHER_KEY_ARN, "GranteePrincipal": PARENT_ROLE, "Operations": ["Decrypt"], "Name": "web",
            "Constraints": { "EncryptionContextSubset": { "group": "web" } },
        }),
    );
    assert_eq!(ask(&kms, PARENT, "Decrypt", &body).status, 200);
    let other =
        json!({ "CiphertextBlob": encrypted(&kms, &json!({ "group": "db" })), "EncryptionContext": { "group": "db" } });
    assert_eq!(ask(&kms, PARENT, "Decrypt", &other).refusal(), "AccessDeniedException");
    let listed = done(&kms, "ListGrants", &json!({ "KeyId": OTHER_KEY_ARN }));
    assert_eq!(listed["Grants"][0]["GranteePrincipal"], PARENT_ROLE);
    assert_eq!(
        listed["Grants"][0]["Constraints"],
        json!({ "EncryptionContextSubset": { "group": "web" } })
    );
    done(
        &kms,
        "RevokeGrant",
        &json!({ "KeyId": OTHER_KEY_ARN, "GrantId": made["GrantId"] }),
    );
    assert_eq!(ask(&kms, PARENT, "Decrypt", &body).refusal(), "AccessDeniedException");
    assert_eq!(kms.counters().principals[PARENT.arn].denied, 3);
}

#[test]
fn threat_38_a_grant_does_not_beat_the_denies_of_a_good_policy() {
    let kms = start([0; 32]);
    let grant = json!({ "KeyId": KEY_ARN, "GranteePrincipal": PARENT_ROLE, "Operations": ["Decrypt"] });
    done(&kms, "CreateGrant", &grant);
    let blob = support::encrypt(&kms, b"secret", &json!({}));
    let reply = ask(&kms, PARENT, "Decrypt", &json!({ "CiphertextBlob": blob }));
    assert!(
        reply
            .words()
            .ends_with("with an explicit deny in a resource-based policy"),
        "{}",
        reply.words()
    );
}

#[test]
fn who_makes_grants_by_a_grant_gives_no_more_than_it_has() {
    let kms = start([0; 32]);
    let grant = |operations: Value| json!({ "KeyId": OTHER_KEY_ARN, "GranteePrincipal": PARENT_ROLE, "Operations": operations });
    done(&kms, "CreateGrant", &grant(json!(["CreateGrant", "Decrypt"])));
    assert_eq!(ask(&kms, PARENT, "CreateGrant", &grant(json!(["Decrypt"]))).status, 200);
    assert_eq!(
        ask(&kms, PARENT, "CreateGrant", &grant(json!(["Encrypt"]))).refusal(),
        "AccessDeniedException"
    );
    assert_eq!(
        ask(&kms, ADMIN, "CreateGrant", &grant(json!(["PutKeyPolicy"]))).refusal(),
        "ValidationException"
    );
}

#[test]
fn lists_come_in_pages() {
    let kms = start([0; 32]);
    for number in 0..5 {
        let name = format!("alias/{number}");
        done(
            &kms,
            "CreateAlias",
            &json!({ "AliasName": name, "TargetKeyId": OTHER_KEY_ARN }),
        );
    }
    let mut names = Vec::new();
    let mut body = json!({ "Limit": 2 });
    loop {
        let page = done(&kms, "ListAliases", &body);
        names.extend(
            page["Aliases"]
                .as_array()
                .unwrap()
                .iter()
                .map(|alias| alias["AliasName"].clone()),
        );
        if page["Truncated"] == false {
            break;
        }
        body["Marker"] = page["NextMarker"].clone();
    }
    assert_eq!(names, ["alias/0", "alias/1", "alias/2", "alias/3", "alias/4"]);
}

#[test]
fn what_the_emulator_does_not_have_is_still_decided_by_the_policies() {
    let kms = start([0; 32]);
    let body = json!({ "KeyId": OTHER_KEY_ARN });
    assert_eq!(
        ask(&kms, ADMIN, "ImportKeyMaterial", &body).refusal(),
        "UnsupportedOperationException"
    );
    assert_eq!(
        ask(&kms, PARENT, "ImportKeyMaterial", &body).refusal(),
        "AccessDeniedException"
    );
}

#[test]
fn a_dry_run_says_what_would_be_and_does_nothing() {
    let kms = start([0; 32]);
    let body = json!({ "KeyId": OTHER_KEY_ARN, "Plaintext": base64(b"x"), "DryRun": true });
    assert_eq!(ask(&kms, ADMIN, "Encrypt", &body).refusal(), "DryRunOperationException");
    assert_eq!(ask(&kms, PARENT, "Encrypt", &body).refusal(), "AccessDeniedException");
}
