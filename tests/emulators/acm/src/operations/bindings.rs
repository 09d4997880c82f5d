//! External account bindings: who may make an account at an endpoint.

use aws_lc_rs::rand;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{Asked, page};
use super::{Call, Reply, endpoints};
use crate::config::AccountKey;
use crate::error::AcmError;
use crate::shape::{Arn, Kind, Tag, one_of, required, role, tags};
use crate::store::{Binding, State, new_id};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Expiration {
    value: Option<i64>,
    r#type: Option<String>,
}

impl Expiration {
    fn seconds(self) -> Result<i64, AcmError> {
        let value = required("expiration.value", self.value)?;
        let unit = required("expiration.type", self.r#type)?;
        one_of("expiration.type", &unit, &["MINUTES", "HOURS", "DAYS"])?;
        let seconds = match unit.as_str() {
            "MINUTES" => 60,
            "HOURS" => 3_600,
            _ => 86_400,
        };
        let whole = value.checked_mul(seconds).filter(|_| value >= 1);
        whole.ok_or_else(|| {
            let rule = "Member must have value greater than or equal to 1";
            AcmError::constraint("expiration.value", Some(&value.to_string()), rule)
        })
    }
}

pub(super) fn create(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        idempotency_token: Option<String>,
        acme_endpoint_arn: Option<String>,
        role_arn: Option<String>,
        expiration: Option<Expiration>,
        tags: Option<Vec<Tag>>,
    }
    let input: Input = call.input()?;
    let endpoint_arn = Arn::parse(Kind::Endpoint, input.acme_endpoint_arn)?.text;
    let role = role(input.role_arn)?;
    let lasts = input.expiration.map(Expiration::seconds).transpose()?;
    tags(input.tags)?;
    call.once("CreateAcmeExternalAccountBinding", input.idempotency_token, |state| {
        let (now, id) = (call.now(), new_id()?);
        endpoints::active(state.endpoint(&endpoint_arn)?, &endpoint_arn)?;
        let key = next_key(state)?;
        let binding = Binding {
            role,
            expires: lasts.map(|lasts| now.saturating_add(lasts)),
            revoked: None,
            last_used: None,
            created: now,
            updated: now,
            key,
        };
        let arn = format!("{endpoint_arn}/acme-external-account-binding/{id}");
        let reply = json!({ "ExternalAccountBinding": binding.json(&arn, &endpoint_arn) });
        state.endpoint(&endpoint_arn)?.bindings.insert(arn, binding);
        Ok(reply)
    })
}

fn next_key(state: &mut State) -> Result<AccountKey, AcmError> {
    if let Some(keys) = &mut state.account_keys {
        let none = || AcmError::quota("The ACME server behind the emulator knows no further account key.");
        return keys.pop_front().ok_or_else(none);
    }
    let mut mac_key = [0; 32];
    rand::fill(&mut mac_key).map_err(|_| AcmError::internal())?;
    Ok(AccountKey {
        key_id: new_id()?,
        mac_key: Base64UrlUnpadded::encode_string(&mac_key),
    })
}

pub(super) fn describe(call: &Call<'_>) -> Reply {
    let arn = named(call)?;
    let mut state = call.state();
    Ok(json!({ "ExternalAccountBinding": found(&mut state, &arn)?.json(&arn.text, &arn.endpoint) }))
}

/// Nothing is given away for a binding that makes no accounts any more.
pub(super) fn credentials(call: &Call<'_>) -> Reply {
    let arn = named(call)?;
    let mut state = call.state();
    let binding = found(&mut state, &arn)?;
    if !binding.is_usable(call.now()) {
        return Err(AcmError::validation(
            "The external account binding was revoked or has expired.",
        ));
    }
    Ok(json!({ "KeyId": binding.key.key_id, "MacKey": binding.key.mac_key }))
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        next_token: Option<String>,
        max_results: Option<i64>,
        acme_endpoint_arn: Option<String>,
    }
    let input: Input = call.input()?;
    let endpoint = Arn::parse(Kind::Endpoint, input.acme_endpoint_arn)?.text;
    let mut state = call.state();
    let bindings = state.endpoint(&endpoint)?.bindings.iter();
    let all = bindings.map(|(arn, binding)| binding.json(arn, &endpoint)).collect();
    let asked = Asked {
        next_token: input.next_token,
        max_results: input.max_results,
    };
    page(call, "ExternalAccountBindings", &asked, all)
}

/// Accounts that were made by it stay.
pub(super) fn revoke(call: &Call<'_>) -> Reply {
    let arn = named(call)?;
    let mut state = call.state();
    let binding = found(&mut state, &arn)?;
    if binding.revoked.is_some() {
        return Err(AcmError::conflict(format!("{} is revoked already.", arn.text)));
    }
    binding.revoked = Some(call.now());
    binding.updated = call.now();
    Ok(Value::Null)
}

/// What is not there is deleted already: the model has no refusal for it.
pub(super) fn delete(call: &Call<'_>) -> Reply {
    let arn = named(call)?;
    let mut state = call.state();
    if let Some(endpoint) = state.endpoints.get_mut(&arn.endpoint) {
        endpoint.bindings.remove(&arn.text);
    }
    Ok(Value::Null)
}

fn found<'s>(state: &'s mut State, arn: &Arn) -> Result<&'s mut Binding, AcmError> {
    let missing = || AcmError::not_found("external account binding", &arn.text);
    let endpoint = state.endpoints.get_mut(&arn.endpoint).ok_or_else(missing)?;
    endpoint.bindings.get_mut(&arn.text).ok_or_else(missing)
}

fn named(call: &Call<'_>) -> Result<Arn, AcmError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        acme_external_account_binding_arn: Option<String>,
    }
    Arn::parse(Kind::Binding, call.input::<Input>()?.acme_external_account_binding_arn)
}
