//! Why a configuration was not taken.

use std::path::{Path, PathBuf};

use crate::permissions::PermissionError;

/// Why a configuration was not taken. Whoever wrote the file, or set its permissions, can mend it: each message says how.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// It could not be read, or too many can change it.
    Permission(PermissionError),
    /// It says something wrong.
    Wrong {
        /// The file.
        path: PathBuf,
        /// At least one, in the order of the file's lines.
        problems: Vec<Problem>,
    },
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there, and what to write.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn one(path: &Path, text: &str, at: usize, message: &str) -> Self {
        Self::Wrong {
            path: path.to_owned(),
            problems: vec![Problem {
                line: line_of(text, at),
                message: message.trim_end().replace('\n', ", "),
            }],
        }
    }
}

impl From<PermissionError> for ConfigError {
    fn from(error: PermissionError) -> Self {
        Self::Permission(error)
    }
}

impl std::fmt::Display for ConfigError {
    /// `FILE:LINE: MESSAGE`, a line each.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Permission(error) => error.fmt(f),
            Self::Wrong { path, problems } => {
                for (index, Problem { line, message }) in problems.iter().take(SHOWN).enumerate() {
                    let separator = if index == 0 { "" } else { "\n" };
                    write!(f, "{separator}{}:{line}: {message}", path.display())?;
                }
                match problems.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, "\n{}: and {more} more", path.display()),
                }
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Permission(error) => Some(error),
            Self::Wrong { .. } => None,
        }
    }
}

/// From 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
}

/// Mistakes that are printed. After these one begins again.
const SHOWN: usize = 50;
