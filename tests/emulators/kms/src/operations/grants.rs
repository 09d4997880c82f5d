//! Grants.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::rand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::page;
use super::{Call, Reply};
use crate::arn::Caller;
use crate::authorization::{Allowed, Constraint, Facts, GRANT_OPERATIONS, Grant};
use crate::blob::hex;
use crate::error::{Kind, KmsError};
use crate::json::Distinct;

pub(super) fn create(call: &Call<'_>) -> Reply {
    let input: CreateInput = call.input()?;
    let grant = input.grant(call)?;
    let mut state = call.state();
    let id = call.resolve(&state, &input.key_id)?;
    let key = state.key_mut(&id)?;
    if let Allowed::Grant(by) = call.authorize(key, "kms:CreateGrant", facts(call.facts(), &grant))? {
        check_delegated(by, &grant)?;
    }
    key.check_enabled()?;
    call.stop_dry_run(input.dry_run)?;
    // The same grant under the same name is made once.
    let same = |other: &&Grant| {
        other.name.is_some()
            && (
                &other.name,
                &other.grantee,
                &other.operations,
                &other.constraint,
                &other.retiring,
            ) == (
                &grant.name,
                &grant.grantee,
                &grant.operations,
                &grant.constraint,
                &grant.retiring,
            )
    };
    if let Some(before) = key.grants.iter().find(same) {
        return Ok(json!({ "GrantId": before.id, "GrantToken": before.token }));
    }
    let reply = json!({ "GrantId": grant.id, "GrantToken": grant.token });
    key.grants.push(grant);
    Ok(reply)
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    let input: ListInput = call.input()?;
    let state = call.state();
    let key = state.key(&call.resolve(&state, &input.key_id)?)?;
    call.authorize(key, "kms:ListGrants", call.facts())?;
    let wanted = |grant: &&Grant| {
        input.grant_id.as_ref().is_none_or(|id| *id == grant.id)
            && input.grantee_principal.as_ref().is_none_or(|arn| *arn == grant.grantee)
    };
    let arn = key.arn.to_string();
    let grants = key
        .grants
        .iter()
        .filter(wanted)
        .map(|grant| entry(grant, &arn))
        .collect();
    page("Grants", grants, input.limit, input.marker.as_deref(), 50)
}

pub(super) fn revoke(call: &Call<'_>) -> Reply {
    let input: RevokeInput = call.input()?;
    let mut state = call.state();
    let id = call.resolve(&state, &input.key_id)?;
    let key = state.key_mut(&id)?;
    call.authorize(key, "kms:RevokeGrant", call.facts())?;
    call.stop_dry_run(input.dry_run)?;
    let at = key.grants.iter().position(|grant| grant.id == input.grant_id);
    key.grants.remove(at.ok_or_else(no_such_grant)?);
    Ok(json!({}))
}

/// By its retiring principal, or by its grantee where it says so; by neither a policy nor another grant.
pub(super) fn retire(call: &Call<'_>) -> Reply {
    let input: RetireInput = call.input()?;
    let mut state = call.state();
    let names = |grant: &Grant| {
        input.grant_token.as_ref().is_some_and(|token| *token == grant.token)
            || input.grant_id.as_ref().is_some_and(|id| *id == grant.id)
    };
    let caller = &call.login.caller;
    let key = state
        .keys
        .values_mut()
        .find(|key| key.grants.iter().any(names))
        .ok_or_else(no_such_grant)?;
    let at = key.grants.iter().position(names).ok_or_else(no_such_grant)?;
    let may = key.grants.get(at).is_some_and(|grant| {
        grant.retiring.as_ref().is_some_and(|arn| caller.is_named(arn))
            || (grant.operations.contains("RetireGrant") && caller.is_named(&grant.grantee))
    });
    if !may {
        let (user, arn) = (&caller.arn, &key.arn);
        let message = format!("User: {user} is not authorized to perform: kms:RetireGrant on resource: {arn}");
        return Err(KmsError::new(Kind::AccessDenied, message));
    }
    call.stop_dry_run(input.dry_run)?;
    key.grants.remove(at);
    Ok(json!({}))
}

/// Who may make grants by a grant gives no more than it has: fewer operations, the same constraint.
fn check_delegated(by: &Grant, grant: &Grant) -> Result<(), KmsError> {
    if grant.operations.is_subset(&by.operations) && (by.constraint.is_none() || by.constraint == grant.constraint) {
        return Ok(());
    }
    Err(KmsError::new(
        Kind::AccessDenied,
        "The grant that allows CreateGrant does not allow what the new grant gives",
    ))
}

