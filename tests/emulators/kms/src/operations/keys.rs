//! Keys themselves.

use aws_lc_rs::rand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::page;
use super::policies::{Lockout, parse_policy};
use super::{Call, Reply};
use crate::arn::KeyArn;
use crate::error::{Kind, KmsError};
use crate::store::{StoredKey, default_policy, new_key_id};

pub(super) fn create(call: &Call<'_>) -> Reply {
    let input: CreateInput = call.input()?;
    let bypass = Lockout::of(input.bypass_policy_lockout_safety_check);
    call.authorize_without_key("kms:CreateKey", bypass.facts(call.facts()))?;
    check_kind(&input)?;
    let place = call.place();
    let arn = KeyArn {
        partition: place.partition.to_owned(),
        region: place.region.to_owned(),
        account: place.account.to_owned(),
        id: new_key_id()?,
    };
    let policy_text = input.policy.unwrap_or_else(|| default_policy(&arn));
    let policy = parse_policy(&policy_text)?;
    bypass.check(call, &policy, &arn)?;
    let mut material = [0; 32];
    rand::fill(&mut material)?;
    let key = StoredKey {
        arn: arn.clone(),
        policy_text,
        policy,
        material,
        origin: "AWS_KMS".to_owned(),
        description: input.description.unwrap_or_default(),
        enabled: true,
        created: call.now(),
        grants: Vec::new(),
    };
    let reply = json!({ "KeyMetadata": metadata(&key) });
    call.state().keys.insert(arn.id, key);
    Ok(reply)
}

pub(super) fn describe(call: &Call<'_>) -> Reply {
    let state = call.state();
    let key = state.key(&authorized(call, &state, "kms:DescribeKey")?)?;
    let mut metadata = metadata(key);
    metadata["Arn"] = call.reply_key_id(&key.arn).into();
    Ok(json!({ "KeyMetadata": metadata }))
}

pub(super) fn enable(call: &Call<'_>) -> Reply {
    set_enabled(call, "kms:EnableKey", true)
}

pub(super) fn disable(call: &Call<'_>) -> Reply {
    set_enabled(call, "kms:DisableKey", false)
}

fn set_enabled(call: &Call<'_>, action: &str, enabled: bool) -> Reply {
    let mut state = call.state();
    let id = authorized(call, &state, action)?;
    state.key_mut(&id)?.enabled = enabled;
    Ok(json!({}))
}

pub(super) fn rotation_status(call: &Call<'_>) -> Reply {
    let state = call.state();
    let key = state.key(&authorized(call, &state, "kms:GetKeyRotationStatus")?)?;
    Ok(json!({ "KeyId": key.arn.to_string(), "KeyRotationEnabled": false }))
}

pub(super) fn list_tags(call: &Call<'_>) -> Reply {
    let state = call.state();
    authorized(call, &state, "kms:ListResourceTags")?;
    Ok(json!({ "Tags": [], "Truncated": false }))
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    let input: ListInput = call.input()?;
    call.authorize_without_key("kms:ListKeys", call.facts())?;
    let state = call.state();
    let own = state
        .keys
        .values()
        .filter(|key| key.arn.account == call.login.caller.account);
    let keys = own
        .map(|key| json!({ "KeyId": key.arn.id, "KeyArn": key.arn.to_string() }))
        .collect();
    page("Keys", keys, input.limit, input.marker.as_deref(), 100)
}

/// The id of the key that a request of `KeyId` and nothing that matters else names, if the caller may.
pub(super) fn authorized(call: &Call<'_>, state: &crate::store::State, action: &str) -> Result<String, KmsError> {
    let input: KeyInput = call.input()?;
    let id = call.resolve(state, &input.key_id)?;
    call.authorize(state.key(&id)?, action, call.facts())?;
    Ok(id)
}

fn check_kind(input: &CreateInput) -> Result<(), KmsError> {
    let is = |value: &Option<String>, only: &str| value.as_deref().is_none_or(|value| value == only);
    let symmetric = is(&input.key_usage, "ENCRYPT_DECRYPT")
        && is(&input.key_spec, "SYMMETRIC_DEFAULT")
        && is(&input.customer_master_key_spec, "SYMMETRIC_DEFAULT")
        && is(&input.origin, "AWS_KMS")
        && !input.multi_region.unwrap_or_default();
    if symmetric {
        Ok(())
    } else {
        Err(KmsError::new(
            Kind::UnsupportedOperation,
            "The emulator has symmetric keys only.",
        ))
    }
}

fn metadata(key: &StoredKey) -> Value {
    json!({
        "AWSAccountId": key.arn.account,
        "KeyId": key.arn.id,
        "Arn": key.arn.to_string(),
        "CreationDate": key.created,
        "Enabled": key.enabled,
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": if key.enabled { "Enabled" } else { "Disabled" },
        "Origin": key.origin,
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": key.arn.id.starts_with("mrk-"),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CreateInput {
    policy: Option<String>,
    description: Option<String>,
    key_usage: Option<String>,
    key_spec: Option<String>,
    customer_master_key_spec: Option<String>,
    origin: Option<String>,
    multi_region: Option<bool>,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
    #[serde(rename = "Tags")]
    _tags: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct KeyInput {
    key_id: String,
    #[serde(rename = "GrantTokens")]
    _grant_tokens: Option<Vec<String>>,
    #[serde(rename = "Limit")]
    _limit: Option<usize>,
    #[serde(rename = "Marker")]
    _marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ListInput {
    limit: Option<usize>,
    marker: Option<String>,
}
