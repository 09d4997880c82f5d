//! `[acme.NAME]`: accounts at certificate authorities that speak ACME.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use enclave_wire::control::Url;
use enclave_wire::log::Text;
use enclave_wire::{DnsName, Name};
use serde::Deserialize;
use toml::Spanned;

use crate::aws::Aws;
use crate::form::{Table, Word};
use crate::paths;
use crate::reading::{Reading, Refused};

/// An account. Its key is one of the enclave's and has the account's name; that the terms of service are agreed to is said by its being here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// `directory`: whose account it is.
    pub directory: Directory,
    /// `contacts`: `mailto:` addresses, at most 8.
    pub contacts: Vec<Text<256>>,
    /// `sealed`: the group under whose data key the account's key is sealed; none: it ends with the enclave, and another account is made.
    pub sealed: Option<Name>,
    /// `eab`: the file of an external account binding, as `enclave-tlsctl acm eab credentials` writes it.
    pub eab: Option<PathBuf>,
}

/// The URL of an ACME server's directory: `https://HOST[:PORT]/PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    url: Url,
    host: DnsName,
    port: u16,
}

impl Directory {
    /// The URL, as it is written.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The server's name.
    #[must_use]
    pub fn host(&self) -> &DnsName {
        &self.host
    }

    /// The path, from its `/` on.
    #[must_use]
    pub fn path(&self) -> &str {
        let rest = self.url.as_str().trim_start_matches("https://");
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
    }

    /// Its port; 443 where none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl std::fmt::Display for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.url.as_str())
    }
}

