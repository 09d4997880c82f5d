//! Encrypt, Decrypt, ReEncrypt.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Call, Reply};
use crate::authorization::Facts;
use crate::blob::{Blob, base64};
use crate::ciphertext::{self, Sealed};
use crate::error::{Kind, KmsError};
use crate::json::Distinct;
use crate::recipient::RecipientInfo;
use crate::store::State;

pub(super) fn encrypt(call: &Call<'_>) -> Reply {
    let input: EncryptInput = call.input()?;
    check_algorithm(input.encryption_algorithm.as_deref())?;
    check_length("plaintext", &input.plaintext, MAX_PLAINTEXT)?;
    let facts = facts_with(call, &input.encryption_context, &input.key_id)?;
    let state = call.state();
    let key = state.key(&call.resolve(&state, &input.key_id)?)?;
    call.authorize(key, "kms:Encrypt", facts)?;
    key.check_enabled()?;
    call.stop_dry_run(input.dry_run)?;
    let blob = ciphertext::seal(
        &key.arn.id,
        &key.material,
        &input.encryption_context,
        &input.plaintext.0,
    )?;
    let mut reply = call.reply_of(key);
    reply.insert("CiphertextBlob".to_owned(), base64(&blob).into());
    Ok(with_algorithm(reply))
}

pub(super) fn decrypt(call: &Call<'_>) -> Reply {
    let input: DecryptInput = call.input()?;
    check_algorithm(input.encryption_algorithm.as_deref())?;
    check_length("ciphertextBlob", &input.ciphertext_blob, MAX_CIPHERTEXT)?;
    let recipient = call.recipient(input.recipient.as_ref())?;
    let facts = facts_with(
        call,
        &input.encryption_context,
        input.key_id.as_deref().unwrap_or_default(),
    )?;
    let sealed = Sealed::parse(&input.ciphertext_blob.0)?;
    let state = call.state();
    let id = source_key(call, &state, input.key_id.as_deref(), &sealed, "kms:Decrypt")?;
    let key = state.key(&id)?;
    call.authorize(key, "kms:Decrypt", facts.with_recipient(recipient.as_ref()))?;
    check_same_key(&id, &sealed)?;
    key.check_enabled()?;
    call.stop_dry_run(input.dry_run)?;
    let plaintext = sealed.open(&key.material, &input.encryption_context)?;
    let mut reply = call.reply_of(key);
    call.deliver(&mut reply, "Plaintext", &plaintext, recipient.as_ref())?;
    Ok(with_algorithm(reply))
}

pub(super) fn re_encrypt(call: &Call<'_>) -> Reply {
    let input: ReEncryptInput = call.input()?;
    check_algorithm(input.source_encryption_algorithm.as_deref())?;
    check_algorithm(input.destination_encryption_algorithm.as_deref())?;
    check_length("ciphertextBlob", &input.ciphertext_blob, MAX_CIPHERTEXT)?;
    let sealed = Sealed::parse(&input.ciphertext_blob.0)?;
    let source_name = input.source_key_id.as_deref();
    let from_facts = facts_with(call, &input.source_encryption_context, source_name.unwrap_or_default())?;
    let to_facts = facts_with(call, &input.destination_encryption_context, &input.destination_key_id)?;
    let state = call.state();
    let from = state.key(&source_key(call, &state, source_name, &sealed, "kms:ReEncryptFrom")?)?;
    let to = state.key(&call.resolve(&state, &input.destination_key_id)?)?;
    let same = if from.arn == to.arn { "true" } else { "false" };
    call.authorize(
        from,
        "kms:ReEncryptFrom",
        from_facts.with("kms:ReEncryptOnSameKey", same),
    )?;
    call.authorize(to, "kms:ReEncryptTo", to_facts.with("kms:ReEncryptOnSameKey", same))?;
    check_same_key(&from.arn.id, &sealed)?;
    from.check_enabled()?;
    to.check_enabled()?;
    call.stop_dry_run(input.dry_run)?;
    let plaintext = sealed.open(&from.material, &input.source_encryption_context)?;
    let blob = ciphertext::seal(
        &to.arn.id,
        &to.material,
        &input.destination_encryption_context,
        &plaintext,
    )?;
    Ok(json!({
        "CiphertextBlob": base64(&blob),
        "KeyId": call.reply_key_id(&to.arn),
        "SourceKeyId": from.arn.to_string(),
        "SourceEncryptionAlgorithm": ALGORITHM,
        "DestinationEncryptionAlgorithm": ALGORITHM,
    }))
}

