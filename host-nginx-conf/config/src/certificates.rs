//! `[[certificates]]`: what is served, and where its key comes from.

mod acme;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

pub use acme::{Acme, Challenge};
use enclave_wire::control::S3Object;
use enclave_wire::{DnsName, KeyType, Name, Usage};
use serde::Deserialize;
use toml::Spanned;

use crate::aws::{Aws, KmsKey};
use crate::challenges::Dns01;
use crate::form::{Table, Word};
use crate::listeners::{self, Listener};
use crate::reading::{Reading, Refused};
use crate::servers::{KeyAccess, Server};

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// `name`: the key that it has in [`Config::certificates`](crate::Config::certificates).
    pub name: Name,
    /// `source`: where the key comes from.
    pub source: Source,
    /// `usage`: what the key may sign.
    pub usage: Usage,
    /// `dns_names`: 1 to 100 names, none twice, in the file's order. Empty only with a bundle, whose certificate then says them.
    pub dns_names: Vec<DnsName>,
    /// `servers`: who serves it, at least one. Each is in [`Config::servers`](crate::Config::servers).
    pub servers: BTreeSet<Name>,
    /// `listeners`: where it is looked at from outside; all of its servers' where the file does not say. None: nowhere.
    pub listeners: Vec<Listener>,
    /// `sealed`: the group under whose data key the key's state is sealed; none: it ends with the enclave.
    pub sealed: Option<Name>,
}

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `csr`: born in the enclave, which signs a request for a certificate.
    Csr {
        /// `key_type`: what is made.
        key_type: KeyType,
    },
    /// `bundle`: made elsewhere, encrypted under a KMS key.
    Bundle {
        /// `bundle`, or `s3` with `region`: where it is.
        from: BundlePlace,
        /// `kms_key`: the key that it is encrypted under.
        kms_key: KmsKey,
    },
    /// `acme`: born in the enclave, which has a certificate authority certify it and renews it.
    Acme(Acme),
}

impl Source {
    /// The type of a key that is born in the enclave.
    #[must_use]
    pub fn born(&self) -> Option<KeyType> {
        match self {
            Self::Csr { key_type } | Self::Acme(Acme { key_type, .. }) => Some(*key_type),
            Self::Bundle { .. } => None,
        }
    }

    /// How it is ordered, where the enclave orders it.
    #[must_use]
    pub fn acme(&self) -> Option<&Acme> {
        match self {
            Self::Acme(acme) => Some(acme),
            Self::Csr { .. } | Self::Bundle { .. } => None,
        }
    }

    /// As the file has it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Csr { .. } => "csr",
            Self::Acme(_) => "acme",
            Self::Bundle { .. } => "bundle",
        }
    }
}

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundlePlace {
    /// `bundle`: in a file.
    File(PathBuf),
    /// `s3` and `region`: in S3, from where the enclave reads it.
    S3(S3Object),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    name: Option<Word>,
    source: Option<Word>,
    key_type: Option<Word>,
    usage: Option<Word>,
    dns_names: Option<Spanned<Vec<Word>>>,
    servers: Option<Spanned<Vec<Word>>>,
    listeners: Option<Spanned<Vec<Word>>>,
    sealed: Option<Word>,
    bundle: Option<Word>,
    s3: Option<Word>,
    region: Option<Word>,
    kms_key: Option<Word>,
    account: Option<Word>,
    challenge: Option<Word>,
    profile: Option<Word>,
    preferred_chain: Option<Word>,
}

pub(crate) type Forms = Vec<Spanned<Table<Form>>>;

/// What certificates refer to.
pub(crate) struct Around<'a> {
    /// The servers that are as they should be.
    pub(crate) servers: &'a BTreeMap<Name, Server>,
    /// All that the file names, right or wrong: what is wrong with one is said once.
    pub(crate) named: &'a BTreeSet<String>,
    /// `[aws]`; none where it is wrong.
    pub(crate) aws: Option<&'a Option<Aws>>,
    /// All accounts that the file names, right or wrong, and where.
    pub(crate) accounts: &'a BTreeMap<String, Range<usize>>,
    /// `[dns01]`; none where it is wrong.
    pub(crate) dns01: Option<&'a Option<Dns01>>,
}

