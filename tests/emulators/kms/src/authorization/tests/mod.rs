//! The table: policies, a request, what AWS answers.

mod conditions;
mod refusals;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::recipient::Recipient;

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d-1111-4222-8333-444455556666";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/web/i-1";
const ROLE: &str = "arn:aws:iam::111122223333:role/web";
const STRANGER: &str = "arn:aws:iam::999900001111:user/alice";

/// One request, and all that decides about it.
struct Case {
    caller: &'static str,
    action: &'static str,
    key_policy: Value,
    identity: Option<Value>,
    grants: Vec<Grant>,
    context: Vec<(&'static str, &'static str)>,
    pcrs: Option<BTreeMap<u8, [u8; 48]>>,
}

impl Case {
    fn new(caller: &'static str, key_policy: Value) -> Self {
        Self {
            caller,
            action: "kms:Decrypt",
            key_policy,
            identity: None,
            grants: Vec::new(),
            context: Vec::new(),
            pcrs: None,
        }
    }

    fn decide(&self) -> Result<&'static str, Denial> {
        let caller: Caller = self.caller.parse().unwrap();
        let policy = parse(&self.key_policy, Kind::Key).unwrap();
        let identity = self.identity.as_ref().map(|text| parse(text, Kind::Identity).unwrap());
        let context = self
            .context
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let recipient = self.pcrs.clone().map(|pcrs| Recipient { pcrs, spki: Vec::new() });
        let facts = Facts::of_caller(&caller, "us-east-1", true)
            .with_encryption_context(&context)
            .with_recipient(recipient.as_ref());
        let question = Question {
            caller: &caller,
            action: self.action,
            resource: KEY,
            facts: &facts,
        };
        let key = Protection {
            account: "111122223333",
            policy: &policy,
            grants: &self.grants,
        };
        decide(question, identity.as_ref(), Some(key)).map(|allowed| match allowed {
            Allowed::KeyPolicy => "key policy",
            Allowed::IdentityPolicy => "identity policy",
            Allowed::Grant(_) => "grant",
        })
    }

    fn with_identity(mut self, statements: Value) -> Self {
        self.identity = Some(statements);
        self
    }

    fn with_context(mut self, context: &[(&'static str, &'static str)]) -> Self {
        self.context = context.to_vec();
        self
    }

    fn attested(mut self, pcrs: &[(u8, u8)]) -> Self {
        self.pcrs = Some(pcrs.iter().map(|(index, byte)| (*index, [*byte; 48])).collect());
        self
    }
}

fn parse(statements: &Value, kind: Kind) -> Result<Policy, PolicyError> {
    Policy::parse(
        &json!({ "Version": "2012-10-17", "Statement": statements }).to_string(),
        kind,
    )
}

fn allow(principal: Value) -> Value {
    json!({ "Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*" })
}

fn allow_if(condition: Value) -> Value {
    json!([{ "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*", "Condition": condition }])
}

fn deny_if(condition: Value) -> Value {
    json!([
        allow(json!({ "AWS": ALICE })),
        { "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*", "Condition": condition },
    ])
}

fn grant(grantee: &str, operations: &[&str], constraint: Option<Constraint>) -> Grant {
    Grant {
        id: "id".to_owned(),
        token: "token".to_owned(),
        name: None,
        grantee: grantee.to_owned(),
        retiring: None,
        operations: operations
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>(),
        constraint,
        issuing_account: ROOT.to_owned(),
        created: 0,
    }
}

const ALLOWED_BY_KEY: Result<&str, Denial> = Ok("key policy");
const NO_KEY: Result<&str, Denial> = Err(Denial::NoKeyPolicyAllows);
const NO_IDENTITY: Result<&str, Denial> = Err(Denial::NoIdentityPolicyAllows);
const KEY_DENIES: Result<&str, Denial> = Err(Denial::KeyPolicyDenies);

