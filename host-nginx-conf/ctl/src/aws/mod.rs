//! What this program asks of AWS. Only [`sdk`], [`acm`] and [`iam`] know the SDK; without the feature `aws`, [`absent`] says so in its place.

#[cfg(not(feature = "aws"))]
mod absent;
#[cfg(feature = "aws")]
pub(crate) mod acm;
#[cfg(feature = "aws")]
mod iam;
#[cfg(feature = "aws")]
mod sdk;

#[cfg(not(feature = "aws"))]
pub(crate) use absent::{credentials, describe, encrypt, role_arn, role_policies, simulate};
#[cfg(feature = "aws")]
pub(crate) use iam::{role_arn, role_policies, simulate};
#[cfg(feature = "aws")]
pub(crate) use sdk::{credentials, describe, encrypt};

use crate::show::plain;

#[cfg(feature = "aws")]
use sdk::in_short;

/// What KMS says of a key, each as the JSON that the AWS command line prints.
pub(crate) struct KeyDescription {
    pub(crate) policy: String,
    pub(crate) grants: String,
    pub(crate) metadata: String,
}

/// What IAM makes of an action on a resource.
pub(crate) struct Simulated {
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) verdict: Verdict,
}

/// Whether it would be let through.
#[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "the SDK makes it"))]
pub(crate) enum Verdict {
    Allowed,
    Denied,
    /// It is denied so far, and the values of these condition keys were not given; or IAM said another word.
    Depends(Vec<String>),
}

/// Why AWS did not do it.
#[derive(Debug)]
pub(crate) enum AwsError {
    /// This build has no SDK.
    #[cfg_attr(feature = "aws", expect(dead_code, reason = "the build without the SDK makes it"))]
    NotBuilt,
    /// A call failed: the operation, and what the SDK says.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "the SDK makes it"))]
    Call { operation: &'static str, why: String },
    /// AWS did not do it: the operation, its name for why, and its words.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "the SDK makes it"))]
    Refused {
        operation: &'static str,
        code: String,
        message: String,
    },
    /// An answer without what it must have.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "the SDK makes it"))]
    Answer(&'static str),
    /// The system gives no event loop.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "the SDK makes it"))]
    Runtime(std::io::Error),
}

impl std::fmt::Display for AwsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBuilt => f.write_str(
                "this enclave-tlsctl was built without the AWS SDK; build it with: cargo build -p enclave-tlsctl --features aws",
            ),
            Self::Call { operation, why } => write!(f, "AWS did not answer {operation}: {why}"),
            Self::Refused {
                operation,
                code,
                message,
            } => {
                write!(f, "AWS refused {operation}: {}: {}", plain(code), plain(message))?;
                match code.as_str() {
                    "AccessDeniedException" => write!(f, "; give these credentials acm:{operation}, or use others"),
                    _ => Ok(()),
                }
            }
            Self::Answer(operation) => write!(f, "the answer to {operation} lacks what it must have; is an AWS endpoint set?"),
            Self::Runtime(error) => write!(f, "the system gives no event loop: {error}"),
        }
    }
}
