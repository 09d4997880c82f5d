//! Data keys, data key pairs, random bytes.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::encryption::facts_with;
use super::{Call, Reply};
use crate::blob::base64;
use crate::ciphertext;
use crate::error::KmsError;
use crate::json::Distinct;
use crate::recipient::{Recipient, RecipientInfo};

pub(super) fn generate(call: &Call<'_>) -> Reply {
    let input: DataKeyInput = call.input()?;
    let recipient = call.recipient(input.recipient.as_ref())?;
    let (mut reply, secret) = data_key(call, &input, "kms:GenerateDataKey", recipient.as_ref())?;
    call.deliver(&mut reply, "Plaintext", &secret, recipient.as_ref())?;
    Ok(Value::Object(reply))
}

pub(super) fn generate_without_plaintext(call: &Call<'_>) -> Reply {
    let input: DataKeyInput = call.input()?;
    if input.recipient.is_some() {
        return Err(no_recipient());
    }
    let (reply, _) = data_key(call, &input, "kms:GenerateDataKeyWithoutPlaintext", None)?;
    Ok(Value::Object(reply))
}

pub(super) fn generate_pair(call: &Call<'_>) -> Reply {
    let input: PairInput = call.input()?;
    let recipient = call.recipient(input.recipient.as_ref())?;
    let (mut reply, secret) = data_key_pair(call, &input, "kms:GenerateDataKeyPair", recipient.as_ref())?;
    call.deliver(&mut reply, "PrivateKeyPlaintext", &secret, recipient.as_ref())?;
    Ok(Value::Object(reply))
}

pub(super) fn generate_pair_without_plaintext(call: &Call<'_>) -> Reply {
    let input: PairInput = call.input()?;
    if input.recipient.is_some() {
        return Err(no_recipient());
    }
    let (reply, _) = data_key_pair(call, &input, "kms:GenerateDataKeyPairWithoutPlaintext", None)?;
    Ok(Value::Object(reply))
}

pub(super) fn generate_random(call: &Call<'_>) -> Reply {
    let input: RandomInput = call.input()?;
    let recipient = call.recipient(input.recipient.as_ref())?;
    call.authorize_without_key("kms:GenerateRandom", call.facts().with_recipient(recipient.as_ref()))?;
    let mut secret = vec![0; length(Some(input.number_of_bytes), None)?];
    rand::fill(&mut secret)?;
    let mut reply = Map::new();
    call.deliver(&mut reply, "Plaintext", &secret, recipient.as_ref())?;
    Ok(Value::Object(reply))
}

fn data_key(
    call: &Call<'_>,
    input: &DataKeyInput,
    action: &str,
    recipient: Option<&Recipient>,
) -> Result<(Map<String, Value>, Vec<u8>), KmsError> {
    let mut secret = vec![0; length(input.number_of_bytes, input.key_spec.as_deref())?];
    rand::fill(&mut secret)?;
    let facts = facts_with(call, &input.encryption_context, &input.key_id)?.with_recipient(recipient);
    let state = call.state();
    let key = state.key(&call.resolve(&state, &input.key_id)?)?;
    call.authorize(key, action, facts)?;
    key.check_enabled()?;
    call.stop_dry_run(input.dry_run)?;
    let blob = ciphertext::seal(&key.arn.id, &key.material, &input.encryption_context, &secret)?;
    let mut reply = call.reply_of(key);
    reply.insert("CiphertextBlob".to_owned(), base64(&blob).into());
    Ok((reply, secret))
}

fn data_key_pair(
    call: &Call<'_>,
    input: &PairInput,
    action: &str,
    recipient: Option<&Recipient>,
) -> Result<(Map<String, Value>, Vec<u8>), KmsError> {
    let pair = Pair::generate(&input.key_pair_spec)?;
    let facts = facts_with(call, &input.encryption_context, &input.key_id)?
        .with("kms:DataKeyPairSpec", &input.key_pair_spec)
        .with_recipient(recipient);
    let state = call.state();
    let key = state.key(&call.resolve(&state, &input.key_id)?)?;
    call.authorize(key, action, facts)?;
    key.check_enabled()?;
    call.stop_dry_run(input.dry_run)?;
    let blob = ciphertext::seal(&key.arn.id, &key.material, &input.encryption_context, &pair.private)?;
    let mut reply = call.reply_of(key);
    reply.insert("PrivateKeyCiphertextBlob".to_owned(), base64(&blob).into());
    reply.insert("PublicKey".to_owned(), base64(&pair.public).into());
    reply.insert("KeyPairSpec".to_owned(), input.key_pair_spec.clone().into());
    Ok((reply, pair.private))
}

/// PKCS #8 and SubjectPublicKeyInfo.
struct Pair {
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Pair {
    fn generate(spec: &str) -> Result<Self, KmsError> {
        match spec {
            "RSA_2048" => Self::rsa(KeySize::Rsa2048),
            "RSA_3072" => Self::rsa(KeySize::Rsa3072),
            "RSA_4096" => Self::rsa(KeySize::Rsa4096),
            "ECC_NIST_P256" => Self::ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            "ECC_NIST_P384" => Self::ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
            "ECC_NIST_P521" => Self::ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING),
            _ => Err(KmsError::validation(format!("KeyPairSpec {spec} is not supported"))),
        }
    }

    fn rsa(size: KeySize) -> Result<Self, KmsError> {
        let key = rsa::KeyPair::generate(size)?;
        let private: Pkcs8V1Der<'_> = key.as_der()?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der()?;
        Ok(Self {
            private: private.as_ref().to_vec(),
            public: public.as_ref().to_vec(),
        })
    }

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Self, KmsError> {
        let key = EcdsaKeyPair::generate(algorithm)?;
        let public: PublicKeyX509Der<'_> = key.public_key().as_der()?;
        Ok(Self {
            private: key.to_pkcs8v1()?.as_ref().to_vec(),
            public: public.as_ref().to_vec(),
        })
    }
}

fn length(number_of_bytes: Option<u16>, key_spec: Option<&str>) -> Result<usize, KmsError> {
    match (number_of_bytes, key_spec) {
        (Some(number @ 1..=1_024), None) => Ok(usize::from(number)),
        (None, Some("AES_256")) => Ok(32),
        (None, Some("AES_128")) => Ok(16),
        (Some(_), None) => Err(KmsError::validation("NumberOfBytes is not within 1 to 1024")),
        _ => Err(KmsError::validation(
            "Please specify either number of bytes or key spec.",
        )),
    }
}

fn no_recipient() -> KmsError {
    KmsError::validation("The operation has no Recipient")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DataKeyInput {
    key_id: String,
    #[serde(default)]
    encryption_context: Distinct<String>,
    number_of_bytes: Option<u16>,
    key_spec: Option<String>,
    recipient: Option<RecipientInfo>,
    #[serde(rename = "GrantTokens")]
    _grant_tokens: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct PairInput {
    key_id: String,
    key_pair_spec: String,
    #[serde(default)]
    encryption_context: Distinct<String>,
    recipient: Option<RecipientInfo>,
    #[serde(rename = "GrantTokens")]
    _grant_tokens: Option<Vec<String>>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RandomInput {
    number_of_bytes: u16,
    recipient: Option<RecipientInfo>,
}
