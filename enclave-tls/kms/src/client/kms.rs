//! KMS with a recipient (AWS JSON 1.1): the answer is encrypted to a key that an attestation document carries.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use enclave_https::{Method, StatusCode};
use enclave_policy::aws::{KeyArn, Service};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::reply::{self, Reply};
use super::retry::{Attempts, Failure};
use super::{Call, Client, error_reply};
use crate::error::{KmsError, ReplyError, Unavailable};
use crate::recipient::Recipient;

/// A fresh data key.
pub struct DataKey {
    /// The key.
    pub plaintext: Zeroizing<[u8; 32]>,
    /// The same, as [`Client::decrypt`] takes it.
    pub wrapped: Vec<u8>,
}

impl Client {
    /// What `ciphertext` holds: at most [`MAX_PLAINTEXT`] bytes. `key` must be the one that encrypted it, and `context` its encryption
    /// context, none of whose names stands twice.
    pub async fn decrypt(
        &self,
        key: &KeyArn,
        ciphertext: &[u8],
        context: &[(String, String)],
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        if ciphertext.is_empty() || ciphertext.len() > MAX_CIPHERTEXT {
            return Err(KmsError::CiphertextInvalid);
        }
        let asked = Asked {
            key,
            operation: "TrentService.Decrypt",
            ciphertext: Some(Base64::encode_string(ciphertext)),
            key_spec: None,
            context,
        };
        let (plaintext, _) = self.ask(&asked, deadline).await?;
        Ok(plaintext)
    }

    /// A data key of 256 bits under `key`, with this encryption context.
    pub async fn generate_data_key(
        &self,
        key: &KeyArn,
        context: &[(String, String)],
        deadline: Instant,
    ) -> Result<DataKey, KmsError> {
        let asked = Asked {
            key,
            operation: "TrentService.GenerateDataKey",
            ciphertext: None,
            key_spec: Some("AES_256"),
            context,
        };
        let (key, reply) = self.ask(&asked, deadline).await?;
        let plaintext = reply::data_key(&key).map_err(KmsError::ReplyInvalid)?;
        let wrapped = reply.wrapped().map_err(KmsError::ReplyInvalid)?;
        Ok(DataKey { plaintext, wrapped })
    }

    async fn ask(&self, asked: &Asked<'_>, deadline: Instant) -> Result<Answer, KmsError> {
        let call = Call {
            service: Service::Kms,
            region: asked.key.region(),
            method: Method::POST,
            path: "/".to_owned(),
            headers: vec![
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", asked.operation),
            ],
            max_reply: MAX_REPLY,
        };
        let mut attempts = Attempts::until(deadline);
        loop {
            let attempt = self.attempt(&call, asked, attempts.offset());
            if let Some(answer) = attempts.make(attempt).await? {
                return Ok(answer);
            }
        }
    }

    /// One request, with a recipient of its own.
    async fn attempt(&self, call: &Call<'_>, asked: &Asked<'_>, offset: i64) -> Result<Answer, Failure> {
        // Checked again when the request is signed; here so that no document is made for nothing.
        self.usable_credentials()?;
        let (recipient, document) = self.attested_recipient().await?;
        let reply = self.send(call, asked.body(&document)?, offset).await?;
        if reply.status != StatusCode::OK {
            return Err(error_reply::of_kms(&reply, (self.now_unix)()));
        }
        let reply = Reply::read(&reply.body, asked.key).map_err(KmsError::ReplyInvalid)?;
        let plaintext = recipient.open(reply.for_recipient());
        let plaintext = plaintext.map_err(|why| KmsError::ReplyInvalid(ReplyError::Cms(why)))?;
        Ok((plaintext, reply))
    }

    /// A fresh key and the document that carries it. Both may take their time, and not on the threads of the runtime.
    async fn attested_recipient(&self) -> Result<(Recipient, Vec<u8>), Failure> {
        let (recipients, attester) = (Arc::clone(&self.recipients), Arc::clone(&self.attester));
        let made = spawn_blocking(move || {
            let recipient = recipients.take()?;
            let document = attester.document(recipient.spki()).map_err(KmsError::Attestation)?;
            Ok::<_, Failure>((recipient, document))
        });
        made.await.map_err(|_| Failure::Passing(Unavailable::Library))?
    }
}

/// What was encrypted to the recipient, and the rest of the reply.
type Answer = (Zeroizing<Vec<u8>>, Reply);

/// What is asked of KMS, apart from the recipient.
struct Asked<'a> {
    key: &'a KeyArn,
    operation: &'static str,
    ciphertext: Option<String>,
    key_spec: Option<&'static str>,
    context: &'a [(String, String)],
}

impl Asked<'_> {
    fn body(&self, document: &[u8]) -> Result<Vec<u8>, Failure> {
        let context: BTreeMap<&str, &str> = self.context.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let body = Body {
            key_id: self.key.to_string(),
            ciphertext_blob: self.ciphertext.as_deref(),
            key_spec: self.key_spec,
            encryption_context: (!context.is_empty()).then_some(context),
            recipient: RecipientInfo {
                attestation_document: Base64::encode_string(document),
                key_encryption_algorithm: "RSAES_OAEP_SHA_256",
            },
        };
        serde_json::to_vec(&body).map_err(|_| Failure::Passing(Unavailable::Library))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    /// The full ARN: an id or an alias would leave to the caller's account which key is meant.
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_blob: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_spec: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encryption_context: Option<BTreeMap<&'a str, &'a str>>,
    recipient: RecipientInfo,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecipientInfo {
    attestation_document: String,
    key_encryption_algorithm: &'static str,
}

/// KMS takes no more for Decrypt.
pub const MAX_CIPHERTEXT: usize = 6_144;
/// KMS encrypts no more.
pub const MAX_PLAINTEXT: usize = 4_096;
/// The largest reply, a plaintext of 4,096 bytes and a wrapped key in base64, is under 16 KiB.
const MAX_REPLY: usize = 131_072;
