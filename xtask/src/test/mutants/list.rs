//! The list of guards, as people write it.
//!
//! ```text
//! threat 05: a length is compared before anything is allocated
//! in enclave-tls/wire/src/frame.rs
//! -         if length > limit {
//! +         if false {
//! red enclave-wire --lib threat_05_lengths_outside_the_limits_are_refused
//! ```
//!
//! Entries stand between empty lines; `#` begins a comment. What follows `- ` is found exactly once in the file, blanks at the
//! lines' beginnings included, and gives way to what follows `+ `, or to nothing. Each `red` names a package, a target of it, and a test
//! that fails then.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// A guard, and how the source reads without it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// The numbers of the threats.
    pub(super) threats: String,
    /// What is kept.
    pub(super) guard: String,
    pub(super) file: String,
    pub(super) guarded: String,
    pub(super) unguarded: String,
    pub(super) tests: Vec<Test>,
}

/// A test, and what cargo has to build for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Test {
    pub(super) target: Target,
    /// The name of its function.
    pub(super) name: String,
}

/// One program of tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) package: String,
    /// `--lib`, or `--test` and its name.
    pub(super) choice: Vec<String>,
}

impl Mutant {
    pub(super) fn mentions(&self, word: &str) -> bool {
        let threat = word.strip_prefix("threat_").unwrap_or(word);
        let tests = self.tests.iter().flat_map(|test| [&test.target.package, &test.name]);
        self.threats.split(", ").any(|number| number == threat)
            || [&self.guard, &self.file]
                .into_iter()
                .chain(tests)
                .any(|text| text.contains(word))
    }

    /// What is built for it, and where it is.
    pub(super) fn place(&self) -> (Option<&Target>, &str) {
        (self.tests.first().map(|test| &test.target), &self.file)
    }
}

/// Every file of the directory, by name.
pub(super) fn read(directory: &Path) -> Result<Vec<Mutant>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "txt"));
    files.sort();
    let mut mutants = Vec::new();
    for file in files {
        mutants.extend(parse(&fs::read_to_string(&file)?).with_context(|| file.display().to_string())?);
    }
    Ok(mutants)
}

fn parse(text: &str) -> Result<Vec<Mutant>> {
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let entries = lines.split(|line| line.is_empty()).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| mutant(entry).with_context(|| format!("in the entry\n{}", entry.join("\n"))))
        .collect()
}

fn mutant(lines: &[&str]) -> Result<Mutant> {
    let [head, place, rest @ ..] = lines else {
        bail!("an entry has more lines than this");
    };
    let head = head.strip_prefix("threat ").and_then(|head| head.split_once(": "));
    let (threats, guard) = head.context("it begins with `threat NUMBERS: WHAT`")?;
    let file = place.strip_prefix("in ").context("its second line is `in FILE`")?;
    let (mut guarded, mut unguarded, mut tests) = (Vec::new(), Vec::new(), Vec::new());
    for line in rest {
        let (mark, text) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "-" => guarded.push(text),
            "+" => unguarded.push(text),
            "red" => tests.push(test(text)?),
            _ => bail!("`{line}` is neither -, + nor red"),
        }
    }
    ensure!(!guarded.is_empty() && guarded != unguarded, "it takes nothing away");
    ensure!(!tests.is_empty(), "it names no test");
    Ok(Mutant {
        threats: threats.to_owned(),
        guard: guard.to_owned(),
        file: file.to_owned(),
        guarded: guarded.join("\n"),
        unguarded: unguarded.join("\n"),
        tests,
    })
}

fn test(text: &str) -> Result<Test> {
    let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
    let [package, choice @ .., name] = words.as_slice() else {
        bail!("red PACKAGE TARGET TEST");
    };
    let is_choice = match choice {
        [only] => only == "--lib",
        [kind, _] => kind == "--test",
        _ => false,
    };
    ensure!(is_choice, "`{text}`: a target is --lib or --test NAME");
    Ok(Test {
        target: Target {
            package: package.clone(),
            choice: choice.to_vec(),
        },
        name: name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str =
        "# why\nthreat 05, 06: bounds\nin a/b.rs\n-     if a\n-\n- b\n+ c\nred p --lib t_1\nred p --test x t_2\n";

    #[test]
    fn an_entry_is_read() {
        let read = parse(&format!("{ENTRY}\n\n{ENTRY}")).unwrap();
        assert_eq!(read.len(), 2);
        let [first, ..] = read.as_slice() else { panic!() };
        assert_eq!(
            (first.guarded.as_str(), first.unguarded.as_str()),
            ("    if a\n\nb", "c")
        );
        assert_eq!(first.tests.len(), 2);
        assert!(first.mentions("06") && first.mentions("threat_05") && first.mentions("t_2") && first.mentions("b.rs"));
        assert!(first.mentions("p") && !first.mentions("0") && !first.mentions("threat_07"));
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for (from, to) in [
            ("threat 05, 06: ", "row 5: "),
            ("in a/b.rs\n", ""),
            ("-     if a\n-\n- b\n", ""),
            ("-     if a\n-\n- b\n+ c", "- c\n+ c"),
            ("red p --lib t_1\nred p --test x t_2\n", ""),
            ("--lib", "--bin"),
            ("+ c", "c"),
        ] {
            assert_ne!(ENTRY.replace(from, to), ENTRY);
            assert!(parse(&ENTRY.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn the_list_beside_the_tests_is_one() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for mutant in read(&root.join("tests/mutants")).unwrap() {
            let source = fs::read_to_string(root.join(&mutant.file)).unwrap();
            let count = source.matches(&mutant.guarded).count();
            assert_eq!(
                count, 1,
                "{}: {} has {count} times:\n{}",
                mutant.guard, mutant.file, mutant.guarded
            );
        }
    }
}
