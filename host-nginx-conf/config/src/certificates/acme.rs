//! `source = "acme"`: the enclave has a certificate authority certify a key that is born in it, and renews it.

use std::ops::Range;

use enclave_wire::log::Text;
use enclave_wire::{DnsName, KeyType, Name};

use super::source::{FromForm, born_type, exact, not_for};
use super::{Around, Place, Source};
use crate::challenges::Dns01;
use crate::reading::{Reading, Refused};

/// How a certificate is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acme {
    /// `key_type`: what is made, anew for each renewal.
    pub key_type: KeyType,
    /// `account`: who orders it. It is in [`Config::accounts`](crate::Config::accounts).
    pub account: Name,
    /// `challenge`: how its names are proven.
    pub challenge: Challenge,
    /// `profile`: the CA's, if not its default.
    pub profile: Option<Text<64>>,
    /// `preferred_chain`: the common name of the issuer at the end of the chain that is wanted.
    pub preferred_chain: Option<Text<128>>,
}

/// How names are proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// `http-01`: by a resource of the name's web server, at `[http01]`.
    Http01,
    /// `dns-01`: by a TXT record, by `[dns01]`.
    Dns01,
    /// `none`: the CA knows the names to be the account's, and asks for no proof, as ACM does.
    None,
}

impl Acme {
    pub(super) fn can_prove(&self, names: &[DnsName], at: Range<usize>, reading: &mut Reading) -> Result<(), Refused> {
        let wildcard = names.iter().find(|name| name.as_str().starts_with("*."));
        match (self.challenge, wildcard) {
            (Challenge::Http01, Some(name)) => Err(reading.wrong(
                at,
                format!("{name} cannot be proven by http-01: write challenge = \"dns-01\", or \"none\" where the CA asks for no proof"),
            )),
            (Challenge::Http01, None) | (Challenge::Dns01 | Challenge::None, _) => Ok(()),
        }
    }
}

pub(super) fn read(
    form: FromForm,
    place: &Place,
    around: &Around<'_>,
    reading: &mut Reading,
) -> Result<Source, Refused> {
    let of_bundles = [
        ("bundle", form.bundle),
        ("s3", form.s3),
        ("region", form.region),
        ("kms_key", form.kms_key),
    ];
    let outcome = not_for("acme", "bundle", of_bundles, reading);
    let key_type = born_type(form.key_type, place, reading);
    let account = match form.account {
        Some(account) => reading.word(account, "account", |text| match crate::form::name(text) {
            Ok(name) if around.accounts.contains_key(text) => Ok(name),
            Ok(name) => Err(format!(
                "there is no such account: add [acme.{name}], or name one that exists"
            )),
            Err(advice) => Err(advice),
        }),
        None => {
            let Place { at, called } = place;
            Err(reading.wrong(
                at.clone(),
                format!("certificate {called} has no account: add account = \"…\", a name of [acme]"),
            ))
        }
    };
    let has_dns01 = around.dns01.is_none_or(|dns01: &Option<Dns01>| dns01.is_some());
    let challenge = reading.word_or(form.challenge, "challenge", "http-01", |text| match text {
        "http-01" => Ok(Challenge::Http01),
        "dns-01" if has_dns01 => Ok(Challenge::Dns01),
        "dns-01" => Err("there is no [dns01]: add it, with hook = [\"/PROGRAM\"] or route53 = {}".to_owned()),
        "none" => Ok(Challenge::None),
        _ => Err("write http-01, dns-01, or none where the CA asks for no proof".to_owned()),
    });
    let profile = form.profile.map(|profile| reading.word(profile, "profile", text_of));
    let chain = form
        .preferred_chain
        .map(|issuer| reading.word(issuer, "preferred_chain", text_of));
    outcome?;
    Ok(Source::Acme(Acme {
        key_type: key_type?,
        account: account?,
        challenge: challenge?,
        profile: profile.transpose()?,
        preferred_chain: chain.transpose()?,
    }))
}

fn text_of<const MAX: usize>(text: &str) -> Result<Text<MAX>, String> {
    let made = exact(text).filter(|_| !text.is_empty());
    made.ok_or_else(|| format!("write 1 to {MAX} characters of printable ASCII"))
}
