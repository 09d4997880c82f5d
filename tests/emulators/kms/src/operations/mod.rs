//! What KMS can be asked for, one function an operation.

mod aliases;
mod call;
mod data_keys;
mod encryption;
mod grants;
mod keys;
mod policies;

pub(crate) use call::Call;

use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::Value;

use crate::authorization::is_action;
use crate::error::{Kind, KmsError};

type Reply = Result<Value, KmsError>;

/// An operation of KMS.
pub(crate) struct Operation {
    name: String,
    run: fn(&Call<'_>) -> Reply,
}

impl Operation {
    /// What a request's `X-Amz-Target` names.
    pub(crate) fn of(head: &Parts) -> Result<Self, KmsError> {
        let unknown = || KmsError::new(Kind::UnknownOperation, "");
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if head.method != "POST" || head.uri != "/" || header("content-type") != Some("application/x-amz-json-1.1") {
            return Err(unknown());
        }
        let target = header("x-amz-target").ok_or_else(unknown)?;
        let name = target.strip_prefix("TrentService.").ok_or_else(unknown)?;
        let run = run_of(name).ok_or_else(unknown)?;
        Ok(Self {
            name: name.to_owned(),
            run,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn perform(&self, call: &Call<'_>) -> Reply {
        call.set_operation(&self.name);
        (self.run)(call)
    }
}

fn run_of(name: &str) -> Option<fn(&Call<'_>) -> Reply> {
    Some(match name {
        "CreateAlias" => aliases::create,
        "CreateGrant" => grants::create,
        "CreateKey" => keys::create,
        "Decrypt" => encryption::decrypt,
        "DeleteAlias" => aliases::delete,
        "DescribeKey" => keys::describe,
        "DisableKey" => keys::disable,
        "EnableKey" => keys::enable,
        "Encrypt" => encryption::encrypt,
        "GenerateDataKey" => data_keys::generate,
        "GenerateDataKeyPair" => data_keys::generate_pair,
        "GenerateDataKeyPairWithoutPlaintext" => data_keys::generate_pair_without_plaintext,
        "GenerateDataKeyWithoutPlaintext" => data_keys::generate_without_plaintext,
        "GenerateRandom" => data_keys::generate_random,
        "GetKeyPolicy" => policies::get,
        "GetKeyRotationStatus" => keys::rotation_status,
        "ListAliases" => aliases::list,
        "ListGrants" => grants::list,
        "ListKeyPolicies" => policies::list,
        "ListKeys" => keys::list,
        "ListResourceTags" => keys::list_tags,
        "PutKeyPolicy" => policies::put,
        "ReEncrypt" => encryption::re_encrypt,
        "RetireGrant" => grants::retire,
        "RevokeGrant" => grants::revoke,
        name if is_action(name) => unsupported,
        _ => return None,
    })
}

/// What KMS has and the emulator does not: the policies still decide, so that a test can tell a refusal from a permission.
fn unsupported(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Input {
        key_id: Option<String>,
    }
    let action = format!("kms:{}", call.operation());
    match call.input::<Input>()?.key_id {
        Some(name) => {
            let state = call.state();
            call.authorize(state.key(&call.resolve(&state, &name)?)?, &action, call.facts())?;
        }
        None => call.authorize_without_key(&action, call.facts())?,
    }
    Err(KmsError::new(
        Kind::UnsupportedOperation,
        "The emulator does not have this operation.",
    ))
}
