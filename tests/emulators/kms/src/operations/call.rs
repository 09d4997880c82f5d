//! One request while it is worked on: who asks, what they may, what they get.

use std::cell::{Cell, RefCell};
use std::sync::MutexGuard;

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64, Encoding};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::arn::KeyArn;
use crate::authorization::{Allowed, Denial, Facts, Protection, Question, decide};
use crate::blob::{base64, hex};
use crate::cms::{self, Content};
use crate::error::{Kind, KmsError};
use crate::faults::{CmsForm, Faults, PlaintextFault};
use crate::kms::{Kms, Login};
use crate::recipient::{Recipient, RecipientInfo};
use crate::store::{Place, State, StoredKey};

/// A request whose signature held.
pub(crate) struct Call<'a> {
    kms: &'a Kms,
    pub(crate) login: &'a Login,
    faults: &'a Faults,
    body: &'a [u8],
    operation: RefCell<String>,
    attested: Cell<bool>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(kms: &'a Kms, login: &'a Login, faults: &'a Faults, body: &'a [u8]) -> Self {
        Self {
            kms,
            login,
            faults,
            body,
            operation: RefCell::default(),
            attested: Cell::new(false),
        }
    }

    /// Whether its attestation document was verified.
    pub(crate) fn was_attested(&self) -> bool {
        self.attested.get()
    }

    pub(super) fn set_operation(&self, name: &str) {
        name.clone_into(&mut self.operation.borrow_mut());
    }

    pub(super) fn operation(&self) -> String {
        self.operation.borrow().clone()
    }

    pub(super) fn state(&self) -> MutexGuard<'a, State> {
        self.kms.state()
    }

    pub(super) fn now(&self) -> i64 {
        self.kms.now()
    }

    /// The request's members. One that the emulator does not know is refused, though AWS would pass over it.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, KmsError> {
        let body = if self.body.is_empty() { b"{}" } else { self.body };
        serde_json::from_slice(body).map_err(|error| KmsError::new(Kind::Serialization, error.to_string()))
    }

    pub(super) fn place(&self) -> Place<'a> {
        Place {
            partition: self.kms.partition,
            region: &self.kms.region,
            account: &self.login.caller.account,
        }
    }

    pub(super) fn resolve(&self, state: &State, name: &str) -> Result<String, KmsError> {
        state.resolve(name, &self.place())
    }

    pub(super) fn facts(&self) -> Facts {
        Facts::of_caller(&self.login.caller, &self.kms.region, self.kms.tls)
    }

    /// Asks key policy, identity policy and grants. A key that is disabled is asked about, too.
    pub(super) fn authorize<'k>(
        &self,
        key: &'k StoredKey,
        action: &str,
        facts: Facts,
    ) -> Result<Allowed<'k>, KmsError> {
        let resource = key.arn.to_string();
        let facts = of_key(facts, key);
        let question = self.question(action, &resource, &facts);
        self.decide(question, key)
            .map_err(|denial| denied(denial.message(question)))
    }

    /// For operations that no key is concerned in: the identity policy alone decides.
    pub(super) fn authorize_without_key(&self, action: &str, facts: Facts) -> Result<(), KmsError> {
        let question = self.question(action, "*", &facts);
        match decide(question, self.login.policy.as_ref(), None) {
            Ok(_) => Ok(()),
            Err(denial) => Err(denied(denial.message(question))),
        }
    }

    fn question<'q>(&'q self, action: &'q str, resource: &'q str, facts: &'q Facts) -> Question<'q> {
        Question {
            caller: &self.login.caller,
            action,
            resource,
            facts,
        }
    }

    fn decide<'k>(&self, question: Question<'_>, key: &'k StoredKey) -> Result<Allowed<'k>, Denial> {
        let protection = Protection {
            account: &key.arn.account,
            policy: &key.policy,
            grants: &key.grants,
        };
        decide(question, self.login.policy.as_ref(), Some(protection))
    }

    /// Verifies the attestation document of a request that has one.
    pub(super) fn recipient(&self, info: Option<&RecipientInfo>) -> Result<Option<Recipient>, KmsError> {
        let recipient = info.map(|info| self.kms.judge().judge(info)).transpose()?;
        self.attested.set(recipient.is_some());
        Ok(recipient)
    }

    /// Puts a secret into a reply: in the clear under `member`, or to the recipient and nowhere else.
    pub(super) fn deliver(
        &self,
        reply: &mut Map<String, Value>,
        member: &str,
        secret: &[u8],
        recipient: Option<&Recipient>,
    ) -> Result<(), KmsError> {
        let Some(recipient) = recipient.filter(|_| self.faults.plaintext != Some(PlaintextFault::Instead)) else {
            reply.insert(member.to_owned(), base64(secret).into());
            return Ok(());
        };
        let even = self.kms.next_turn().is_multiple_of(2);
        let content = match self.faults.cms_form {
            CmsForm::Alternating if even => Content::Constructed(usize::MAX),
            CmsForm::Alternating | CmsForm::Primitive => Content::Primitive,
            CmsForm::Constructed => Content::Constructed(usize::MAX),
            CmsForm::Chunked => Content::Constructed(20),
        };
        let sealed = cms::seal(secret, &recipient.spki, content, self.faults.cms)?;
        reply.insert("CiphertextForRecipient".to_owned(), base64(&sealed).into());
        if self.faults.plaintext == Some(PlaintextFault::Beside) {
            reply.insert(member.to_owned(), base64(secret).into());
        } else if even {
            reply.insert(member.to_owned(), Value::Null);
        }
        Ok(())
    }

    /// The key of a reply, and the name of its material, which a client may pass over.
    pub(super) fn reply_of(&self, key: &StoredKey) -> Map<String, Value> {
        let mut reply = Map::new();
        reply.insert("KeyId".to_owned(), self.reply_key_id(&key.arn).into());
        let material = digest(&SHA256, format!("material of {}", key.arn).as_bytes());
        reply.insert("KeyMaterialId".to_owned(), hex(material.as_ref()).into());
        reply
    }

    pub(super) fn reply_key_id(&self, arn: &KeyArn) -> String {
        self.faults.reply_key_id.clone().unwrap_or_else(|| arn.to_string())
    }

    /// After authorisation: a dry run ends here.
    pub(super) fn stop_dry_run(&self, dry_run: bool) -> Result<(), KmsError> {
        if dry_run {
            return Err(KmsError::new(
                Kind::DryRunOperation,
                "The request would have succeeded, but the DryRun option is set.",
            ));
        }
        Ok(())
    }
}

