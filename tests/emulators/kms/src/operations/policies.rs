//! Key policies.

use serde::Deserialize;
use serde_json::json;

use super::{Call, Reply};
use crate::arn::KeyArn;
use crate::authorization::{Facts, Kind as PolicyKind, Policy, Protection, Question, decide};
use crate::error::{Kind, KmsError};

pub(super) fn get(call: &Call<'_>) -> Reply {
    let input: GetInput = call.input()?;
    check_name(input.policy_name.as_deref())?;
    let state = call.state();
    let key = state.key(&call.resolve(&state, &input.key_id)?)?;
    call.authorize(key, "kms:GetKeyPolicy", call.facts())?;
    Ok(json!({ "Policy": key.policy_text, "PolicyName": "default" }))
}

pub(super) fn put(call: &Call<'_>) -> Reply {
    let input: PutInput = call.input()?;
    check_name(input.policy_name.as_deref())?;
    let bypass = Lockout::of(input.bypass_policy_lockout_safety_check);
    let mut state = call.state();
    let id = call.resolve(&state, &input.key_id)?;
    let key = state.key_mut(&id)?;
    call.authorize(key, "kms:PutKeyPolicy", bypass.facts(call.facts()))?;
    let policy = parse_policy(&input.policy)?;
    bypass.check(call, &policy, &key.arn)?;
    key.policy = policy;
    key.policy_text = input.policy;
    Ok(json!({}))
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    let state = call.state();
    super::keys::authorized(call, &state, "kms:ListKeyPolicies")?;
    Ok(json!({ "PolicyNames": ["default"], "Truncated": false }))
}

pub(super) fn parse_policy(text: &str) -> Result<Policy, KmsError> {
    Policy::parse(text, PolicyKind::Key).map_err(|error| malformed(error.to_string()))
}

/// KMS's check that whoever writes a policy can still change it.
#[derive(Clone, Copy)]
pub(super) enum Lockout {
    Checked,
    Bypassed,
}

impl Lockout {
    pub(super) fn of(bypass: bool) -> Self {
        if bypass { Self::Bypassed } else { Self::Checked }
    }

    pub(super) fn facts(self, facts: Facts) -> Facts {
        let bypass = match self {
            Self::Checked => "false",
            Self::Bypassed => "true",
        };
        facts.with("kms:BypassPolicyLockoutSafetyCheck", bypass)
    }

    pub(super) fn check(self, call: &Call<'_>, policy: &Policy, arn: &KeyArn) -> Result<(), KmsError> {
        let facts = self.facts(call.facts());
        let question = Question {
            caller: &call.login.caller,
            action: "kms:PutKeyPolicy",
            resource: &arn.to_string(),
            facts: &facts,
        };
        let protection = Protection {
            account: &arn.account,
            policy,
            grants: &[],
        };
        match (self, decide(question, call.login.policy.as_ref(), Some(protection))) {
            (Self::Bypassed, _) | (Self::Checked, Ok(_)) => Ok(()),
            (Self::Checked, Err(_)) => Err(malformed(
                "The new key policy will not allow you to update the key policy in the future.",
            )),
        }
    }
}

/// A key has one policy, and its name is `default`.
fn check_name(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some("default") => Ok(()),
        Some(_) => Err(KmsError::new(Kind::NotFound, "No such policy exists")),
    }
}

fn malformed(message: impl Into<String>) -> KmsError {
    KmsError::new(Kind::MalformedPolicyDocument, message)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GetInput {
    key_id: String,
    policy_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PutInput {
    key_id: String,
    policy_name: Option<String>,
    policy: String,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
}
