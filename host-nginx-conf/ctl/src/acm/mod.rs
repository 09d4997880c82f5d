//! `acm`: AWS Certificate Manager's ACME endpoints, set up from the administrator's machine with the administrator's credentials.
//!
//! Nothing of this is for the parent instance: whoever may make bindings and accounts may have certificates.

mod eab;
mod options;
mod show;

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::acme::{self, AcmeError};
use crate::aws::AwsError;
use crate::aws::acm::{Acm, Domain, Endpoint, Scope};
use crate::show::say_beside;
use options::{AccountCommand, Command, CreateDomain, CreateEndpoint, DomainCommand, EabCommand, EndpointCommand};
pub(crate) use options::{EndpointArn, Options};

/// Why ACM's side is not as asked.
#[derive(Debug)]
pub(crate) enum AcmError {
    /// AWS did not do it.
    Aws(AwsError),
    /// What was made does not become usable.
    Failed { arn: String, status: String, why: String },
    /// It is not usable yet.
    Slow { arn: String, status: String },
    /// The endpoint has no directory: it is not active.
    NoDirectory { arn: String, status: String },
    /// What cannot be undone was not confirmed.
    NotConfirmed(&'static str),
    /// The file of a binding.
    File(AcmeError),
    /// Standard output.
    Output(io::Error),
}

impl std::fmt::Display for AcmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Aws(error) => error.fmt(f),
            Self::Failed { arn, status, why } => write!(
                f,
                "{arn} is {status}: {why}. Delete it, correct what AWS names, and create it again"
            ),
            Self::Slow { arn, status } => write!(
                f,
                "{arn} is still {status} after {} minutes; it is there: look at it with `show` later",
                WITHIN.as_secs() / 60
            ),
            Self::NoDirectory { arn, status } => write!(
                f,
                "{arn} is {status} and has no directory: wait until `enclave-tlsctl acm endpoint show` says ACTIVE"
            ),
            Self::NotConfirmed(what) => write!(f, "{what}; nothing was changed: --yes does it"),
            Self::File(error) => error.fmt(f),
            Self::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}

impl From<AwsError> for AcmError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

impl From<AcmeError> for AcmError {
    fn from(error: AcmeError) -> Self {
        Self::File(error)
    }
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), AcmError> {
    match &options.command {
        Command::Endpoint(options) => endpoint(&options.command, json),
        Command::Domain(options) => domain(&options.command, json),
        Command::Eab(options) => binding(&options.command, json),
        Command::Account(options) => account(&options.command, json),
    }
}

fn endpoint(command: &EndpointCommand, json: bool) -> Result<(), AcmError> {
    match command {
        EndpointCommand::Create(options) => create_endpoint(options, json),
        EndpointCommand::List(options) => {
            let endpoints = Acm::new(options.region.as_deref())?.endpoints()?;
            say(json, &endpoints, || show::endpoints(&endpoints))
        }
        EndpointCommand::Show(arn) => {
            let endpoint = at(&arn.arn)?.endpoint(arn.arn.as_str())?;
            say(json, &endpoint, || show::endpoint(&endpoint))
        }
        EndpointCommand::Delete(options) => {
            confirmed(options.yes, "its directory serves nobody any more")?;
            at(&options.arn)?.delete_endpoint(options.arn.as_str())?;
            done(json, options.arn.as_str(), "is being deleted")
        }
    }
}

fn create_endpoint(options: &CreateEndpoint, json: bool) -> Result<(), AcmError> {
    let acm = Acm::new(options.region.as_deref())?;
    let arn = acm.create_endpoint(options.contact_required, &options.key_algorithms)?;
    let endpoint = match options.no_wait {
        true => acm.endpoint(&arn)?,
        false => wait(
            || acm.endpoint(&arn),
            |endpoint: &Endpoint| (endpoint.arn.clone(), endpoint.status.clone(), endpoint.failure.clone()),
        )?,
    };
    say(json, &endpoint, || show::endpoint(&endpoint))
}

fn domain(command: &DomainCommand, json: bool) -> Result<(), AcmError> {
    match command {
        DomainCommand::Create(options) => create_domain(options, json),
        DomainCommand::List(options) => {
            let domains = at(&options.endpoint)?.domains(options.endpoint.as_str())?;
            say(json, &domains, || show::domains(&domains))
        }
        DomainCommand::Show(options) => {
            let domain = at(options.arn.endpoint())?.domain(options.arn.as_str())?;
            say(json, &domain, || show::domain(&domain))
        }
        DomainCommand::Delete(options) => {
            confirmed(
                options.yes,
                "the endpoint issues for this domain no more, also no renewals",
            )?;
            at(options.arn.endpoint())?.delete_domain(options.arn.as_str())?;
            done(json, options.arn.as_str(), "is being deleted")
        }
    }
}