impl std::str::FromStr for Directory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = || DIRECTORY.to_owned();
        let rest = text.strip_prefix("https://").ok_or_else(advice)?;
        let (authority, path) = rest.split_once('/').ok_or_else(advice)?;
        let is_of_path = |b: u8| {
            b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        };
        let (name, port) = match authority.rsplit_once(':') {
            None => (authority, Some(HTTPS)),
            // `:443` is the default, and another spelling of the same would be another account to the enclave.
            Some((name, number)) => {
                let port = number.parse().ok().filter(|port: &u16| !matches!(*port, 0 | HTTPS));
                (name, port.filter(|port| port.to_string() == number))
            }
        };
        let host = crate::egress::host(name).ok_or_else(advice)?;
        let port = port.ok_or_else(advice)?;
        if path.is_empty() || text.len() > MAX_URL || !path.bytes().all(is_of_path) {
            return Err(advice());
        }
        Ok(Self {
            url: Text::lossy(text),
            host,
            port,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    directory: Option<Word>,
    #[serde(default)]
    contacts: Vec<Word>,
    terms_agreed: Option<Spanned<bool>>,
    sealed: Option<Word>,
    eab: Option<Word>,
}

pub(crate) type Forms = BTreeMap<Word, Table<Form>>;

/// Those that are as they should be, and whether all are. `aws` is none where `[aws]` is wrong.
pub(crate) fn read(
    forms: Forms,
    aws: Option<&Option<Aws>>,
    reading: &mut Reading,
) -> (BTreeMap<Name, Account>, Result<(), Refused>) {
    let mut accounts = BTreeMap::new();
    let mut outcome = Ok(());
    if let Some((one_more, _)) = forms.iter().nth(MAX_ACCOUNTS) {
        outcome = Err(reading.wrong(one_more.span(), TOO_MANY));
    }
    for (name, Table(form)) in forms {
        match one(name, form, aws, reading) {
            Ok((name, account)) => {
                accounts.insert(name, account);
            }
            Err(refused) => outcome = Err(refused),
        }
    }
    (accounts, outcome)
}

fn one(name: Word, form: Form, aws: Option<&Option<Aws>>, reading: &mut Reading) -> Result<(Name, Account), Refused> {
    let at = name.span();
    let called = name.get_ref().escape_debug().to_string();
    let name = reading.word(name, "an account's name", crate::form::name);
    let directory = directory(form.directory, &at, &called, reading);
    let contacts = contacts(form.contacts, &at, reading);
    let agreed = match form.terms_agreed {
        Some(agreed) if *agreed.get_ref() => Ok(()),
        Some(agreed) => Err(reading.wrong(agreed.span(), TERMS)),
        None => Err(reading.wrong(
            at.clone(),
            format!("[acme.{called}] has no terms_agreed: read the CA's terms of service and add terms_agreed = true"),
        )),
    };
    let lent = match (form.sealed.as_ref().or(form.eab.as_ref()), aws) {
        (Some(word), Some(None)) => Err(reading.wrong_once("aws", word.span(), crate::aws::ABSENT)),
        (Some(_), Some(Some(_)) | None) | (None, _) => Ok(()),
    };
    let sealed = form
        .sealed
        .map(|group| reading.word(group, "sealed", crate::form::name));
    let eab = form.eab.map(|file| paths::read(file, "eab", reading));
    agreed.and(lent)?;
    let account = Account {
        directory: directory?,
        contacts: contacts?,
        sealed: sealed.transpose()?,
        eab: eab.transpose()?,
    };
    Ok((name?, account))
}

fn directory(
    given: Option<Word>,
    table: &Range<usize>,
    called: &str,
    reading: &mut Reading,
) -> Result<Directory, Refused> {
    let Some(given) = given else {
        return Err(reading.wrong(
            table.clone(),
            format!(
                "[acme.{called}] has no directory: add directory = \"https://…/directory\", the URL that the CA gives"
            ),
        ));
    };
    let at = given.span();
    let directory: Directory = reading.word(given, "directory", str::parse)?;
    reading.must_be_allowed_at(at, "directory", directory.host.as_str(), directory.port);
    Ok(directory)
}

fn contacts(given: Vec<Word>, table: &Range<usize>, reading: &mut Reading) -> Result<Vec<Text<256>>, Refused> {
    let mut known = BTreeSet::new();
    let mut contacts = Vec::with_capacity(given.len());
    let mut outcome = Ok(());
    if given.len() > MAX_CONTACTS {
        outcome = Err(reading.wrong(table.clone(), "an account has at most 8 contacts: remove some"));
    }
    for word in given {
        let at = word.span();
        match reading.word(word, "contacts", contact) {
            Ok(contact) if known.insert(contact.as_str().to_owned()) => contacts.push(contact),
            Ok(contact) => {
                outcome = Err(reading.wrong(at, format!("contacts has {} twice: remove one", contact.as_str())));
            }
            Err(refused) => outcome = Err(refused),
        }
    }
    outcome.map(|()| contacts)
}

/// `mailto:` and one address, without the header fields that RFC 8555, section 7.3, forbids.
fn contact(text: &str) -> Result<Text<256>, String> {
    let address = text.strip_prefix("mailto:").and_then(|rest| rest.split_once('@'));
    let is_plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b',' | b'@' | b'"' | b'\\'))
    };
    match address {
        Some((local, domain)) if is_plain(local) && is_plain(domain) && text.len() <= MAX_CONTACT => {
            Ok(Text::lossy(text))
        }
        Some(_) | None => Err("write mailto: and one address, as mailto:tls@example.com".to_owned()),
    }
}

const DIRECTORY: &str =
    "write https://HOST/PATH, or https://HOST:PORT/PATH where the port is not 443: a name in lower case and no address";
const TERMS: &str =
    "without agreement to the CA's terms of service there is no account: read them and write terms_agreed = true";
const TOO_MANY: &str = "there are at most 64 accounts: remove some";

const HTTPS: u16 = 443;
/// What the protocol carries of a URL.
const MAX_URL: usize = 1_024;
/// What the protocol carries of a contact.
const MAX_CONTACT: usize = 256;
/// What the protocol carries of contacts.
const MAX_CONTACTS: usize = 8;
/// Nobody has one at so many CAs, and each is a key.
const MAX_ACCOUNTS: usize = 64;
