//! Paths of the file: absolute and plain, so that they mean one thing wherever they are used.

use std::path::PathBuf;

use crate::form::Word;
use crate::reading::{Reading, Refused};

pub(crate) fn read(word: Word, key: &'static str, reading: &mut Reading) -> Result<PathBuf, Refused> {
    reading.word(word, key, parse)
}

pub(crate) fn read_or(
    word: Option<Word>,
    key: &'static str,
    default: &str,
    reading: &mut Reading,
) -> Result<PathBuf, Refused> {
    reading.word_or(word, key, default, parse)
}

/// `/A/B`: no `.` or `..`, nothing empty, no control character (a line break would end a line of a server's file).
pub(crate) fn parse(text: &str) -> Result<PathBuf, String> {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.bytes().any(|b| b.is_ascii_control());
    match text.strip_prefix('/') {
        Some(rest) if text.len() <= MAX_PATH && rest.split('/').all(is_plain) => Ok(PathBuf::from(text)),
        Some(_) | None => Err(ABSOLUTE.to_owned()),
    }
}

const ABSOLUTE: &str =
    "write an absolute path, without . or .. or // or a / at its end, and without control characters";

/// Linux's `PATH_MAX` less the zero byte.
const MAX_PATH: usize = 4_095;