/// One page of a list, as AWS pages: at most `limit` items from the one that the marker names.
pub(super) fn page(
    member: &str,
    items: Vec<Value>,
    limit: Option<usize>,
    marker: Option<&str>,
    most: usize,
) -> Result<Value, KmsError> {
    let limit = limit.unwrap_or(most);
    if limit == 0 || limit > 1_000 {
        return Err(KmsError::validation("Limit is out of range"));
    }
    let invalid = || KmsError::validation("Invalid marker");
    let from = match marker {
        None => 0,
        Some(marker) => {
            let bytes = Base64::decode_vec(marker).map_err(|_| invalid())?;
            let text = String::from_utf8(bytes).map_err(|_| invalid())?;
            text.parse().map_err(|_| invalid())?
        }
    };
    let until = items.len().min(limit.saturating_add(from));
    let truncated = until < items.len();
    let here: Vec<Value> = items.into_iter().take(until).skip(from).collect();
    let mut reply = json!({ member: here, "Truncated": truncated });
    if truncated {
        reply["NextMarker"] = base64(until.to_string().as_bytes()).into();
    }
    Ok(reply)
}

fn of_key(facts: Facts, key: &StoredKey) -> Facts {
    facts
        .with("kms:KeyOrigin", &key.origin)
        .with("kms:KeySpec", "SYMMETRIC_DEFAULT")
        .with("kms:CustomerMasterKeySpec", "SYMMETRIC_DEFAULT")
        .with("kms:KeyUsage", "ENCRYPT_DECRYPT")
        .with(
            "kms:MultiRegion",
            if key.arn.id.starts_with("mrk-") {
                "true"
            } else {
                "false"
            },
        )
}

fn denied(message: String) -> KmsError {
    KmsError::new(Kind::AccessDenied, message)
}
