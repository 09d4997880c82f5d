//! Why a policy was not taken.

use crate::endpoint::MAX_ENDPOINTS;

/// Why a policy was not taken. Whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    /// Not TOML, or not a policy.
    Form {
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong there.
        message: String,
    },
    /// Not text.
    NotUtf8,
    /// More `[[names]]` than a policy may have.
    TooManyNames,
    /// More `[[acme]]` than a policy may have.
    TooManyDirectories,
}

impl PolicyError {
    /// What is wrong at `offset` of `text`.
    pub(crate) fn at(text: &str, offset: usize, message: &str) -> Self {
        Self::Form {
            line: Some(line_of(text, offset)),
            message: message.to_owned(),
        }
    }

    pub(crate) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        Self::Form {
            line: error.span().map(|span| line_of(text, span.start)),
            message: error.message().to_owned(),
        }
    }
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form {
                line: Some(line),
                message,
            } => write!(f, "line {line}: {message}"),
            Self::Form { line: None, message } => f.write_str(message),
            Self::NotUtf8 => f.write_str("a policy is UTF-8 text"),
            Self::TooManyNames => write!(f, "a policy has at most {MAX_NAMES} [[names]]"),
            Self::TooManyDirectories => write!(f, "a policy has at most {MAX_ENDPOINTS} [[acme]]"),
        }
    }
}

impl std::error::Error for PolicyError {}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count().saturating_add(1)
}

/// Two policies intersect pair by pair: this many rules each are at most 65,536 pairs.
pub(crate) const MAX_NAMES: usize = 256;
