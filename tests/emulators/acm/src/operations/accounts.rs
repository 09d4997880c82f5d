//! Accounts, which ACME clients made at the server behind an endpoint.

use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{Asked, page};
use super::{Call, Reply};
use crate::error::AcmError;
use crate::shape::{Arn, Kind, required};

pub(super) fn describe(call: &Call<'_>) -> Reply {
    let (arn, url) = named(call)?;
    let mut state = call.state();
    let account = state.endpoint(&arn)?.accounts.get(&url);
    let account = account.ok_or_else(|| AcmError::not_found("ACME account", &url))?;
    Ok(json!({ "AcmeAccount": account.json(&url) }))
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
    let accounts = state.endpoint(&endpoint)?.accounts.iter();
    let all = accounts.map(|(url, account)| account.json(url)).collect();
    let asked = Asked {
        next_token: input.next_token,
        max_results: input.max_results,
    };
    page(call, "AcmeAccounts", &asked, all)
}

pub(super) fn revoke(call: &Call<'_>) -> Reply {
    let (arn, url) = named(call)?;
    let mut state = call.state();
    let account = state.endpoint(&arn)?.accounts.get_mut(&url);
    let account = account.ok_or_else(|| AcmError::not_found("ACME account", &url))?;
    if account.revoked {
        return Err(AcmError::conflict(format!("{url} is revoked already.")));
    }
    account.revoked = true;
    Ok(Value::Null)
}

/// The endpoint's ARN and the account's URL.
fn named(call: &Call<'_>) -> Result<(String, String), AcmError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        acme_endpoint_arn: Option<String>,
        account_url: Option<String>,
    }
    let input: Input = call.input()?;
    let arn = Arn::parse(Kind::Endpoint, input.acme_endpoint_arn)?.text;
    Ok((arn, required("accountUrl", input.account_url)?))
}