#[test]
fn principals() {
    for (name, caller, principal, expected) in [
        ("anyone", ALICE, json!("*"), ALLOWED_BY_KEY),
        ("any AWS", ALICE, json!({ "AWS": "*" }), ALLOWED_BY_KEY),
        ("the user", ALICE, json!({ "AWS": ALICE }), ALLOWED_BY_KEY),
        ("one of several", ALICE, json!({ "AWS": [ROLE, ALICE] }), ALLOWED_BY_KEY),
        ("another", ALICE, json!({ "AWS": ROLE }), NO_KEY),
        ("the session's role", SESSION, json!({ "AWS": ROLE }), ALLOWED_BY_KEY),
        ("the session", SESSION, json!({ "AWS": SESSION }), ALLOWED_BY_KEY),
        (
            "the account, no identity policy",
            ALICE,
            json!({ "AWS": ROOT }),
            NO_IDENTITY,
        ),
        (
            "the account by number",
            ALICE,
            json!({ "AWS": "111122223333" }),
            NO_IDENTITY,
        ),
        ("the root itself", ROOT, json!({ "AWS": ROOT }), ALLOWED_BY_KEY),
        ("another account", ALICE, json!({ "AWS": "999900001111" }), NO_KEY),
        (
            "a service",
            ALICE,
            json!({ "Service": "logs.us-east-1.amazonaws.com" }),
            NO_KEY,
        ),
        (
            "a stranger by name, no identity policy",
            STRANGER,
            json!({ "AWS": STRANGER }),
            NO_IDENTITY,
        ),
        (
            "a stranger under a star, no identity policy",
            STRANGER,
            json!("*"),
            NO_IDENTITY,
        ),
    ] {
        assert_eq!(
            Case::new(caller, json!([allow(principal)])).decide(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn identity_policies() {
    let mine = |effect: &str, action: &str, resource: &str| json!([{ "Effect": effect, "Action": action, "Resource": resource }]);
    let (of_account, of_alice, of_role) = (json!({ "AWS": ROOT }), json!({ "AWS": ALICE }), json!({ "AWS": ROLE }));
    let by_identity = Ok("identity policy");
    for (name, principal, identity, expected) in [
        ("delegated", &of_account, mine("Allow", "kms:*", "*"), by_identity),
        (
            "delegated, for the key",
            &of_account,
            mine("Allow", "kms:Decrypt", KEY),
            by_identity,
        ),
        (
            "for another action",
            &of_account,
            mine("Allow", "kms:Encrypt", "*"),
            NO_IDENTITY,
        ),
        (
            "for another service",
            &of_account,
            mine("Allow", "s3:*", "*"),
            NO_IDENTITY,
        ),
        (
            "for another key",
            &of_account,
            mine("Allow", "kms:*", "arn:aws:kms:us-east-1:111122223333:key/x"),
            NO_IDENTITY,
        ),
        ("not delegated", &of_role, mine("Allow", "kms:*", "*"), NO_KEY),
        (
            "denied",
            &of_alice,
            mine("Deny", "kms:*", "*"),
            Err(Denial::IdentityPolicyDenies),
        ),
    ] {
        let case = Case::new(ALICE, json!([allow(principal.clone())])).with_identity(identity);
        assert_eq!(case.decide(), expected, "{name}");
    }
    let stranger =
        |principal| Case::new(STRANGER, json!([allow(principal)])).with_identity(mine("Allow", "kms:*", "*"));
    assert_eq!(stranger(json!({ "AWS": "999900001111" })).decide(), by_identity);
    assert_eq!(stranger(of_account).decide(), NO_KEY);
}

#[test]
fn actions() {
    for (action, pattern, expected) in [
        ("kms:Decrypt", json!("kms:Decrypt"), ALLOWED_BY_KEY),
        ("kms:Decrypt", json!("KMS:decrypt"), ALLOWED_BY_KEY),
        ("kms:Decrypt", json!("*"), ALLOWED_BY_KEY),
        ("kms:Decrypt", json!(["kms:Encrypt", "kms:De*"]), ALLOWED_BY_KEY),
        ("kms:Decrypt", json!("kms:Encrypt"), NO_KEY),
        ("kms:GenerateDataKeyPair", json!("kms:GenerateDataKey"), NO_KEY),
        (
            "kms:GenerateDataKeyPairWithoutPlaintext",
            json!("kms:GenerateDataKey*WithoutPlaintext"),
            ALLOWED_BY_KEY,
        ),
        (
            "kms:GenerateDataKey",
            json!("kms:GenerateDataKey*WithoutPlaintext"),
            NO_KEY,
        ),
    ] {
        let statement = json!([{ "Effect": "Allow", "Principal": "*", "Action": pattern.clone(), "Resource": KEY }]);
        let mut case = Case::new(ALICE, statement);
        case.action = action;
        assert_eq!(case.decide(), expected, "{action} {pattern}");
        let statement = json!([{ "Effect": "Allow", "Principal": "*", "NotAction": pattern.clone(), "Resource": "*" }]);
        case.key_policy = statement;
        assert_ne!(case.decide().is_ok(), expected.is_ok(), "{action} not {pattern}");
    }
}

#[test]
fn threat_38_an_explicit_deny_beats_every_allow_and_every_grant() {
    let deny = json!({ "Effect": "Deny", "Principal": "*", "Action": "kms:Decrypt", "Resource": "*" });
    let mut case = Case::new(ALICE, json!([allow(json!("*")), deny]))
        .with_identity(json!([{ "Effect": "Allow", "Action": "*", "Resource": "*" }]));
    case.grants = vec![grant(ALICE, &["Decrypt"], None)];
    assert_eq!(case.decide(), KEY_DENIES);
    // By the account it reaches everyone in it, which an Allow does not.
    case.key_policy =
        json!([allow(json!("*")), { "Effect": "Deny", "Principal": { "AWS": ROOT }, "Action": "*", "Resource": "*" }]);
    assert_eq!(case.decide(), KEY_DENIES);
}

#[test]
fn threat_38_a_grant_defeats_a_policy_that_only_allows_with_attestation() {
    let condition = json!({ "StringEqualsIgnoreCase": { "kms:RecipientAttestation:PCR0": "AB".repeat(48) } });
    let mut case = Case::new(ALICE, allow_if(condition));
    assert_eq!(case.decide(), NO_KEY);
    case.grants = vec![grant(ALICE, &["Decrypt"], None)];
    assert_eq!(case.decide(), Ok("grant"));
}

#[test]
fn grants() {
    let context = BTreeMap::from([("group".to_owned(), "web".to_owned())]);
    let equals = || Some(Constraint::Equals(context.clone()));
    let subset = || Some(Constraint::Subset(context.clone()));
    let (web, more, none) = (&[("group", "web")][..], &[("group", "web"), ("name", "a")][..], &[][..]);
    for (name, grant, context, expected) in [
        ("to the caller", grant(ALICE, &["Decrypt"], None), none, true),
        ("to another", grant(ROLE, &["Decrypt"], None), none, false),
        ("of another operation", grant(ALICE, &["Encrypt"], None), none, false),
        ("equal context", grant(ALICE, &["Decrypt"], equals()), web, true),
        (
            "more than the equal context",
            grant(ALICE, &["Decrypt"], equals()),
            more,
            false,
        ),
        ("more than the subset", grant(ALICE, &["Decrypt"], subset()), more, true),
        ("no context", grant(ALICE, &["Decrypt"], subset()), none, false),
        (
            "another value",
            grant(ALICE, &["Decrypt"], subset()),
            &[("group", "Web")][..],
            false,
        ),
    ] {
        let mut case = Case::new(ALICE, json!([allow(json!({ "AWS": ROLE }))])).with_context(context);
        case.grants = vec![grant];
        assert_eq!(case.decide().is_ok(), expected, "{name}");
    }
}

#[test]
fn a_constraint_does_not_bind_operations_without_a_context() {
    let constraint = Constraint::Equals(BTreeMap::from([("group".to_owned(), "web".to_owned())]));
    let mut case = Case::new(ALICE, json!([allow(json!({ "AWS": ROLE }))]));
    case.grants = vec![grant(ALICE, &["DescribeKey"], Some(constraint))];
    case.action = "kms:DescribeKey";
    assert_eq!(case.decide(), Ok("grant"));
}
