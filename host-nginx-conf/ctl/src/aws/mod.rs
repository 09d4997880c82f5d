//! What this program asks of AWS. Only [`sdk`] knows the SDK; without the feature `aws`, [`absent`] says so in its place.

#[cfg(not(feature = "aws"))]
mod absent;
#[cfg(feature = "aws")]
mod sdk;

use zeroize::Zeroizing;

#[cfg(not(feature = "aws"))]
pub(crate) use absent::{describe, encrypt, load};
#[cfg(feature = "aws")]
pub(crate) use sdk::{describe, encrypt, load};

/// Credentials as the SDK's default chain finds them: environment, profile, web identity, container, instance (IMDSv2).
///
/// These copies are wiped. Those that the SDK makes on the way are not, and neither are the file or service they come from.
pub(crate) struct AwsCredentials {
    pub(crate) access_key_id: String,
    pub(crate) secret: Zeroizing<String>,
    pub(crate) session_token: Option<Zeroizing<String>>,
    /// Seconds since 1970, UTC; none: they do not end, or nobody says when.
    pub(crate) expires_unix: Option<i64>,
}

/// What KMS says of a key, each as the JSON that the AWS command line prints.
pub(crate) struct KeyDescription {
    pub(crate) policy: String,
    pub(crate) grants: String,
    pub(crate) metadata: String,
}

/// Why AWS did not do it.
#[derive(Debug)]
pub(crate) enum AwsError {
    /// This build has no SDK.
    #[cfg_attr(feature = "aws", expect(dead_code, reason = "the build without the SDK makes it"))]
    NotBuilt,
    /// The default chain finds no credentials.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "the SDK makes it"))]
    Credentials(String),
    /// A call failed: the operation, and what the SDK says.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "the SDK makes it"))]
    Call { operation: &'static str, why: String },
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
            Self::Credentials(why) => write!(
                f,
                "no AWS credentials were found ({why}); set AWS_PROFILE, or run this on an instance with a role. For a profile of \
                 IAM Identity Center: eval \"$(aws configure export-credentials --format env)\" first"
            ),
            Self::Call { operation, why } => write!(f, "AWS did not answer {operation}: {why}"),
            Self::Answer(operation) => write!(f, "the answer to {operation} lacks what it must have; is an AWS endpoint set?"),
            Self::Runtime(error) => write!(f, "the system gives no event loop: {error}"),
        }
    }
}
