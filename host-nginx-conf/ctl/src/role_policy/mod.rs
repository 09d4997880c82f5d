//! The rights of the instance's role that would let root on the parent get certificates of its own: by IAM policies in files, or by
//! what IAM itself answers.
//!
//! Where lint does not know, Allow is taken to apply and Deny not to. Policies of the organisation and boundaries, which only take
//! away, are not looked at.

mod evaluate;
mod finding;
mod pattern;
mod show;

use std::path::{Path, PathBuf};

use enclave_tls_admin::files;

pub(crate) use evaluate::{lint, resources};
pub(crate) use finding::Danger;
pub(crate) use show::report;

use crate::kms_policy::{Document, PolicyError, json};

/// Reads a policy of a role: bare, or as `aws iam get-role-policy`, `aws iam get-policy-version` or `policy generate` print it.
pub(crate) fn read(path: &Path) -> Result<(String, Document), PolicyError> {
    let bytes = files::read_public(path, MAX_FILE).map_err(|error| PolicyError::File(path.to_owned(), error))?;
    let listing = |error: serde_json::Error| PolicyError::Listing(path.to_owned(), error.to_string());
    let tree = json(&bytes).map_err(listing)?;
    let wrapped = ["/PolicyDocument", "/PolicyVersion/Document", "/iam_policy"];
    let inner = wrapped.iter().find_map(|place| tree.pointer(place));
    let text = inner.unwrap_or(&tree).to_string();
    let document = Document::parse(&text).map_err(|error| PolicyError::Document(PathBuf::from(path), error))?;
    Ok((path.display().to_string(), document))
}

/// A managed policy has at most 6,144 characters; what the command line prints around it is less.
const MAX_FILE: usize = 1 << 20;