pub(crate) fn read(
    forms: Forms,
    around: &Around<'_>,
    reading: &mut Reading,
) -> Result<BTreeMap<Name, Certificate>, Refused> {
    let mut certificates = BTreeMap::new();
    let mut names: BTreeMap<String, Range<usize>> = BTreeMap::new();
    let mut outcome = Ok(());
    for form in forms {
        let table = form.span();
        let Table(form) = form.into_inner();
        if let Some(name) = &form.name {
            let first = names.insert(name.get_ref().clone(), name.span());
            if let Some(first) = first.filter(|_| crate::form::name(name.get_ref()).is_ok()) {
                let called = name.get_ref();
                outcome = Err(reading.wrong_as(name.span(), first, |line| {
                    format!("there is a certificate {called} in line {line} already: give this one another name, or remove it")
                }));
            }
        }
        if let Some(name) = &form.name
            && let Some(account) = around.accounts.get(name.get_ref())
        {
            let called = name.get_ref();
            outcome = Err(reading.wrong_as(name.span(), account.clone(), |line| {
                format!("line {line} has an account {called}, and both are keys of the enclave: give one of them another name")
            }));
        }
        match one(form, table, around, reading) {
            Ok(certificate) => {
                certificates.insert(certificate.name.clone(), certificate);
            }
            Err(refused) => outcome = Err(refused),
        }
    }
    outcome.map(|()| certificates)
}

fn one(form: Form, table: Range<usize>, around: &Around<'_>, reading: &mut Reading) -> Result<Certificate, Refused> {
    let place = Place {
        at: form.name.as_ref().map_or(table, Spanned::span),
        called: form.name.as_ref().map_or("without a name".to_owned(), |name| {
            name.get_ref().escape_debug().to_string()
        }),
    };
    let name = match form.name {
        Some(name) => reading.word(name, "name", crate::form::name),
        None => Err(reading.wrong(
            place.at.clone(),
            "a certificate has no name: add name = \"…\", as www-example",
        )),
    };
    let sealed_at = form.sealed.as_ref().map(Spanned::span);
    let sealed = form
        .sealed
        .map(|group| reading.word(group, "sealed", crate::form::name))
        .transpose();
    let usage_at = form.usage.as_ref().map(Spanned::span);
    let usage = reading.word_or(form.usage, "usage", "tls", |text| {
        text.parse::<Usage>()
            .map_err(|_| "write tls, tls-client or digest".to_owned())
    });
    let servers = servers_of(form.servers, around, &place, reading);
    let fitting = match (&usage, &servers) {
        (Ok(usage), Ok(servers)) => fits(*usage, servers, around, &usage_at.unwrap_or(place.at.clone()), reading),
        (Err(_), _) | (_, Err(_)) => Ok(()),
    };
    let reached = match (&usage, &servers) {
        // What is shown to other servers is seen by none who connects.
        (Ok(Usage::TlsClient), _) | (_, Err(_)) => BTreeMap::new(),
        (_, Ok(servers)) => listeners_of(servers, around),
    };
    let listeners = listeners::of_certificate(form.listeners, &reached, reading);
    let from = source::FromForm {
        key_type: form.key_type,
        bundle: form.bundle,
        s3: form.s3,
        region: form.region,
        kms_key: form.kms_key,
        account: form.account,
        challenge: form.challenge,
        profile: form.profile,
        preferred_chain: form.preferred_chain,
    };
    let source_at = form.source.as_ref().map(Spanned::span);
    let source = source::read(form.source, from, &place, around, reading);
    let required = matches!(&source, Ok(Source::Csr { .. } | Source::Acme(_)));
    let names_at = form.dns_names.as_ref().map(Spanned::span);
    let dns_names = dns_names(form.dns_names, required, &place, reading);
    let provable = match (&source, &dns_names, names_at) {
        (Ok(Source::Acme(acme)), Ok(names), Some(at)) => acme.can_prove(names, at, reading),
        (Ok(_) | Err(_), Ok(_) | Err(_), _) => Ok(()),
    };
    let needs_aws = sealed_at.or(source_at.filter(|_| matches!(&source, Ok(Source::Bundle { .. }))));
    let lent = match (needs_aws, around.aws) {
        (Some(at), Some(None)) => Err(reading.wrong_once("aws", at, crate::aws::ABSENT)),
        (Some(_), Some(Some(_)) | None) | (None, _) => Ok(()),
    };
    fitting.and(lent).and(provable)?;
    Ok(Certificate {
        name: name?,
        source: source?,
        usage: usage?,
        dns_names: dns_names?,
        servers: servers?,
        listeners: listeners?,
        sealed: sealed?,
    })
}

fn listeners_of(servers: &BTreeSet<Name>, around: &Around<'_>) -> BTreeMap<SocketAddr, Listener> {
    let servers = servers.iter().filter_map(|name| around.servers.get(name));
    let all = servers.flat_map(|server| &server.listeners);
    all.map(|listener| (listener.address, *listener)).collect()
}

/// Where a certificate is written, and what it is called there.
struct Place {
    at: Range<usize>,
    called: String,
}

