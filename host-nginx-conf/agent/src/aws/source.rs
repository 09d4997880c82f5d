//! Where AWS credentials come from: the SDK's default chain, driven by one thread for as long as a call takes.

use std::time::{Duration, UNIX_EPOCH};

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use zeroize::Zeroizing;

/// Credentials as the default chain finds them: environment, profile, web identity, container, instance (IMDSv2).
///
/// These copies are wiped. Those that the SDK makes on the way are not, and neither are the file or service they come from.
#[derive(PartialEq, Eq)]
pub(crate) struct AwsCredentials {
    pub(crate) access_key_id: String,
    pub(crate) secret: Zeroizing<String>,
    pub(crate) session_token: Option<Zeroizing<String>>,
    /// Seconds since 1970, UTC; none: they do not end, or nobody says when.
    pub(crate) expires_unix: Option<i64>,
}

/// Why there are none.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The default chain finds none, and says why.
    None(String),
    /// Nobody answered for as long as it may take.
    Deadline,
    /// The system gives no event loop.
    Runtime(std::io::Error),
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None(why) => write!(
                f,
                "no AWS credentials were found ({why}); give the instance a role, or set `profile` under [aws]"
            ),
            Self::Deadline => write!(
                f,
                "no AWS credentials were found within {} s; does IMDS answer, and does it ask for IMDSv2?",
                WITHIN.as_secs()
            ),
            Self::Runtime(error) => write!(f, "the system gives no event loop: {error}"),
        }
    }
}

/// Asks the default chain anew at each call: nothing is cached, so what an instance's role has got since is what comes back.
pub(crate) fn load(profile: Option<&str>) -> Result<AwsCredentials, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SourceError::Runtime)?;
    runtime.block_on(async {
        tokio::time::timeout(WITHIN, find(profile))
            .await
            .unwrap_or(Err(SourceError::Deadline))
    })
}

async fn find(profile: Option<&str>) -> Result<AwsCredentials, SourceError> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    let config = loader.load().await;
    let provider = config
        .credentials_provider()
        .ok_or_else(|| SourceError::None("no provider".to_owned()))?;
    let found = provider.provide_credentials().await;
    found
        .map(AwsCredentials::from)
        .map_err(|error| SourceError::None(with_causes(&error)))
}

impl From<Credentials> for AwsCredentials {
    fn from(found: Credentials) -> Self {
        let seconds = |at: std::time::SystemTime| at.duration_since(UNIX_EPOCH).ok()?.as_secs().try_into().ok();
        Self {
            access_key_id: found.access_key_id().to_owned(),
            secret: Zeroizing::new(found.secret_access_key().to_owned()),
            session_token: found.session_token().map(|token| Zeroizing::new(token.to_owned())),
            expires_unix: found.expiry().and_then(seconds),
        }
    }
}

/// The SDK's errors say little without what caused them.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The SDK itself bounds each attempt at IMDS by a second, and makes four.
const WITHIN: Duration = Duration::from_secs(30);