/// The facts of an encryption context, and of the name by which a key was asked for.
pub(super) fn facts_with(call: &Call<'_>, context: &Distinct<String>, key_name: &str) -> Result<Facts, KmsError> {
    let mut keys: Vec<String> = context.keys().map(|key| key.to_ascii_lowercase()).collect();
    keys.dedup();
    keys.sort();
    keys.dedup();
    if keys.len() != context.len() {
        // A condition could not tell them apart.
        return Err(KmsError::validation(
            "Two keys of the encryption context differ in case only",
        ));
    }
    let facts = call
        .facts()
        .with_encryption_context(context)
        .with("kms:EncryptionAlgorithm", ALGORITHM);
    let alias = key_name.rsplit(':').next().filter(|name| name.starts_with("alias/"));
    Ok(match alias {
        Some(alias) => facts.with("kms:RequestAlias", alias),
        None => facts,
    })
}

/// The key that a ciphertext is to be opened with: the one that is named, else the one that the ciphertext names.
fn source_key(
    call: &Call<'_>,
    state: &State,
    name: Option<&str>,
    sealed: &Sealed<'_>,
    action: &str,
) -> Result<String, KmsError> {
    match name {
        Some(name) => call.resolve(state, name),
        None if state.keys.contains_key(sealed.key_id) => Ok(sealed.key_id.to_owned()),
        None => Err(KmsError::new(
            Kind::AccessDenied,
            format!(
                "User: {} is not authorized to perform: {action} on the resource associated with this ciphertext because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access",
                call.login.caller.arn
            ),
        )),
    }
}

fn check_same_key(id: &str, sealed: &Sealed<'_>) -> Result<(), KmsError> {
    if sealed.key_id == id {
        return Ok(());
    }
    Err(KmsError::new(
        Kind::IncorrectKey,
        "The key ID in the request does not identify a CMK that can perform this operation.",
    ))
}

fn check_algorithm(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some(ALGORITHM) => Ok(()),
        Some(other) => Err(KmsError::validation(format!(
            "Algorithm {other} is incompatible with key spec SYMMETRIC_DEFAULT."
        ))),
    }
}

fn check_length(member: &str, blob: &Blob, most: usize) -> Result<(), KmsError> {
    let relation = match blob.0.len() {
        0 => "greater than or equal to 1".to_owned(),
        length if length > most => format!("less than or equal to {most}"),
        _ => return Ok(()),
    };
    Err(KmsError::validation(format!(
        "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length {relation}"
    )))
}

fn with_algorithm(mut reply: Map<String, Value>) -> Value {
    reply.insert("EncryptionAlgorithm".to_owned(), ALGORITHM.into());
    Value::Object(reply)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct EncryptInput {
    key_id: String,
    plaintext: Blob,
    #[serde(default)]
    encryption_context: Distinct<String>,
    encryption_algorithm: Option<String>,
    #[serde(rename = "GrantTokens")]
    _grant_tokens: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DecryptInput {
    ciphertext_blob: Blob,
    key_id: Option<String>,
    #[serde(default)]
    encryption_context: Distinct<String>,
    encryption_algorithm: Option<String>,
    recipient: Option<RecipientInfo>,
    #[serde(rename = "GrantTokens")]
    _grant_tokens: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ReEncryptInput {
    ciphertext_blob: Blob,
    source_key_id: Option<String>,
    destination_key_id: String,
    #[serde(default)]
    source_encryption_context: Distinct<String>,
    #[serde(default)]
    destination_encryption_context: Distinct<String>,
    source_encryption_algorithm: Option<String>,
    destination_encryption_algorithm: Option<String>,
    #[serde(rename = "GrantTokens")]
    _grant_tokens: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
}

const ALGORITHM: &str = "SYMMETRIC_DEFAULT";
/// KMS's limits.
const MAX_PLAINTEXT: usize = 4_096;
const MAX_CIPHERTEXT: usize = 6_144;
