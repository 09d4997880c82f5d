//! The AWS SDK, driven by one thread for as long as a call takes.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::ProvideCredentials;
use aws_sdk_kms::error::{DisplayErrorContext, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{GrantListEntry, KeyMetadata};
use serde_json::{Value, json};

use super::{AwsError, KeyDescription};

/// Encrypts under a KMS key. The SDK's own copies of the plaintext, on its way into TLS, are not wiped.
pub(crate) fn encrypt(
    arn: &str,
    region: &str,
    context: &[(&str, &str)],
    plaintext: &[u8],
) -> Result<Vec<u8>, AwsError> {
    let context: HashMap<_, _> = context
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    block_on(async {
        let answer = Client::new(&configuration(Some(region)).await)
            .encrypt()
            .key_id(arn)
            .set_encryption_context(Some(context))
            .plaintext(Blob::new(plaintext))
            .send()
            .await
            .map_err(call("Encrypt"))?;
        // An endpoint that encrypts under another key would make a bundle that says one and needs the other.
        if answer.key_id() != Some(arn) {
            return Err(AwsError::Answer("Encrypt"));
        }
        answer
            .ciphertext_blob
            .map(Blob::into_inner)
            .ok_or(AwsError::Answer("Encrypt"))
    })
}

/// A key's policy, all its grants, and its metadata.
pub(crate) fn describe(arn: &str, region: &str) -> Result<KeyDescription, AwsError> {
    block_on(async {
        let client = Client::new(&configuration(Some(region)).await);
        let policy = client.get_key_policy().key_id(arn).send().await;
        let metadata = client.describe_key().key_id(arn).send().await;
        Ok(KeyDescription {
            policy: policy
                .map_err(call("GetKeyPolicy"))?
                .policy
                .ok_or(AwsError::Answer("GetKeyPolicy"))?,
            grants: grants(&client, arn).await?,
            metadata: metadata
                .map_err(call("DescribeKey"))?
                .key_metadata
                .map(|metadata| metadata_json(&metadata).to_string())
                .ok_or(AwsError::Answer("DescribeKey"))?,
        })
    })
}

/// Whether the default chain finds credentials, and when they end. They are dropped at once.
pub(crate) fn credentials(profile: Option<&str>) -> Result<Option<i64>, AwsError> {
    block_on(async {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        let none = |why: String| AwsError::Call {
            operation: "for credentials",
            why,
        };
        let find = async {
            let found = loader.load().await;
            let provider = found
                .credentials_provider()
                .ok_or_else(|| none("there is no source of them".to_owned()))?;
            provider
                .provide_credentials()
                .await
                .map_err(|error| none(in_short(&error)))
        };
        let found = tokio::time::timeout(WITHIN, find)
            .await
            .map_err(|_| none(format!("nobody answered within {} s", WITHIN.as_secs())))??;
        let end = found.expiry().and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        Ok(end.and_then(|end| i64::try_from(end.as_secs()).ok()))
    })
}

/// An error and what it came from. The SDK's own form has its inside too, which is of no use to an administrator.
pub(super) fn in_short(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said.push_str(&format!(": {error}"));
        source = error.source();
    }
    said
}

async fn grants(client: &Client, arn: &str) -> Result<String, AwsError> {
    let mut pages = client.list_grants().key_id(arn).into_paginator().send();
    let mut all = Vec::new();
    while let Some(page) = pages.next().await {
        all.extend(
            page.map_err(call("ListGrants"))?
                .grants
                .unwrap_or_default()
                .iter()
                .map(grant_json),
        );
    }
    Ok(json!({ "Grants": all }).to_string())
}

fn grant_json(grant: &GrantListEntry) -> Value {
    json!({
        "GrantId": grant.grant_id(),
        "Name": grant.name(),
        "GranteePrincipal": grant.grantee_principal(),
        "Operations": grant.operations().iter().map(|operation| operation.as_str()).collect::<Vec<_>>(),
    })
}

fn metadata_json(metadata: &KeyMetadata) -> Value {
    json!({ "KeyMetadata": {
        "Arn": metadata.arn(),
        "KeySpec": metadata.key_spec().map(|spec| spec.as_str()),
        "KeyState": metadata.key_state().map(|state| state.as_str()),
        "KeyManager": metadata.key_manager().map(|manager| manager.as_str()),
        "Origin": metadata.origin().map(|origin| origin.as_str()),
        "MultiRegion": metadata.multi_region(),
    } })
}

pub(super) async fn configuration(region: Option<&str>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    loader.load().await
}

pub(super) fn call<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> AwsError
where
    SdkError<E, R>: std::error::Error,
{
    move |error| AwsError::Call {
        operation,
        why: DisplayErrorContext(error).to_string(),
    }
}

pub(super) fn block_on<T>(work: impl Future<Output = Result<T, AwsError>>) -> Result<T, AwsError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AwsError::Runtime)?
        .block_on(work)
}

/// Where there is no metadata service the chain's last source waits for it.
const WITHIN: Duration = Duration::from_secs(10);
