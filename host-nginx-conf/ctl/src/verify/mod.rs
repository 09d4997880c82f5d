//! `verify`: whether a document and a statement prove which code holds which keys, and whether a live server has them.
//!
//! Needs no enclave, no agent and no AWS: an auditor runs it anywhere.

mod checks;
mod expected;
mod host;
mod limits;
mod options;
mod report;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use enclave_attestation::{AttestedKey, Statement};

pub(crate) use options::Options;

use self::checks::{Checks, Freshness};
use self::expected::Expected;
use self::report::Report;
use enclave_tls_admin::files;

use crate::kms_policy;
use crate::show::say_beside;

/// Why nothing was verified, or nothing is proven.
#[derive(Debug)]
pub(crate) enum VerifyError {
    /// A file could not be read.
    File(PathBuf, io::Error),
    /// A file is no policy.
    Policy(kms_policy::PolicyError),
    /// A file has no measurements.
    Measurements(PathBuf),
    /// The clock is before 1970.
    Clock,
    /// These checks failed; they are printed already.
    NotProven(Vec<String>),
    /// Standard output.
    Output(io::Error),
}

impl std::fmt::Display for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Policy(error) => error.fmt(f),
            Self::Measurements(path) => write!(
                f,
                "{}: it has no PCR0, PCR1 and PCR2; give the JSON that nitro-cli build-enclave or describe-eif printed",
                path.display()
            ),
            Self::Clock => f.write_str("this machine's clock is before 1970"),
            Self::NotProven(failed) => write!(f, "not proven: {}", failed.join(", ")),
            Self::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), VerifyError> {
    let expected = Expected::read(options)?;
    if !expected.trusts_aws() {
        say_beside("warning: AWS's root is not trusted, but the one that --root-sha256 names");
    }
    let report = prove(options, &expected)?;
    report.print(json).map_err(VerifyError::Output)?;
    match report.failed() {
        failed if failed.is_empty() => Ok(()),
        failed => Err(VerifyError::NotProven(failed)),
    }
}

fn prove(options: &Options, expected: &Expected) -> Result<Report, VerifyError> {
    let (document, statement) = (
        read(&options.document, MAX_DOCUMENT)?,
        read(&options.statement, MAX_STATEMENT)?,
    );
    let nonce = options.nonce.as_ref().map(|nonce| nonce.0.as_slice());
    let freshness = Freshness {
        nonce,
        max_age: options.max_age,
        now_ms: now_ms()?,
    };
    let mut report = Report {
        checks: Checks::default(),
        root_sha256: expected.root_sha256,
        trusts_aws: expected.trusts_aws(),
        document: None,
        statement: None,
        host: options.host.as_ref().map(ToString::to_string),
        shown: Vec::new(),
        limits: Vec::new(),
    };
    let checks = &mut report.checks;
    let Some(verified) = checks.document(&document, expected, freshness) else {
        return Ok(report);
    };
    checks.freshness(&verified, freshness);
    checks.pcrs(&verified, expected);
    report.document = Some(verified.document().clone());
    let Some(statement) = checks.statement(&statement, &verified, nonce) else {
        return Ok(report);
    };
    checks.policy(&statement, &verified, expected);
    checks.sealed_to(&statement, expected);
    let keys = keys(options, &statement, checks);
    if let Some(required) = options.require_usage {
        checks.usage(&keys, required);
    }
    report.limits = limits::limits(&statement, &keys, expected, nonce.is_some());
    if options.host.is_some() {
        report.shown = keys.into_iter().cloned().collect();
    }
    report.statement = Some(statement);
    Ok(report)
}

/// The keys that the proof is about: those that the host shows, or all.
fn keys<'s>(options: &Options, statement: &'s Statement, checks: &mut Checks) -> Vec<&'s AttestedKey> {
    match &options.host {
        Some(host) => checks.host(&host::handshakes(host, options.connect), statement),
        None => statement.keys.iter().collect(),
    }
}

fn read(path: &Path, max: usize) -> Result<Vec<u8>, VerifyError> {
    files::read_public(path, max).map_err(|error| VerifyError::File(path.to_owned(), error))
}

fn now_ms() -> Result<u64, VerifyError> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| VerifyError::Clock)?;
    u64::try_from(since.as_millis()).map_err(|_| VerifyError::Clock)
}

/// What the control plane's `attest` answers at most.
const MAX_DOCUMENT: usize = 16_384;
const MAX_STATEMENT: usize = 110_000;
