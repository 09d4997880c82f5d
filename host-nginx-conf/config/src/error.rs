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
    pub(crate) fn one(path: &Path, text: &str, at: usize, message: String) -> Self {
        Self::Wrong {
            path: path.to_owned(),
            problems: vec![Problem {
                line: Lines::of(text).line(at),
                message,
            }],
        }
    }

    /// What the parser has found, in the words of people who do not know what it is written in.
    pub(crate) fn of_form(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().trim_end().replace('\n', ", ");
        Self::one(path, text, at, in_words(&message))
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

/// The parser's messages are its own: what is not known here is passed on as it is.
fn in_words(message: &str) -> String {
    if let Some((key, known)) = message
        .strip_prefix("unknown field ")
        .and_then(|rest| rest.split_once(", "))
    {
        let known = known.trim_start_matches("expected ").trim_start_matches("one of ");
        return format!("unknown key {key}: correct or remove it; here may be {known}");
    }
    if let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let found = match found {
            "map" => "a table",
            "sequence" => "a list",
            other => other.trim_end_matches(" as i128"),
        };
        let write = match expected {
            "i64" => "a whole number, without quotes",
            "a string" => "a text in double quotes",
            "a sequence" => "a list in [ ], or of tables with [[ ]] around their name",
            other => other,
        };
        return format!("this is {found}: write {write}");
    }
    match message {
        "duplicate key" => "this is here twice: remove one".to_owned(),
        other => format!("this is not TOML: {other}"),
    }
}

/// Where the lines of a text end.
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// From 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset).saturating_add(1)
    }
}

/// Mistakes that are printed. After these one begins again.
const SHOWN: usize = 50;
