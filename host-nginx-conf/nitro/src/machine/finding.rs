//! One fact, whether it will do, and what to edit and run where it will not.

use std::fmt;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In a word or two: "huge pages".
    pub subject: &'static str,
    pub level: Level,
    pub found: String,
    pub remedy: Option<Remedy>,
}

/// Whether it will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Good,
    /// It works, or may work, and should be looked at.
    Doubtful,
    /// The enclave will not start so.
    Bad,
}

/// What to do, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    pub edit: Option<String>,
    pub command: String,
}

impl Finding {
    pub(super) fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self {
            subject,
            level: Level::Good,
            found: found.into(),
            remedy: None,
        }
    }

    pub(super) fn doubtful(subject: &'static str, found: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            subject,
            level: Level::Doubtful,
            found: found.into(),
            remedy: Some(remedy),
        }
    }

    pub(super) fn bad(subject: &'static str, found: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            level: Level::Bad,
            ..Self::doubtful(subject, found, remedy)
        }
    }
}

impl Remedy {
    /// An edit, and the command that makes it take effect.
    pub(super) fn new(edit: impl Into<String>, command: impl Into<String>) -> Self {
        Self {
            edit: Some(edit.into()),
            command: command.into(),
        }
    }

    pub(super) fn run(command: impl Into<String>) -> Self {
        Self {
            edit: None,
            command: command.into(),
        }
    }

    /// An edit of the allocator's file.
    pub(super) fn allocator(edit: &str) -> Self {
        Self::new(
            format!("{edit} in {}", super::allocator::FILE),
            super::allocator::RESTART,
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.edit {
            Some(edit) => write!(f, "{edit}, then run: {}", self.command),
            None => write!(f, "run: {}", self.command),
        }
    }
}
