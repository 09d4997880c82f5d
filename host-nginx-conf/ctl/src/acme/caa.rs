//! `acme caa`: the records that pin names to accounts, to be put into their zones by whoever has these; and whether they stand there.

use clap::Args;
use enclave_wire::{DnsName, Name};
use serde::Serialize;

use super::record::{Account, AccountUrl, Method, Pins, Record, UnprovenWildcard};
use super::{AcmeError, agents, check, issuer, say};
use crate::commands::{CommandError, Outcome, Session};
use crate::show;

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Options {
    /// The names of your certificates, wildcards as *.NAME
    #[arg(required_unless_present_any = ["from_agent", "check"], value_parser = name)]
    names: Vec<DnsName>,
    /// The account's URL, which status and the CA show
    #[arg(long, value_name = "URL", required_unless_present_any = ["from_agent", "check"])]
    account_url: Option<AccountUrl>,
    /// Ask the agent for names, accounts and methods, in place of saying them
    #[arg(long, conflicts_with_all = ["names", "account_url", "methods"])]
    from_agent: bool,
    /// Print no records: have the enclave look up those that stand in DNS, for all certificates that it orders, or for one
    #[arg(long, value_name = "CERTIFICATE", value_parser = certificate, num_args = 0..=1, conflicts_with_all = OF_RECORDS)]
    check: Option<Option<Name>>,
    /// Another account, kept elsewhere, for the day on which the enclave's is lost
    #[arg(long, value_name = "URL")]
    recovery_account_url: Option<AccountUrl>,
    /// The domain by which the CA is named in CAA records; of Let's Encrypt and Amazon it is known
    #[arg(long, value_name = "DOMAIN", value_parser = name)]
    issuer: Option<DnsName>,
    /// How the names may be proven; repeat it for more. Not for ACM's endpoints, which prove names their own way
    #[arg(long = "method", value_enum)]
    methods: Vec<Method>,
}

pub(super) fn run(session: &Session, options: &Options) -> Result<Outcome, CommandError> {
    match &options.check {
        Some(only) => check::run(session, only.as_ref().map(Name::as_str)),
        None => generate(session, options).map(|()| Outcome::Done),
    }
}

fn generate(session: &Session, options: &Options) -> Result<(), CommandError> {
    let mut pins = Pins::default();
    match (&options.account_url, options.from_agent) {
        (Some(url), false) => add(&mut pins, &options.names, url, &options.methods, options)?,
        _ => {
            for wanted in agents::certificates(session, None)? {
                add(&mut pins, &wanted.names, &wanted.account, &wanted.methods, options)?;
            }
        }
    }
    let records = pins
        .records()
        .map_err(|UnprovenWildcard(name)| CommandError::Acme(AcmeError::Wildcard(name)))?;
    if options.recovery_account_url.is_none() {
        show::say_beside(NO_RECOVERY);
    }
    print(session.json, &records).map_err(CommandError::Terminal)
}

/// Lets an account, and that of recovery, have these names.
fn add(
    pins: &mut Pins,
    names: &[DnsName],
    url: &AccountUrl,
    methods: &[Method],
    options: &Options,
) -> Result<(), CommandError> {
    if options.recovery_account_url.as_ref() == Some(url) {
        let same = AcmeError::SameAccount(url.as_str().to_owned());
        return Err(CommandError::Acme(same));
    }
    let accounts: Result<Vec<Account>, AcmeError> = std::iter::once(url)
        .chain(&options.recovery_account_url)
        .map(|url| account(url, methods, options))
        .collect();
    let accounts = accounts.map_err(CommandError::Acme)?;
    for name in names {
        pins.add(name, &accounts);
    }
    Ok(())
}

/// What is known of a URL is better than what was said: the two accounts may be of different CAs.
fn account(url: &AccountUrl, methods: &[Method], options: &Options) -> Result<Account, AcmeError> {
    let issuer = issuer::of(url).or_else(|| options.issuer.clone());
    Ok(Account {
        issuer: issuer.ok_or_else(|| AcmeError::Issuer(url.host().to_owned()))?,
        url: url.clone(),
        methods: methods.to_vec(),
    })
}

fn print(json: bool, records: &[Record]) -> std::io::Result<()> {
    #[derive(Serialize)]
    struct Printed<'a> {
        records: &'a [Record],
        /// The same as lines of a zone file.
        zone: String,
    }
    let zone: String = records.iter().map(Record::line).collect();
    let printed = Printed {
        records,
        zone: zone.clone(),
    };
    say(json, &printed, || zone)
}

fn name(text: &str) -> Result<DnsName, &'static str> {
    text.parse()
        .map_err(|_| "a DNS name is in lower case (IDNA names as xn--…); only its first label may be *")
}

fn certificate(text: &str) -> Result<Name, &'static str> {
    text.parse()
        .map_err(|_| "no name of a certificate of the agent's configuration")
}

/// What is said of records to be printed.
const OF_RECORDS: [&str; 6] = [
    "names",
    "account_url",
    "from_agent",
    "recovery_account_url",
    "issuer",
    "methods",
];

const NO_RECOVERY: &str = "note: without --recovery-account-url only the enclave's account can renew. Should its key be lost, these \
records must change before any other account can";

const HELP: &str = "Each name gets records of its own, which say who may issue for it and for its wildcards; they replace the CAA records \
that stand there. They bind CAs that honour RFC 8657 (Let's Encrypt does) to the account; every other CA is refused by its domain alone. Names below \
without CAA records are bound by them, too. A name that is a CNAME has none: they stand at its target.

Exit status of --check: 0 every name is pinned to the enclave's account, 3 one is not, or could not be looked up.";