fn create_domain(options: &CreateDomain, json: bool) -> Result<(), AcmError> {
    let acm = at(&options.endpoint)?;
    // Nothing said: the domain itself alone, the least that is of any use.
    let scope = Scope {
        exact: options.exact || !(options.subdomains || options.wildcards),
        subdomains: options.subdomains,
        wildcards: options.wildcards,
    };
    let name = options.domain.to_string();
    let arn = acm.create_domain(options.endpoint.as_str(), &name, scope, options.hosted_zone.as_deref())?;
    let mut domain = acm.domain(&arn)?;
    if options.wait {
        if let Some(record) = &domain.record {
            say_beside(&format!("waiting for {} CNAME {}", record.name, record.value));
        }
        domain = wait(
            || acm.domain(&arn),
            |domain: &Domain| (domain.arn.clone(), domain.status.clone(), domain.failure.clone()),
        )?;
    }
    say(json, &domain, || show::domain(&domain))
}

fn binding(command: &EabCommand, json: bool) -> Result<(), AcmError> {
    match command {
        EabCommand::Create(options) => {
            let acm = at(&options.endpoint)?;
            let binding = acm.create_binding(options.endpoint.as_str(), options.role.as_str(), options.expires)?;
            say(json, &binding, || show::binding(&binding))
        }
        EabCommand::List(options) => {
            let bindings = at(&options.endpoint)?.bindings(options.endpoint.as_str())?;
            say(json, &bindings, || show::bindings(&bindings))
        }
        EabCommand::Show(options) => {
            let binding = at(options.arn.endpoint())?.binding(options.arn.as_str())?;
            say(json, &binding, || show::binding(&binding))
        }
        EabCommand::Credentials(options) => eab::credentials(options, json),
        EabCommand::Revoke(options) => {
            at(options.arn.endpoint())?.revoke_binding(options.arn.as_str())?;
            let said = "is revoked: it makes no accounts any more. Those that it made stay; see `acm account list`";
            done(json, options.arn.as_str(), said)
        }
        EabCommand::Delete(options) => {
            at(options.arn.endpoint())?.delete_binding(options.arn.as_str())?;
            let said = "is deleted. Accounts that it made stay; see `acm account list`";
            done(json, options.arn.as_str(), said)
        }
    }
}

fn account(command: &AccountCommand, json: bool) -> Result<(), AcmError> {
    match command {
        AccountCommand::List(options) => {
            let accounts = at(&options.endpoint)?.accounts(options.endpoint.as_str())?;
            say(json, &accounts, || show::accounts(&accounts))
        }
        AccountCommand::Show(options) => {
            let account = at(&options.endpoint)?.account(options.endpoint.as_str(), &options.url)?;
            say(json, &account, || show::account(&account))
        }
        AccountCommand::Revoke(options) => {
            confirmed(
                options.yes,
                "a revoked account never requests or revokes a certificate again",
            )?;
            at(&options.endpoint)?.revoke_account(options.endpoint.as_str(), &options.url)?;
            done(json, &options.url, "is revoked")
        }
    }
}

/// ACM where this endpoint is.
fn at(endpoint: &EndpointArn) -> Result<Acm, AwsError> {
    Acm::new(Some(endpoint.region()))
}

/// Looks again and again, less and less often, until it is usable or failed.
fn wait<T>(
    look: impl Fn() -> Result<T, AwsError>,
    state: impl Fn(&T) -> (String, String, Option<String>),
) -> Result<T, AcmError> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let seen = look()?;
        let (arn, status, failure) = state(&seen);
        match status.as_str() {
            "ACTIVE" | "VALID" => return Ok(seen),
            "CREATING" | "VALIDATING" if begun.elapsed() < WITHIN => std::thread::sleep(pause),
            "CREATING" | "VALIDATING" => return Err(AcmError::Slow { arn, status }),
            _ => {
                let why = failure.unwrap_or_else(|| "AWS gives no reason".to_owned());
                return Err(AcmError::Failed { arn, status, why });
            }
        }
        pause = pause.saturating_mul(2).min(LAST_PAUSE);
    }
}

fn confirmed(yes: bool, what: &'static str) -> Result<(), AcmError> {
    if yes { Ok(()) } else { Err(AcmError::NotConfirmed(what)) }
}

fn done(json: bool, what: &str, said: &str) -> Result<(), AcmError> {
    #[derive(Serialize)]
    struct Done<'a> {
        done: &'a str,
    }
    say(json, &Done { done: what }, || format!("{what} {said}\n"))
}

fn say(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), AcmError> {
    acme::say(json, value, text).map_err(AcmError::Output)
}

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// DNS takes its time.
const WITHIN: Duration = Duration::from_secs(600);