fn dns_names(
    given: Option<Spanned<Vec<Word>>>,
    required: bool,
    place: &Place,
    reading: &mut Reading,
) -> Result<Vec<DnsName>, Refused> {
    let Some(given) = given else {
        let Place { at, called } = place;
        let advice = || format!("certificate {called} has no dns_names: add dns_names = [\"www.example.com\"]");
        return if required {
            Err(reading.wrong(at.clone(), advice()))
        } else {
            Ok(Vec::new())
        };
    };
    let at = given.span();
    let words = given.into_inner();
    if !(1..=MAX_DNS_NAMES).contains(&words.len()) {
        return Err(reading.wrong(at, DNS_NAMES));
    }
    let mut names = Vec::with_capacity(words.len());
    let mut outcome = Ok(());
    for word in words {
        let at = word.span();
        let read = reading.word(word, "dns_names", |text| {
            DnsName::try_from(text).map_err(|_| DNS_NAME.to_owned())
        });
        match read {
            Ok(name) if names.contains(&name) => {
                outcome = Err(reading.wrong(at, format!("dns_names has {name} twice: remove one")));
            }
            Ok(name) => names.push(name),
            Err(refused) => outcome = Err(refused),
        }
    }
    outcome.map(|()| names)
}

fn servers_of(
    given: Option<Spanned<Vec<Word>>>,
    around: &Around<'_>,
    place: &Place,
    reading: &mut Reading,
) -> Result<BTreeSet<Name>, Refused> {
    let Some(given) = given else {
        let Place { at, called } = place;
        return Err(reading.wrong(
            at.clone(),
            format!("certificate {called} has no servers: add servers = [\"…\"], names of [servers]"),
        ));
    };
    let at = given.span();
    let words = given.into_inner();
    if words.is_empty() {
        return Err(reading.wrong(
            at,
            "servers is empty, so nobody could use the key: name at least one of [servers]",
        ));
    }
    let mut names = BTreeSet::new();
    let mut outcome = Ok(());
    for word in words {
        let at = word.span();
        match reading.word(word, "servers", crate::form::name) {
            Ok(name) if !around.named.contains(name.as_str()) => {
                outcome = Err(reading.wrong(
                    at,
                    format!("there is no server {name}: add [servers.{name}], or name one that exists"),
                ));
            }
            Ok(name) if names.contains(&name) => {
                outcome = Err(reading.wrong(at, format!("servers has {name} twice: remove one")));
            }
            Ok(name) => {
                names.insert(name);
            }
            Err(refused) => outcome = Err(refused),
        }
    }
    let clients: BTreeSet<_> = names
        .iter()
        .filter_map(|name| around.servers.get(name))
        .map(|server| &server.client)
        .collect();
    if clients.len() > MAX_CLIENTS_OF_A_KEY {
        outcome = Err(reading.wrong(
            at,
            "the servers have more than 64 clients, and a key has at most 64: make it two certificates",
        ));
    }
    outcome.map(|()| names)
}

/// An engine sends digests only; whoever can do better must not be given a key that signs any digest.
fn fits(
    usage: Usage,
    names: &BTreeSet<Name>,
    around: &Around<'_>,
    at: &Range<usize>,
    reading: &mut Reading,
) -> Result<(), Refused> {
    let mut outcome = Ok(());
    for (name, server) in names.iter().filter_map(|name| around.servers.get_key_value(name)) {
        let advice = match (server.key, usage) {
            (KeyAccess::Engine, Usage::Digest)
            | (KeyAccess::Provider | KeyAccess::Store, Usage::Tls | Usage::TlsClient) => continue,
            (KeyAccess::Engine, Usage::Tls | Usage::TlsClient) => format!(
                "server {name} takes its keys by key = \"engine\", which needs usage = \"digest\", and this one's is {usage}: \
                 write usage = \"digest\", or better key = \"provider\" for the server"
            ),
            (KeyAccess::Provider | KeyAccess::Store, Usage::Digest) => format!(
                "usage = \"digest\" is for servers with key = \"engine\", and server {name} has {:?}, which needs no more than tls: \
                 write usage = \"tls\", and make another certificate for other servers",
                server.key.as_str()
            ),
            (_, Usage::AcmeAccount) => {
                format!("the key of an ACME account is for no server, and {name} is one: leave usage out")
            }
        };
        outcome = Err(reading.wrong(at.clone(), advice));
    }
    outcome
}

const DNS_NAME: &str = "write a DNS name in lower case, as www.example.com or *.example.com";
const DNS_NAMES: &str = "dns_names has 1 to 100 names: add one, or make it two certificates";

/// As many as a certificate of the protocol has.
const MAX_DNS_NAMES: usize = 100;
/// As many as a key of the protocol has.
const MAX_CLIENTS_OF_A_KEY: usize = 64;
