//! A reply of KMS that says it is a success: which ones are taken.

use base64ct::{Base64, Encoding as _};
use enclave_policy::aws::KeyArn;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::kms::MAX_CIPHERTEXT;
use crate::error::ReplyError;

/// A reply of the key that was asked for, still encrypted to its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    for_recipient: Vec<u8>,
    wrapped: Option<String>,
}

impl Reply {
    pub(super) fn read(body: &[u8], key: &KeyArn) -> Result<Self, ReplyError> {
        let form: Form = serde_json::from_slice(body).map_err(|_| ReplyError::Form)?;
        if form.plaintext.is_some() {
            return Err(ReplyError::Plaintext);
        }
        if form.key_id != key.to_string() {
            return Err(ReplyError::OtherKey);
        }
        let sealed = form.ciphertext_for_recipient.ok_or(ReplyError::NoCiphertext)?;
        Ok(Self {
            for_recipient: Base64::decode_vec(&sealed).map_err(|_| ReplyError::Form)?,
            wrapped: form.ciphertext_blob,
        })
    }

    /// The CMS message.
    pub(super) fn for_recipient(&self) -> &[u8] {
        &self.for_recipient
    }

    /// The data key, as KMS unwraps it again.
    pub(super) fn wrapped(&self) -> Result<Vec<u8>, ReplyError> {
        let wrapped = self.wrapped.as_deref().ok_or(ReplyError::DataKey)?;
        let wrapped = Base64::decode_vec(wrapped).map_err(|_| ReplyError::DataKey)?;
        if (1..=MAX_CIPHERTEXT).contains(&wrapped.len()) {
            Ok(wrapped)
        } else {
            Err(ReplyError::DataKey)
        }
    }
}

/// A data key: exactly 32 bytes.
pub(super) fn data_key(plaintext: &[u8]) -> Result<Zeroizing<[u8; 32]>, ReplyError> {
    let mut key = Zeroizing::new([0; 32]);
    if plaintext.len() != key.len() {
        return Err(ReplyError::DataKey);
    }
    key.copy_from_slice(plaintext);
    Ok(key)
}

/// Fields that are not named here are let be: AWS adds some. None stands twice.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Form {
    key_id: String,
    /// Null and absent are the same; anything else would be a secret that was not encrypted to this enclave.
    plaintext: Option<IgnoredAny>,
    ciphertext_for_recipient: Option<String>,
    ciphertext_blob: Option<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    fn read(body: &[u8]) -> Result<Reply, ReplyError> {
        Reply::read(body, &KEY.parse().unwrap())
    }

    /// A good reply, but for `field`.
    fn with(field: &str, value: Value) -> Result<Reply, ReplyError> {
        let mut reply = json!({
            "KeyId": KEY,
            "Plaintext": null,
            "CiphertextForRecipient": "YWJj",
            "CiphertextBlob": "ZGVm",
            "KeyMaterialId": "something new",
        });
        reply[field] = value;
        read(&serde_json::to_vec(&reply).unwrap())
    }

    #[test]
    fn a_good_reply_is_taken() {
        let reply = with("Plaintext", Value::Null).unwrap();
        assert_eq!(reply.for_recipient(), b"abc");
        assert_eq!(reply.wrapped().as_deref(), Ok(b"def".as_slice()));
        let short = format!(r#"{{"KeyId":"{KEY}","CiphertextForRecipient":"YWJj"}}"#);
        assert_eq!(read(short.as_bytes()).unwrap().for_recipient(), b"abc");
    }

    #[test]
    fn threat_32_any_plaintext_is_refused() {
        for plaintext in [json!("c2VjcmV0"), json!(""), json!(0), json!([]), json!(false)] {
            assert_eq!(with("Plaintext", plaintext), Err(ReplyError::Plaintext));
        }
        // As KMS answers when it does not know a recipient.
        let plain = format!(r#"{{"KeyId":"{KEY}","Plaintext":"c2VjcmV0"}}"#);
        assert_eq!(read(plain.as_bytes()), Err(ReplyError::Plaintext));
    }

    #[test]
    fn threat_33_any_other_key_id_is_refused() {
        for other in [
            &KEY.replace("1234abcd", "1234abce"),
            &KEY.replace("111122223333", "111122223334"),
            &KEY.replace("us-east-1", "us-east-2"),
            &KEY.to_uppercase(),
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "alias/lab",
            "",
        ] {
            assert_eq!(with("KeyId", json!(other)), Err(ReplyError::OtherKey), "{other}");
        }
        assert_eq!(with("KeyId", Value::Null), Err(ReplyError::Form));
    }

    #[test]
    fn a_ciphertext_for_the_recipient_is_there() {
        let field = "CiphertextForRecipient";
        assert_eq!(with(field, Value::Null), Err(ReplyError::NoCiphertext));
        for sealed in [
            json!("!"),
            json!("YQ"),
            json!(" YQ=="),
            json!("YQ==\n"),
            json!("YR=="),
            json!(["YQ=="]),
        ] {
            assert_eq!(with(field, sealed.clone()), Err(ReplyError::Form), "{sealed}");
        }
    }

    #[test]
    fn what_is_no_data_key_is_refused() {
        for blob in [
            Value::Null,
            json!(""),
            json!("not base64"),
            json!(Base64::encode_string(&[0; 6_145])),
        ] {
            let reply = with("CiphertextBlob", blob).unwrap();
            assert_eq!(reply.wrapped(), Err(ReplyError::DataKey));
        }
        assert_eq!(data_key(&[7; 32]).map(|key| *key), Ok([7; 32]));
        for length in [0, 31, 33] {
            assert_eq!(data_key(&vec![7; length]).map(|_| ()), Err(ReplyError::DataKey));
        }
    }

    #[test]
    fn what_is_not_json_of_the_operation_is_refused() {
        let two = format!(r#"{{"KeyId":"{KEY}","KeyId":"{KEY}","CiphertextForRecipient":"YWJj"}}"#);
        let deep = "[".repeat(100_000);
        let deeper = format!(r#"{{"KeyId":"{KEY}","New":{deep}"#);
        for body in ["", "{}", "[]", "null", "{", "\u{feff}{}", &two, &deep, &deeper] {
            assert_eq!(read(body.as_bytes()), Err(ReplyError::Form));
        }
    }

    proptest! {
        #[test]
        fn threat_49_no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