fn facts(facts: Facts, grant: &Grant) -> Facts {
    let facts = facts
        .with("kms:GrantIsForAWSResource", "false")
        .with("kms:GranteePrincipal", &grant.grantee)
        .with_all("kms:GrantOperations", grant.operations.iter().map(String::as_str));
    let facts = match &grant.retiring {
        Some(arn) => facts.with("kms:RetiringPrincipal", arn),
        None => facts,
    };
    match &grant.constraint {
        Some(Constraint::Equals(_)) => facts.with("kms:GrantConstraintType", "EncryptionContextEquals"),
        Some(Constraint::Subset(_)) => facts.with("kms:GrantConstraintType", "EncryptionContextSubset"),
        None => facts,
    }
}

fn entry(grant: &Grant, key: &str) -> Value {
    let mut entry = json!({
        "KeyId": key,
        "GrantId": grant.id,
        "Name": grant.name.clone().unwrap_or_default(),
        "CreationDate": grant.created,
        "GranteePrincipal": grant.grantee,
        "IssuingAccount": grant.issuing_account,
        "Operations": grant.operations,
    });
    if let Some(retiring) = &grant.retiring {
        entry["RetiringPrincipal"] = retiring.clone().into();
    }
    match &grant.constraint {
        Some(Constraint::Equals(context)) => entry["Constraints"] = json!({ "EncryptionContextEquals": context }),
        Some(Constraint::Subset(context)) => entry["Constraints"] = json!({ "EncryptionContextSubset": context }),
        None => {}
    }
    entry
}

impl CreateInput {
    fn grant(&self, call: &Call<'_>) -> Result<Grant, KmsError> {
        let operations: BTreeSet<String> = self.operations.iter().cloned().collect();
        let strange = operations
            .iter()
            .find(|name| !GRANT_OPERATIONS.contains(&name.as_str()));
        if let Some(strange) = strange {
            return Err(KmsError::validation(format!("{strange} is no grant operation")));
        }
        if operations.is_empty() {
            return Err(KmsError::validation("A grant needs an operation"));
        }
        for arn in [Some(&self.grantee_principal), self.retiring_principal.as_ref()]
            .into_iter()
            .flatten()
        {
            arn.parse::<Caller>()
                .map_err(|_| KmsError::validation(format!("{arn} is not a principal")))?;
        }
        let mut random = [0; 64];
        rand::fill(&mut random)?;
        let (id, token) = random.split_at(32);
        Ok(Grant {
            id: hex(id),
            token: hex(token),
            name: self.name.clone(),
            grantee: self.grantee_principal.clone(),
            retiring: self.retiring_principal.clone(),
            operations,
            constraint: self.constraints.as_ref().map(Constraints::parse).transpose()?.flatten(),
            issuing_account: format!("arn:{}:iam::{}:root", call.place().partition, call.login.caller.account),
            created: call.now(),
        })
    }
}

impl Constraints {
    fn parse(&self) -> Result<Option<Constraint>, KmsError> {
        let given = |context: &Option<Distinct<String>>| -> Option<BTreeMap<String, String>> {
            context.as_ref().map(|context| context.0.clone())
        };
        match (
            given(&self.encryption_context_equals),
            given(&self.encryption_context_subset),
        ) {
            (None, None) => Ok(None),
            (Some(context), None) => Ok(Some(Constraint::Equals(context))),
            (None, Some(context)) => Ok(Some(Constraint::Subset(context))),
            (Some(_), Some(_)) => Err(KmsError::validation("A grant has one constraint")),
        }
    }
}

fn no_such_grant() -> KmsError {
    KmsError::new(Kind::InvalidGrantId, "No such grant")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct CreateInput {
    key_id: String,
    grantee_principal: String,
    retiring_principal: Option<String>,
    operations: Vec<String>,
    constraints: Option<Constraints>,
    name: Option<String>,
    #[serde(rename = "GrantTokens")]
    _grant_tokens: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Constraints {
    encryption_context_equals: Option<Distinct<String>>,
    encryption_context_subset: Option<Distinct<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ListInput {
    key_id: String,
    limit: Option<usize>,
    marker: Option<String>,
    grant_id: Option<String>,
    grantee_principal: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RevokeInput {
    key_id: String,
    grant_id: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RetireInput {
    grant_token: Option<String>,
    #[serde(rename = "KeyId")]
    _key_id: Option<String>,
    grant_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
}
