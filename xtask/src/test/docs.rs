//! What the documents say is there: tests that `SECURITY.md` names, with all that have a guard, paths that the others name, lines of
//! tables that `bench` wrote.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::count::Counts;
use super::mutants;
use crate::paths::Paths;
use crate::process;

pub(super) fn run(paths: &Paths) -> Result<Counts> {
    let root = paths.workspace();
    let security = fs::read_to_string(root.join("SECURITY.md"))?;
    let named: BTreeSet<_> = quoted(&security).filter(|word| is_test(word)).collect();
    ensure!(!named.is_empty(), "SECURITY.md names no test");
    let tests = tests_in(root)?;
    let mut counts = Counts::default();
    for test in &named {
        counts = counts + verdict(tests.contains(*test), &format!("SECURITY.md names the test {test}"));
    }
    for test in mutants::tests(root)?.iter().filter(|name| is_test(name)) {
        let is_named = named.contains(test.as_str());
        counts = counts + verdict(is_named, &format!("the guarded test {test} in SECURITY.md"));
    }
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document))?;
        for path in quoted(&text).filter(|word| is_path(word)) {
            counts = counts + verdict(root.join(path).exists(), &format!("{document} names {path}"));
        }
    }
    let readme = fs::read_to_string(root.join("README.md"))?;
    let shown: Vec<_> = tables(&readme).map(str::to_owned).collect();
    ensure!(!shown.is_empty(), "README.md shows no table of {MEASURED}");
    let whole = fs::read_to_string(root.join(MEASURED).with_extension("txt"))?;
    let measured = lines_of(&root.join(MEASURED))?;
    let of_either = &measured | &lines_of(&root.join(MEASURED_KEYS))?;
    for (lines, measured) in [
        (shown, &of_either),
        (whole.lines().map(|line| line.trim().to_owned()).collect(), &measured),
    ] {
        for line in lines {
            counts = counts + verdict(measured.contains(&line), &format!("\"{line}\" was measured"));
        }
    }
    Ok(counts)
}

/// The lines that `bench` shows of its file.
fn lines_of(file: &Path) -> Result<BTreeSet<String>> {
    let mut bench = Command::new(std::env::current_exe()?);
    let shown = process::capture(bench.args(["bench", "--read"]).arg(file))?;
    Ok(shown.lines().map(|line| line.trim().to_owned()).collect())
}

/// The lines of blocks that say that they are `text`: those are tables that `bench` wrote.
fn tables(text: &str) -> impl Iterator<Item = &str> {
    let mut is_table = false;
    text.lines().map(str::trim).filter(move |line| {
        if line.starts_with("```") {
            is_table = *line == "```text";
            return false;
        }
        is_table && !line.is_empty()
    })
}

fn verdict(holds: bool, what: &str) -> Counts {
    if holds {
        return Counts::ONE;
    }
    println!("FAILED {what}, which is not there");
    Counts {
        failed: 1,
        ..Counts::default()
    }
}

/// The names of the functions that hold a threat's number, in every source that git tracks.
fn tests_in(root: &Path) -> Result<BTreeSet<String>> {
    let mut grep = Command::new("git");
    grep.current_dir(root).args([
        "grep",
        "--untracked",
        "-hoE",
        r"\bthreats?_[0-9][a-z0-9_]*",
        "--",
        "*.rs",
    ]);
    Ok(process::capture(&mut grep)?.lines().map(str::to_owned).collect())
}

/// Words between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_test(word: &str) -> bool {
    let is_name = word
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    word.starts_with("threat") && is_name
}

/// A path from the workspace's root: it begins with a folder that is there and has no blank, option or place-holder in it.
fn is_path(word: &str) -> bool {
    let is_plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    is_plain && FOLDERS.iter().any(|folder| word.starts_with(folder))
}

/// What `cargo xtask bench` wrote; beside it, what it printed.
const MEASURED: &str = "tests/measured/bench.json";
const MEASURED_KEYS: &str = "tests/measured/keys.json";
const DOCUMENTS: [&str; 4] = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
const FOLDERS: [&str; 6] = [
    "enclave-tls/",
    "pkcs11-module/",
    "host-nginx-conf/",
    "tests/",
    "xtask/",
    "packaging/",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_other_blocks() {
        let text = "see\n\n```text\n  by  p50\n\n  ours  1\n```\n\n```\ncargo\n```\n\n    text\n";
        assert_eq!(tables(text).collect::<Vec<_>>(), ["by  p50", "ours  1"]);
    }

    #[test]
    fn names_and_paths_are_told_from_other_words() {
        let text = "see `threat_05_a_bound`, `threat_40_…`, `tests/functional` and `cargo xtask test`, not threat_06_b";
        assert_eq!(
            quoted(text).filter(|word| is_test(word)).collect::<Vec<_>>(),
            ["threat_05_a_bound"]
        );
        assert_eq!(
            quoted(text).filter(|word| is_path(word)).collect::<Vec<_>>(),
            ["tests/functional"]
        );
    }
}
