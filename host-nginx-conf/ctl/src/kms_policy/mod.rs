//! `policy`: what an enclave measures of its own policy, and the policy of the KMS key that trusts the measurement.

mod condition;
mod document;
mod evaluate;
mod finding;
mod generate;
mod grant;
mod lint;
mod measured;
mod options;
mod show;
mod strict;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use enclave_policy::Policy;
use enclave_policy::aws::KeyArn;

pub(crate) use condition::{Truth, Value, fits, is_like, judge, unjudged};
pub(crate) use document::{Document, Effect, Listed, Statement};
pub(crate) use finding::Role;
pub(crate) use measured::Measured;
pub(crate) use options::Options;
pub(crate) use strict::json;

use self::document::DocumentError;
use self::evaluate::Rules;
use self::finding::Severity;
use self::generate::{Generated, MAX_KEY_POLICY, Wanted};
use self::grant::{Description, Grants, Metadata};
use self::lint::Subject;
use self::options::{Command, Generate, Lint, OnePolicy};
use crate::args::wrong_usage;
use crate::aws::{self, AwsError};
use crate::role_policy;
use crate::show::say_beside;
use enclave_tls_admin::files;

/// Why `policy` did not do it.
#[derive(Debug)]
pub(crate) enum PolicyError {
    /// A file could not be read.
    File(PathBuf, io::Error),
    /// A file is no policy of an enclave.
    Policy(PathBuf, enclave_policy::PolicyError),
    /// A file, or what AWS answered, is no policy of a key.
    Document(PathBuf, DocumentError),
    /// A file is no listing of grants, or no description of a key.
    Listing(PathBuf, String),
    /// AWS takes no key policy of this length.
    TooLong,
    /// AWS did not answer.
    Aws(AwsError),
    /// Lint found something; it is printed already.
    Found(usize),
    /// Standard output.
    Output(io::Error),
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Policy(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Document(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Listing(path, why) => write!(f, "{}: not what the AWS command line prints: {why}", path.display()),
            Self::TooLong => write!(
                f,
                "the policy has more than the {MAX_KEY_POLICY} bytes that AWS takes; give fewer pairs or principals"
            ),
            Self::Aws(error) => error.fmt(f),
            Self::Found(count) => write!(f, "{count} to correct"),
            Self::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), PolicyError> {
    match &options.command {
        Command::Pcr16(options) => show::measurement(&in_force(options)?, json),
        Command::Merge(options) => show::merged(&in_force(options)?, json),
        Command::Generate(options) => generate(options),
        Command::Lint(options) => lint(options, json),
    }
}

/// The policy in force: the image's narrowed by the parent's, or the one there is.
pub(crate) fn read_policy(file: &Path, image_policy: Option<&Path>) -> Result<Policy, PolicyError> {
    let given = read_one(file)?;
    match image_policy {
        Some(image) => Ok(read_one(image)?.intersect(&given)),
        None => Ok(given),
    }
}

fn in_force(options: &OnePolicy) -> Result<Policy, PolicyError> {
    read_policy(&options.file, options.image_policy.as_deref())
}

fn read_one(path: &Path) -> Result<Policy, PolicyError> {
    let bytes = files::read_public(path, MAX_FILE).map_err(|error| PolicyError::File(path.to_owned(), error))?;
    Policy::parse(&bytes).map_err(|error| PolicyError::Policy(path.to_owned(), error))
}

fn generate(options: &Generate) -> Result<(), PolicyError> {
    if options.role == Role::Sealing && !options.sealers.is_empty() {
        wrong_usage("--sealer is for --for bundles: whoever may encrypt under a sealing key can forge sealed state");
    }
    if let Some(why) = options.gives_it_away() {
        wrong_usage(&why);
    }
    let generated = wanted(options).generate();
    let key_policy = serde_json::to_string(&generated.key_policy).unwrap_or_default();
    if key_policy.len() > MAX_KEY_POLICY {
        return Err(PolicyError::TooLong);
    }
    if options.immutable {
        say_beside(IMMUTABLE.trim_end());
    }
    if options.key_arn.key().starts_with("mrk-") {
        say_beside("warning: a multi-region key: each replica has a policy of its own, which this one does not bind");
    }
    show::generated(&generated)
}

fn wanted(options: &Generate) -> Wanted {
    let mut measured = options.measured.clone();
    if let (Some(pcr0), Some(pcr16)) = (&options.pcr0, &options.pcr16) {
        let (pcr0, pcr16) = (pcr0.clone(), pcr16.clone());
        measured.push(measured::Measured { pcr0, pcr16 });
    }
    measured.sort();
    measured.dedup();
    let key = &options.key_arn;
    Wanted {
        key_arn: key.to_string(),
        roles: options.roles.clone(),
        measured,
        role: options.role,
        admins: options.admins.clone(),
        sealers: options.sealers.clone(),
        immutable: options.immutable,
        account_root: format!("arn:{}:iam::{}:root", key.partition().as_str(), key.account()),
    }
}

fn lint(options: &Lint, json: bool) -> Result<(), PolicyError> {
    if options.policy.is_none() && options.key_arn.is_none() {
        return lint_role(options, json);
    }
    let report = subject(options)?.lint();
    show::report(&report, json)?;
    match report.above_notes() {
        0 => Ok(()),
        count => Err(PolicyError::Found(count)),
    }
}

/// Without a key: what the policies of the instance's role allow.
fn lint_role(options: &Lint, json: bool) -> Result<(), PolicyError> {
    let policies = options.iam.iter().map(|path| role_policy::read(path));
    let findings = role_policy::lint(&policies.collect::<Result<Vec<_>, _>>()?);
    match role_policy::report(&findings, json)? {
        0 => Ok(()),
        count => Err(PolicyError::Found(count)),
    }
}

/// What is wrong with a key of AWS's by its policy, grants and description, worst first: the name of a finding, whether it is an
/// error, the sentence with whom it is about, the advice.
pub(crate) fn lint_key(key: &KeyArn, role: Role, expected: Option<Measured>) -> Result<Vec<Judged>, PolicyError> {
    let (policy, grants, metadata) = ask_aws(&key.to_string(), key.region().as_str())?;
    let subject = Subject {
        rules: Rules {
            policy,
            iam: Vec::new(),
            arn: metadata.as_ref().and_then(|metadata| metadata.arn.clone()),
        },
        grants,
        metadata,
        expected: expected.into_iter().collect(),
        role,
        immutable: false,
    };
    let mut findings = subject.lint().findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let above_notes = findings.into_iter().filter(|finding| finding.severity > Severity::Note);
    Ok(above_notes
        .map(|finding| Judged {
            is_error: finding.severity == Severity::Error,
            found: match finding.about.is_empty() {
                true => format!("{}: {}", finding.name.text(), finding.name.sentence()),
                false => format!(
                    "{}: {} ({})",
                    finding.name.text(),
                    finding.name.sentence(),
                    finding.about.join(", ")
                ),
            },
            advice: finding.name.advice(),
        })
        .collect())
}

/// A finding about a key, for `check`.
pub(crate) struct Judged {
    pub(crate) is_error: bool,
    pub(crate) found: String,
    pub(crate) advice: &'static str,
}

fn subject(options: &Lint) -> Result<Subject, PolicyError> {
    let (policy, grants, metadata) = match (&options.key_arn, &options.policy) {
        (Some(arn), _) => ask_aws(&arn.to_string(), arn.region().as_str())?,
        (None, Some(path)) => (
            read_document(path)?,
            options.grants.as_deref().map(read_grants).transpose()?,
            options.metadata.as_deref().map(read_metadata).transpose()?,
        ),
        (None, None) => wrong_usage("give --policy or --key-arn"),
    };
    let named = |path: &PathBuf| Ok((path.display().to_string(), read_document(path)?));
    Ok(Subject {
        rules: Rules {
            policy,
            iam: options.iam.iter().map(named).collect::<Result<_, PolicyError>>()?,
            arn: metadata.as_ref().and_then(|metadata| metadata.arn.clone()),
        },
        grants,
        metadata,
        expected: options.expect.clone(),
        role: options.role,
        immutable: options.immutable,
    })
}

type Settings = (Document, Option<Grants>, Option<Metadata>);

fn ask_aws(arn: &str, region: &str) -> Result<Settings, PolicyError> {
    let said = aws::describe(arn, region).map_err(PolicyError::Aws)?;
    let path = Path::new(arn);
    Ok((
        document(path, &said.policy)?,
        Some(grants(path, &said.grants)?),
        Some(metadata(path, &said.metadata)?),
    ))
}

fn read_document(path: &Path) -> Result<Document, PolicyError> {
    document(path, &read_text(path)?)
}

fn read_grants(path: &Path) -> Result<Grants, PolicyError> {
    grants(path, &read_text(path)?)
}

fn read_metadata(path: &Path) -> Result<Metadata, PolicyError> {
    metadata(path, &read_text(path)?)
}

fn document(path: &Path, text: &str) -> Result<Document, PolicyError> {
    Document::parse(text).map_err(|error| PolicyError::Document(path.to_owned(), error))
}

fn grants(path: &Path, text: &str) -> Result<Grants, PolicyError> {
    Grants::parse(text).map_err(|why| PolicyError::Listing(path.to_owned(), why))
}

fn metadata(path: &Path, text: &str) -> Result<Metadata, PolicyError> {
    let description: Result<Description, _> = serde_json::from_str(text);
    description
        .map(|description| description.key_metadata)
        .map_err(|error| PolicyError::Listing(path.to_owned(), error.to_string()))
}

fn read_text(path: &Path) -> Result<String, PolicyError> {
    let bytes = files::read_public(path, MAX_FILE).map_err(|error| PolicyError::File(path.to_owned(), error))?;
    String::from_utf8(bytes)
        .map_err(|error| PolicyError::File(path.to_owned(), io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// A policy has a few KiB, a listing of the 50,000 grants that a key may have more.
const MAX_FILE: usize = 64 << 20;

const IMMUTABLE: &str = "\
warning: nobody will be able to change this policy, or to disable or delete the key:
- AWS refuses such a policy unless it is told to: aws kms create-key --bypass-policy-lockout-safety-check --policy file://…
  (put-key-policy takes it too). Lint it first: there is no second try.
- No other image and no other policy will ever open what is sealed to this key. Name every pair that you will need with
  --measured, or seal to a new key before the old one is needed no more.
- AWS Support can give an account access to its key again. That remains, and nothing here can rule it out.
";
