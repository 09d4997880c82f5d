//! Reads the system's APT sources, to find its Debian mirror and the keyring that vouches for it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// One entry: some URIs, some suites, who signs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) uris: Vec<String>,
    pub(super) suites: Vec<String>,
    pub(super) signed_by: SignedBy,
}

/// What `Signed-By` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SignedBy {
    /// APT's own trusted keys.
    Default,
    /// Key rings by path, or fingerprints: as they stand there.
    Named(String),
    /// The key itself, armoured, in the entry.
    Inline(String),
}

/// The system's entries for this release of Debian; the first has the release's own suite.
pub(super) fn of_debian(codename: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in files(Path::new("/etc/apt")) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let is_deb822 = path.extension().is_some_and(|extension| extension == "sources");
        entries.extend(if is_deb822 || text.starts_with("Types:") {
            deb822(&text)
        } else {
            one_line(&text)
        });
    }
    for entry in &mut entries {
        entry
            .suites
            .retain(|suite| suite == codename || suite.starts_with(&format!("{codename}-")));
        entry.uris.retain(|uri| !uri.starts_with("cdrom:"));
    }
    entries.retain(|entry| !entry.suites.is_empty() && !entry.uris.is_empty());
    entries.sort_by_key(|entry| !entry.suites.iter().any(|suite| suite == codename));
    match entries.first() {
        Some(first) if first.suites.iter().any(|suite| suite == codename) => Ok(entries),
        _ => bail!("APT's sources have no entry for Debian's {codename}; without one there is no mirror to take from"),
    }
}

fn files(etc: &Path) -> Vec<PathBuf> {
    let mut files = vec![etc.join("sources.list")];
    let parts = fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let read_by_apt = |path: &PathBuf| path.extension().is_some_and(|end| end == "list" || end == "sources");
    let mut parts: Vec<PathBuf> = parts.filter(read_by_apt).collect();
    parts.sort();
    files.extend(parts);
    files
}

fn one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(one_line_entry).collect()
}

fn one_line_entry(line: &str) -> Option<Entry> {
    let mut rest = line
        .split('#')
        .next()?
        .trim()
        .strip_prefix("deb")?
        .strip_prefix([' ', '\t'])?
        .trim_start();
    let mut signed_by = SignedBy::Default;
    if let Some(bracket) = rest.strip_prefix('[') {
        let (options, after) = bracket.split_once(']')?;
        rest = after;
        let named = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="));
        signed_by = named.map_or(signed_by, |value| SignedBy::Named(value.to_owned()));
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        signed_by,
    })
}

fn deb822(text: &str) -> Vec<Entry> {
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    kept.split(|line| line.trim().is_empty()).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Entry> {
    let words = |name| {
        Some(
            field(lines, name)?
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    };
    if field(lines, "Enabled").is_some_and(|value| value.trim() == "no") || !words("Types")?.iter().any(|t| t == "deb")
    {
        return None;
    }
    let signed_by = match field(lines, "Signed-By") {
        None => SignedBy::Default,
        Some(value) if value.contains("BEGIN PGP") => SignedBy::Inline(value),
        Some(value) => SignedBy::Named(value.trim().to_owned()),
    };
    Some(Entry {
        uris: words("URIs")?,
        suites: words("Suites")?,
        signed_by,
    })
}

/// A field with its continuation lines, in which a lone dot means an empty line.
fn field(lines: &[&str], name: &str) -> Option<String> {
    let is_head = |line: &&str| {
        line.split_once(':')
            .is_some_and(|(head, _)| head.eq_ignore_ascii_case(name))
    };
    let begin = lines.iter().position(is_head)?;
    let mut lines = lines.get(begin..)?.iter();
    let mut value = vec![lines.next()?.split_once(':')?.1.trim()];
    value.extend(
        lines
            .take_while(|line| line.starts_with([' ', '\t']))
            .map(|line| match line.trim() {
                "." => "",
                other => other,
            }),
    );
    Some(value.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_entries_are_read() {
        let text = "# deb http://no/ bookworm main\ndeb-src http://no/ bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://yes/debian bookworm main contrib # why\n";
        let wanted = Entry {
            uris: vec!["http://yes/debian".into()],
            suites: vec!["bookworm".into()],
            signed_by: SignedBy::Named("/k.gpg".into()),
        };
        assert_eq!(one_line(text), [wanted]);
    }

    #[test]
    fn stanzas_are_read_and_disabled_ones_are_not() {
        let text = "Types: deb deb-src\n# a comment\nURIs: mirror+file:///m\nSuites: bookworm\n bookworm-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n\n\
                    Types: deb\nURIs: http://no\nSuites: bookworm\nEnabled: no\n";
        let entries = deb822(text);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(entries[0].uris, ["mirror+file:///m"]);
        let key = "\n-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc".to_owned();
        assert_eq!(entries[0].signed_by, SignedBy::Inline(key));
    }
}
