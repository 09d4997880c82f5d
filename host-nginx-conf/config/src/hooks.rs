//! `[hooks]`: programs that the agent runs when something has happened.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use crate::form::{Table, Word};
use crate::paths;
use crate::reading::{Reading, Refused};

/// What is run, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Hooks {
    /// `after_rotation`: once servers have another generation of a certificate.
    pub after_rotation: Option<Program>,
}

/// A program and its arguments, which no shell reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable, by its absolute path.
    pub program: PathBuf,
    /// What follows it.
    pub arguments: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    after_rotation: Option<Spanned<Vec<Word>>>,
}

pub(crate) fn read(form: Option<Table<Form>>, reading: &mut Reading) -> Result<Hooks, Refused> {
    let Table(form) = form.unwrap_or_default();
    let after_rotation = form
        .after_rotation
        .map(|words| program(words, "after_rotation", reading));
    Ok(Hooks {
        after_rotation: after_rotation.transpose()?,
    })
}

/// A list of words as a program and its arguments.
pub(crate) fn program(words: Spanned<Vec<Word>>, key: &'static str, reading: &mut Reading) -> Result<Program, Refused> {
    let at = words.span();
    let mut words = words.into_inner().into_iter();
    let Some(program) = words.next() else {
        return Err(reading.wrong(
            at,
            format!("{key} is empty: write [\"/PROGRAM\", \"ARGUMENT\", …], or leave it out"),
        ));
    };
    let program = paths::read(program, key, reading)?;
    let arguments: Vec<String> = words.map(Spanned::into_inner).collect();
    let fits = |argument: &String| argument.len() <= MAX_ARGUMENT && !argument.contains('\0');
    if arguments.len() > MAX_ARGUMENTS || !arguments.iter().all(fits) {
        return Err(reading.wrong(
            at,
            format!("{key} has at most 32 arguments of at most 1024 bytes: write a program that knows the rest"),
        ));
    }
    Ok(Program { program, arguments })
}

/// A command line that people read.
const MAX_ARGUMENTS: usize = 32;
const MAX_ARGUMENT: usize = 1_024;
