//! `packaging/files.txt`: what is in which package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Format;

/// The files and directories of both packages.
pub(crate) struct List(Vec<Entry>);

/// One of them, in one package or in both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// None: in both.
    only: Option<Format>,
    pub(crate) mode: u32,
    /// The owner is root.
    pub(crate) group: String,
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) source: Source,
}

/// What it is made from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Directory,
    Program(String),
    Module,
    Image,
    Measurements,
    /// A file of the repository.
    File(PathBuf),
    /// One that the administrator changes.
    Config(PathBuf),
}

impl List {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let lines = text.lines().enumerate().filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let entries = lines.map(|(number, line)| {
            Entry::parse(line).with_context(|| format!("{}:{}: {line}", file.display(), number + 1))
        });
        Ok(Self(entries.collect::<Result<_>>()?))
    }

    /// Those of one package.
    pub(crate) fn of(&self, format: Format) -> impl Iterator<Item = &Entry> {
        self.0
            .iter()
            .filter(move |entry| entry.only.is_none_or(|only| only == format))
    }
}

impl Entry {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[only, mode, group, path, source] = words.as_slice() else {
            bail!("not five words");
        };
        let only = match only {
            "both" => None,
            "deb" => Some(Format::Deb),
            "rpm" => Some(Format::Rpm),
            _ => bail!("neither both, deb nor rpm"),
        };
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            bail!("no absolute path");
        }
        Ok(Self {
            only,
            mode: u32::from_str_radix(mode, 8)?,
            group: group.to_owned(),
            path: path.into(),
            source: Source::parse(source)?,
        })
    }
}

impl Source {
    fn parse(word: &str) -> Result<Self> {
        Ok(match word.split_once(':') {
            Some(("program", name)) => Self::Program(name.to_owned()),
            Some(("config", path)) => Self::Config(path.into()),
            Some((other, _)) => bail!("no such source: {other}"),
            None => match word {
                "directory" => Self::Directory,
                "module" => Self::Module,
                "image" => Self::Image,
                "measurements" => Self::Measurements,
                path if path.contains('/') || path.chars().any(char::is_uppercase) => Self::File(path.into()),
                other => bail!("no such source: {other}"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let entry = Entry::parse("deb  0640 root /etc/enclave-tls/config.toml  config:a/config.toml").unwrap();
        assert_eq!(entry.only, Some(Format::Deb));
        assert_eq!(entry.mode, 0o640);
        assert_eq!(entry.source, Source::Config("a/config.toml".into()));
        assert_eq!(Source::parse("README.md").unwrap(), Source::File("README.md".into()));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in [
            "deb 0644 root /a",
            "tar 0644 root /a b/c",
            "both 0999 root /a b/c",
            "both 0644 root a b/c",
            "both 0644 root /a/../b b/c",
            "both 0644 root /a directry",
            "both 0644 root /a programme:x",
        ] {
            assert!(Entry::parse(line).is_err(), "{line}");
        }
    }
}
