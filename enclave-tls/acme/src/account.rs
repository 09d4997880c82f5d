//! Accounts (RFC 8555, section 7.3).

use enclave_https::{Reply, Url};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{AcmeError, Cause, LocalRefusal, ProtocolError, Step};
use crate::jws::{self, By};
use crate::problem::NO_ACCOUNT;
use crate::server::{ANY, Ask, MAX_JSON, Server, json, protocol};
use crate::signer::Signer;

/// An account, with its key.
pub struct Account<'a> {
    pub(crate) server: &'a Server,
    pub(crate) signer: &'a dyn Signer,
    url: Url,
    contacts: Vec<String>,
}

/// What a new account begins with.
#[derive(Default)]
pub struct Registration<'a> {
    /// `mailto:` addresses.
    pub contacts: Vec<String>,
    /// Whether somebody agrees to the server's terms of service.
    pub terms_agreed: bool,
    /// What binds it to an account elsewhere.
    pub binding: Option<&'a Binding>,
}

/// An external account binding: what the CA gave for it. Wiped when dropped.
pub struct Binding {
    /// What the CA knows the MAC key by.
    pub kid: String,
    /// The MAC key.
    pub mac_key: Zeroizing<Vec<u8>>,
}

impl Server {
    /// Registers an account, or finds the one that the key has already: its contacts stay as they are then.
    pub async fn register<'a>(
        &'a self,
        signer: &'a dyn Signer,
        registration: &Registration<'_>,
    ) -> Result<Account<'a>, AcmeError> {
        if let Some(refusal) = self.refuses(registration) {
            let (step, cause) = (Step::Account, Cause::Local(refusal));
            return Err(AcmeError { step, cause });
        }
        let new_account = &self.directory.new_account;
        let payload = NewAccount {
            terms_of_service_agreed: registration.terms_agreed,
            contact: &registration.contacts,
            external_account_binding: registration
                .binding
                .map(|binding| jws::bound(binding, new_account, signer)),
        };
        let reply = self.new_account(signer, json(&payload)).await?;
        self.account(signer, &reply)
    }

    /// Finds the account that the key has, if it has one.
    pub async fn find<'a>(&'a self, signer: &'a dyn Signer) -> Result<Option<Account<'a>>, AcmeError> {
        match self.new_account(signer, ONLY_EXISTING.to_owned()).await {
            Ok(reply) => self.account(signer, &reply).map(Some),
            Err(AcmeError {
                cause: Cause::Refused(problem),
                ..
            }) if problem.is(NO_ACCOUNT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn refuses(&self, registration: &Registration<'_>) -> Option<LocalRefusal> {
        let meta = self.meta();
        if meta.needs_binding && registration.binding.is_none() {
            return Some(LocalRefusal::Binding);
        }
        let terms = meta.terms.clone().filter(|_| !registration.terms_agreed);
        terms.map(LocalRefusal::Terms)
    }

    async fn new_account(&self, signer: &dyn Signer, payload: String) -> Result<Reply, AcmeError> {
        let ask = Ask {
            step: Step::Account,
            url: &self.directory.new_account,
            by: By::Key,
            payload,
            accept: ANY,
            max_reply: MAX_JSON,
        };
        self.post(signer, &ask).await
    }

    fn account<'a>(&'a self, signer: &'a dyn Signer, reply: &Reply) -> Result<Account<'a>, AcmeError> {
        let form: Form =
            serde_json::from_slice(&reply.body).map_err(|_| protocol(Step::Account, ProtocolError::Form))?;
        if form.status != VALID {
            let (step, cause) = (Step::Account, Cause::Local(LocalRefusal::AccountStatus));
            return Err(AcmeError { step, cause });
        }
        Ok(Account {
            server: self,
            signer,
            url: self.location(Step::Account, reply)?,
            contacts: form.contact.unwrap_or_default(),
        })
    }
}

impl Account<'_> {
    /// The account's URL: what a CAA record's `accounturi` pins.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The contacts that the server says it has. Some say none, whatever they were told.
    #[must_use]
    pub fn contacts(&self) -> &[String] {
        &self.contacts
    }

    /// Has the server know these contacts and no others (RFC 8555, section 7.3.2).
    pub async fn change_contacts(&self, contacts: &[String]) -> Result<(), AcmeError> {
        let payload = json(&Contacts { contact: contacts });
        self.ask(Step::Account, &self.url, payload).await.map(drop)
    }

    /// Asks in the account's name.
    pub(crate) async fn ask(&self, step: Step, url: &Url, payload: String) -> Result<Reply, AcmeError> {
        self.ask_for(step, url, payload, ANY, MAX_JSON).await
    }

    /// Reads a resource (POST-as-GET).
    pub(crate) async fn read(&self, step: Step, url: &Url) -> Result<Reply, AcmeError> {
        self.ask(step, url, String::new()).await
    }

    /// Asks for another type than JSON.
    pub(crate) async fn ask_for(
        &self,
        step: Step,
        url: &Url,
        payload: String,
        accept: &'static str,
        max_reply: usize,
    ) -> Result<Reply, AcmeError> {
        let ask = Ask {
            step,
            url,
            by: By::Account(&self.url),
            payload,
            accept,
            max_reply,
        };
        self.server.post(self.signer, &ask).await
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount<'a> {
    terms_of_service_agreed: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    contact: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    external_account_binding: Option<jws::Flattened>,
}

#[derive(Serialize)]
struct Contacts<'a> {
    contact: &'a [String],
}

#[derive(Deserialize)]
struct Form {
    status: String,
    contact: Option<Vec<String>>,
}

const VALID: &str = "valid";
const ONLY_EXISTING: &str = r#"{"onlyReturnExisting":true}"#;
