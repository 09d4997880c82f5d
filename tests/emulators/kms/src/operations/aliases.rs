//! Aliases.

use serde::Deserialize;
use serde_json::json;

use super::call::page;
use super::{Call, Reply};
use crate::error::{Kind, KmsError};

pub(super) fn create(call: &Call<'_>) -> Reply {
    let input: CreateInput = call.input()?;
    let name = &input.alias_name;
    let good = name
        .strip_prefix("alias/")
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with("aws/"));
    if !good || name.contains(':') {
        return Err(KmsError::new(
            Kind::InvalidAliasName,
            "Alias must start with the prefix \"alias/\".",
        ));
    }
    let mut state = call.state();
    let id = call.resolve(&state, &input.target_key_id)?;
    call.authorize(state.key(&id)?, "kms:CreateAlias", call.facts())?;
    if state.aliases.contains_key(name) {
        let whole = state.key(&id)?.arn.alias(name);
        return Err(KmsError::new(
            Kind::AlreadyExists,
            format!("An alias with the name {whole} already exists"),
        ));
    }
    state.aliases.insert(name.clone(), id);
    Ok(json!({}))
}

pub(super) fn delete(call: &Call<'_>) -> Reply {
    let input: DeleteInput = call.input()?;
    let mut state = call.state();
    let id = call.resolve(&state, &input.alias_name)?;
    call.authorize(state.key(&id)?, "kms:DeleteAlias", call.facts())?;
    state.aliases.remove(&input.alias_name);
    Ok(json!({}))
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    let input: ListInput = call.input()?;
    call.authorize_without_key("kms:ListAliases", call.facts())?;
    let state = call.state();
    let of = input.key_id.map(|name| call.resolve(&state, &name)).transpose()?;
    let mut aliases = Vec::new();
    for key in state
        .keys
        .values()
        .filter(|key| of.as_ref().is_none_or(|id| *id == key.arn.id))
    {
        for name in state.aliases_of(&key.arn.id) {
            aliases.push(json!({ "AliasName": name, "AliasArn": key.arn.alias(name), "TargetKeyId": key.arn.id }));
        }
    }
    page("Aliases", aliases, input.limit, input.marker.as_deref(), 50)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CreateInput {
    alias_name: String,
    target_key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DeleteInput {
    alias_name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ListInput {
    key_id: Option<String>,
    limit: Option<usize>,
    marker: Option<String>,
}
