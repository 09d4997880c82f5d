//! Configuration with places to fill in, written `@WORD@`: the same files that users copy.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A file being filled in.
pub(super) struct Template {
    name: String,
    text: String,
    values: BTreeMap<&'static str, String>,
}

impl Template {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        // The comments are for those who copy it, and speak of the places.
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect();
        Ok(Self {
            name: path.display().to_string(),
            ..Self::of(&(lines.join("\n") + "\n"))
        })
    }

    pub(super) fn of(text: &str) -> Self {
        Self {
            name: "template".into(),
            text: text.to_owned(),
            values: BTreeMap::new(),
        }
    }

    pub(super) fn fill(&mut self, word: &'static str, value: impl Display) {
        self.values.insert(word, value.to_string());
    }

    /// The text; an error if a place was left empty.
    pub(super) fn finish(self) -> Result<String> {
        let mut out = String::new();
        for (number, piece) in self.text.split('@').enumerate() {
            match self.values.get(piece) {
                _ if number % 2 == 0 => out.push_str(piece),
                Some(value) => out.push_str(value),
                None => bail!("{}: nothing for @{piece}@", self.name),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_must_be_filled() {
        let mut filled = Template::of("a @B@ c @D@ @B@\n");
        filled.fill("B", "an @address@");
        assert!(filled.finish().is_err());
        let mut filled = Template::of("a @B@ c @D@ @B@\n");
        filled.fill("B", "an @address@");
        filled.fill("D", 2);
        assert_eq!(filled.finish().unwrap(), "a an @address@ c 2 an @address@\n");
    }
}
