//! `acme caa`: the records that pin names to accounts, to be put into their zones by whoever has these.

use clap::Args;
use enclave_wire::DnsName;
use serde::Serialize;

use super::record::{Account, AccountUrl, Method, Record, UnprovenWildcard, records};
use super::{AcmeError, issuer, say};
use crate::commands::{CommandError, Session};

#[derive(Args)]
#[command(after_help = HELP)]
pub(super) struct Options {
    /// The names of your certificates, wildcards as *.NAME
    #[arg(required = true, value_parser = name)]
    names: Vec<DnsName>,
    /// The account's URL, which status and the CA show
    #[arg(long, value_name = "URL")]
    account_url: AccountUrl,
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

pub(super) fn run(session: &Session, options: &Options) -> Result<(), CommandError> {
    let accounts = accounts(options).map_err(CommandError::Acme)?;
    let records = records(&options.names, &accounts)
        .map_err(|UnprovenWildcard(name)| CommandError::Acme(AcmeError::Wildcard(name)))?;
    if options.recovery_account_url.is_none() {
        eprintln!("{NO_RECOVERY}");
    }
    print(session.json, &records).map_err(CommandError::Terminal)
}

fn accounts(options: &Options) -> Result<Vec<Account>, AcmeError> {
    let urls = std::iter::once(&options.account_url).chain(&options.recovery_account_url);
    let mut accounts: Vec<Account> = Vec::new();
    for url in urls {
        // What is known of a URL is better than what was said: the two accounts may be of different CAs.
        let known = issuer::of(url).or_else(|| options.issuer.clone());
        accounts.push(Account {
            issuer: known.ok_or_else(|| AcmeError::Issuer(url.host().to_owned()))?,
            url: url.clone(),
            methods: options.methods.clone(),
        });
    }
    Ok(accounts)
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

const NO_RECOVERY: &str = "note: without --recovery-account-url only the enclave's account can renew. Should its key be lost, these \
records must change before any other account can";

const HELP: &str = "Each name gets records of its own, which say who may issue for it and for its wildcards; they replace the CAA records \
that stand there. They bind CAs that honour RFC 8657 (Let's Encrypt does) to the account; every other CA is refused by its domain alone. Names below \
without CAA records are bound by them, too. A name that is a CNAME has none: they stand at its target.";
