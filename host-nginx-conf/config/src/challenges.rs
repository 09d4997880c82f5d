//! `[http01]` and `[dns01]`: how the agent shows a CA that a name is this machine's.

use std::net::SocketAddr;
use std::ops::Range;

use enclave_wire::DnsName;
use serde::Deserialize;
use toml::Spanned;

use crate::agent::Metrics;
use crate::aws::Aws;
use crate::form::{Table, Word};
use crate::hooks::{self, Program};
use crate::reading::{Reading, Refused};

/// `[http01]`: where the agent answers `/.well-known/acme-challenge/`, to which web servers pass these requests on. Listened on only
/// where a certificate needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Http01 {
    /// `listen`: an address and a port.
    pub listen: SocketAddr,
}

/// `[dns01]`: who writes TXT records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dns01 {
    /// `hook`: a program, run as `PROGRAM … present|cleanup RECORD VALUE`.
    Hook(Program),
    /// `route53`: the agent itself, in a zone of Amazon Route 53.
    Route53(Route53),
}

/// Where in Route 53.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Route53 {
    /// `zone_id`: the hosted zone; none: the agent finds the one whose name is the longest end of the record's.
    pub zone_id: Option<String>,
    /// `delegated`: a domain to which `_acme-challenge.NAME` leads by CNAME, at `NAME.DELEGATED`; none: the record itself is written.
    pub delegated: Option<DnsName>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http01Form {
    listen: Option<Word>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dns01Form {
    hook: Option<Spanned<Vec<Word>>>,
    route53: Option<Spanned<Table<Route53Form>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route53Form {
    zone_id: Option<Word>,
    delegated: Option<Word>,
}

/// `metrics` is none where it is wrong.
pub(crate) fn http01(
    form: Option<Table<Http01Form>>,
    metrics: Option<&Metrics>,
    reading: &mut Reading,
) -> Result<Http01, Refused> {
    let Table(form) = form.unwrap_or_default();
    let at = form.listen.as_ref().map(Spanned::span);
    let listen = reading.word_or(form.listen, "listen", DEFAULT_LISTEN, |text| {
        let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        address.ok_or_else(|| LISTEN.to_owned())
    })?;
    match metrics {
        Some(Metrics::Loopback(other)) if *other == listen => {
            let advice = format!("metrics and [http01] listen are both {listen}: give each an address of its own");
            Err(reading.wrong(at.unwrap_or_default(), advice))
        }
        Some(Metrics::Loopback(_) | Metrics::None | Metrics::Unix(_)) | None => Ok(Http01 { listen }),
    }
}

/// `aws` is none where `[aws]` is wrong.
pub(crate) fn dns01(
    form: Option<Spanned<Table<Dns01Form>>>,
    aws: Option<&Option<Aws>>,
    reading: &mut Reading,
) -> Result<Option<Dns01>, Refused> {
    let Some(form) = form else { return Ok(None) };
    let table = form.span();
    let Table(form) = form.into_inner();
    match (form.hook, form.route53) {
        (Some(hook), None) => hooks::program(hook, "hook", reading).map(|program| Some(Dns01::Hook(program))),
        (None, Some(place)) => route53(place, aws, reading).map(|place| Some(Dns01::Route53(place))),
        (Some(_), Some(place)) => Err(reading.wrong(
            place.span(),
            "one of them writes the records: remove either hook or route53",
        )),
        (None, None) => Err(reading.wrong(table, NEITHER)),
    }
}

fn route53(
    form: Spanned<Table<Route53Form>>,
    aws: Option<&Option<Aws>>,
    reading: &mut Reading,
) -> Result<Route53, Refused> {
    let at: Range<usize> = form.span();
    let Table(form) = form.into_inner();
    let lent = match aws {
        Some(None) => Err(reading.wrong_once("aws", at, crate::aws::ABSENT)),
        Some(Some(_)) | None => Ok(()),
    };
    let zone_id = form.zone_id.map(|id| reading.word(id, "zone_id", zone_id));
    let delegated = form.delegated.map(|domain| {
        reading.word(domain, "delegated", |text| {
            crate::egress::host(text).ok_or_else(|| "write a domain in lower case, as acme.example.net".to_owned())
        })
    });
    lent?;
    Ok(Route53 {
        zone_id: zone_id.transpose()?,
        delegated: delegated.transpose()?,
    })
}

fn zone_id(text: &str) -> Result<String, String> {
    let is_one =
        (1..=MAX_ZONE_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    match is_one {
        true => Ok(text.to_owned()),
        false => Err("write the hosted zone's id without /hostedzone/, as Z0123456789ABCDEFGHIJ".to_owned()),
    }
}

const LISTEN: &str = "write an IP address and a port, as 127.0.0.1:9812";
const NEITHER: &str = "[dns01] does not say who writes the records: add hook = [\"/PROGRAM\"], or route53 = {}";

/// Beside the metrics' usual port; web servers of this machine pass requests on to it.
const DEFAULT_LISTEN: &str = "127.0.0.1:9812";
/// What Route 53 takes.
const MAX_ZONE_ID: usize = 32;
