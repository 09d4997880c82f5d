//! What a package holds, as its own tools tell it, against the list that it was made from, and against rules of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::package::{Entry, Format, Inputs, Source};
use crate::process::capture;

/// A file or directory of a package.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    directory: bool,
    mode: u32,
    owner: String,
    group: String,
}

pub(super) fn compare(inputs: &Inputs, format: Format, file: &Path) -> Result<()> {
    let found = match format {
        Format::Deb => in_deb(file)?,
        Format::Rpm => in_rpm(file)?,
    };
    let mut wrong = Vec::new();
    let mut listed = BTreeMap::new();
    for entry in inputs.list().of(format) {
        listed.insert(entry.path.clone(), entry);
        match found.get(&entry.path) {
            None => wrong.push(format!("{} is missing", entry.path.display())),
            Some(found) if *found != expected(entry) => {
                wrong.push(format!(
                    "{} is {found:?}, not {:?}",
                    entry.path.display(),
                    expected(entry)
                ));
            }
            Some(_) => {}
        }
    }
    for (path, found) in &found {
        wrong.extend(rules(path, found));
        // dpkg's archives have every directory on the way.
        let is_on_the_way = format == Format::Deb && listed.keys().any(|entry| entry.starts_with(path));
        if !listed.contains_key(path) && !is_on_the_way {
            wrong.push(format!("{} is not in the list", path.display()));
        }
    }
    let configs = configs(format, file)?;
    for entry in listed.values() {
        let is_config = matches!(entry.source, Source::Config(_));
        if is_config != configs.contains(&entry.path)
            || is_config != entry.path.starts_with("/etc") && entry.source != Source::Directory
        {
            wrong.push(format!(
                "{}: an upgrade would take the administrator's changes",
                entry.path.display()
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn expected(entry: &Entry) -> Found {
    Found {
        directory: entry.source == Source::Directory,
        mode: entry.mode,
        owner: "root".into(),
        group: entry.group.clone(),
    }
}

/// What no package of ours may have, whatever the list says.
fn rules(path: &Path, found: &Found) -> Option<String> {
    let path_text = path.display();
    if found.mode & 0o7000 != 0 {
        return Some(format!(
            "{path_text} has mode {:o}: it would act with others' rights",
            found.mode
        ));
    }
    if found.mode & 0o022 != 0 {
        return Some(format!("{path_text} has mode {:o}: others may write", found.mode));
    }
    if found.owner != "root" {
        return Some(format!("{path_text} is {}'s", found.owner));
    }
    let is_for_p11_kit = path.components().any(|part| part.as_os_str() == "p11-kit");
    is_for_p11_kit.then(|| format!("{path_text} loads the module into every program that uses p11-kit"))
}

fn in_deb(file: &Path) -> Result<BTreeMap<PathBuf, Found>> {
    let said = capture(Command::new("dpkg-deb").arg("--contents").arg(file))?;
    said.lines()
        .map(|line| deb_line(line).with_context(|| line.to_owned()))
        .collect()
}

/// `drwxr-xr-x root/root 0 2026-01-01 00:00 ./usr/`
fn deb_line(line: &str) -> Result<(PathBuf, Found)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[letters, owners, _, _, _, path] = words.as_slice() else {
        bail!("not six words");
    };
    let (owner, group) = owners.split_once('/').context("no group")?;
    let kind = letters.chars().next();
    ensure!(matches!(kind, Some('d' | '-')), "neither a file nor a directory");
    let path = Path::new("/").join(path.trim_start_matches("./").trim_end_matches('/'));
    let found = Found {
        directory: kind == Some('d'),
        mode: mode(letters)?,
        owner: owner.into(),
        group: group.into(),
    };
    Ok((path, found))
}

/// `-rwxr-sr-t`
fn mode(letters: &str) -> Result<u32> {
    let mut mode = 0;
    for (place, letter) in letters.chars().skip(1).enumerate() {
        let bit = 0o400 >> place;
        let special = [0o4000, 0o2000, 0o1000].get(place / 3).context("too many letters")?;
        mode |= match letter {
            '-' => 0,
            'r' | 'w' | 'x' => bit,
            's' | 't' => bit | special,
            'S' | 'T' => *special,
            _ => bail!("what is {letter}?"),
        };
    }
    Ok(mode)
}

fn in_rpm(file: &Path) -> Result<BTreeMap<PathBuf, Found>> {
    let form = "[%{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]";
    let said = capture(
        Command::new("rpm")
            .args(["--query", "--package", "--queryformat", form])
            .arg(file),
    )?;
    said.lines()
        .map(|line| rpm_line(line).with_context(|| line.to_owned()))
        .collect()
}

/// `0100755 root root /usr/bin/enclave-tlsctl`
fn rpm_line(line: &str) -> Result<(PathBuf, Found)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[mode, owner, group, path] = words.as_slice() else {
        bail!("not four words");
    };
    let mode = u32::from_str_radix(mode, 8)?;
    let kind = mode & 0o170_000;
    ensure!(kind == 0o040_000 || kind == 0o100_000, "neither a file nor a directory");
    let found = Found {
        directory: kind == 0o040_000,
        mode: mode & 0o7777,
        owner: owner.into(),
        group: group.into(),
    };
    Ok((path.into(), found))
}

/// The files that upgrades leave alone.
fn configs(format: Format, file: &Path) -> Result<Vec<PathBuf>> {
    let said = match format {
        Format::Deb => capture(Command::new("dpkg-deb").arg("--info").arg(file).arg("conffiles"))?,
        Format::Rpm => capture(
            Command::new("rpm")
                .args(["--query", "--package", "--configfiles"])
                .arg(file),
        )?,
    };
    Ok(said.lines().map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        for (letters, wanted) in [
            ("-rw-r-----", 0o640),
            ("drwxr-xr-x", 0o755),
            ("-rwsr-xr-x", 0o4755),
            ("-rw-r-Sr--", 0o2644),
            ("drwxrwxrwt", 0o1777),
        ] {
            assert_eq!(mode(letters).unwrap(), wanted, "{letters}");
        }
    }

    #[test]
    fn what_no_package_may_have_is_found() {
        let found = |mode, owner: &str| Found {
            directory: false,
            mode,
            owner: owner.into(),
            group: "root".into(),
        };
        assert_eq!(rules(Path::new("/usr/bin/a"), &found(0o755, "root")), None);
        for (path, mode, owner) in [
            ("/usr/bin/a", 0o4755, "root"),
            ("/usr/bin/a", 0o757, "root"),
            ("/usr/bin/a", 0o775, "root"),
            ("/usr/bin/a", 0o755, "daemon"),
            ("/usr/share/p11-kit/modules/enclave-tls.module", 0o644, "root"),
        ] {
            assert!(rules(Path::new(path), &found(mode, owner)).is_some(), "{path} {mode:o}");
        }
    }
}
