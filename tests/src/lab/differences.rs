//! Differences between two programs that were asked the same, and the list of those that are expected, each with its reason.
//!
//! ```text
//! at calls login 6: login s user wrong
//! softhsm PIN_INCORRECT
//! ours OK
//! at …
//! why a PIN is accepted and ignored
//! ```
//!
//! Entries stand between empty lines; `#` begins a comment. An entry has as many differences as have its reason. A difference that is not
//! listed, and a listed one that is not there, are both failures.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// What one of the programs did, by what was asked.
pub type Outcomes = BTreeMap<String, String>;

/// The differences that are expected.
#[derive(Debug)]
pub struct Expected(BTreeMap<String, [String; 2]>);

impl Expected {
    /// Reads the list, as people write it.
    pub fn parse(text: &str) -> Result<Self> {
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let mut all = BTreeMap::new();
        for entry in lines.split(|line| line.is_empty()).filter(|entry| !entry.is_empty()) {
            let (why, differences) = entry.split_last().context("an entry has lines")?;
            let why = why.strip_prefix("why ").unwrap_or_default();
            ensure!(!why.trim().is_empty(), "no reason, as `why …`, ends {entry:?}");
            ensure!(!differences.is_empty(), "nothing differs for: {why}");
            let (differences, rest) = differences.as_chunks::<3>();
            ensure!(
                rest.is_empty(),
                "`at`, `softhsm` and `ours` stand together, not {rest:?}"
            );
            for lines in differences {
                let (at, both) = difference(lines)?;
                ensure!(all.insert(at.clone(), both).is_none(), "{at} is listed twice");
            }
        }
        Ok(Self(all))
    }

    /// Whether they differ as is expected of this client and not otherwise. What is asked begins with the client's name.
    pub fn compare(&self, client: &str, softhsm: &Outcomes, ours: &Outcomes) -> Result<()> {
        let mut wrong = Vec::new();
        let mut listed: BTreeMap<_, _> = self.0.iter().collect();
        listed.retain(|at, _| at.split(' ').next() == Some(client));
        for at in ours.keys().filter(|at| !softhsm.contains_key(*at)) {
            wrong.push(format!("{at}: asked of ours alone"));
        }
        for (at, theirs) in softhsm {
            let own = ours.get(at).map_or("(never asked)", String::as_str);
            let [theirs, own] = &without_values(theirs, own);
            match listed.remove(at) {
                None if theirs == own => {}
                Some([listed_theirs, listed_own]) if theirs != own && theirs == listed_theirs && own == listed_own => {}
                None => wrong.push(format!("not listed:\nat {at}\nsofthsm {theirs}\nours {own}")),
                Some(_) if theirs == own => {
                    wrong.push(format!("listed, and no difference any more:\nat {at}\nboth {own}"))
                }
                Some(_) => wrong.push(format!("listed otherwise:\nat {at}\nsofthsm {theirs}\nours {own}")),
            }
        }
        wrong.extend(listed.keys().map(|at| format!("listed, and not asked any more: {at}")));
        if !wrong.is_empty() {
            bail!("{} of what is expected is otherwise\n{}", wrong.len(), wrong.join("\n"));
        }
        Ok(())
    }
}

/// With a word in place of each long value, which is another in each run: the same word only where the values are the same.
fn without_values(theirs: &str, own: &str) -> [String; 2] {
    let is_value = |word: &&str| word.len() >= VALUE && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let known: Vec<_> = theirs.split(' ').filter(is_value).collect();
    let shown = |text: &str| {
        let words = text.split(' ').map(|word| match is_value(&word) {
            true if known.contains(&word) => "(value)",
            true => "(another)",
            false => word,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    [shown(theirs), shown(own)]
}

fn difference([at, softhsm, ours]: &[&str; 3]) -> Result<(String, [String; 2])> {
    let after = |line: &str, mark: &str| -> Result<String> {
        let value = line.strip_prefix(mark).and_then(|rest| rest.strip_prefix(' '));
        Ok(value
            .with_context(|| format!("`{line}` does not begin with `{mark} `"))?
            .to_owned())
    };
    let both = [after(softhsm, "softhsm")?, after(ours, "ours")?];
    ensure!(both[0] != both[1], "no difference: {at}");
    Ok((after(at, "at")?, both))
}

/// In hexadecimal digits: longer than any length, and shorter than a hash.
const VALUE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# why\nat c a 1: x\nsofthsm OK 1\nours OK 2\nat c a 2: y\nsofthsm OK\nours NO\nwhy not needed\n\n\
                        at d b: z\nsofthsm 1\nours 2\nwhy another\n";

    fn outcomes(all: [(&str, &str); 2]) -> Outcomes {
        all.map(|(at, outcome)| (at.to_owned(), outcome.to_owned())).into()
    }

    #[test]
    fn what_is_listed_may_differ_and_nothing_else() {
        let expected = Expected::parse(LIST).unwrap();
        let softhsm = outcomes([("c a 1: x", "OK 1"), ("c a 2: y", "OK")]);
        let ours = outcomes([("c a 1: x", "OK 2"), ("c a 2: y", "NO")]);
        expected.compare("c", &softhsm, &ours).unwrap();
        for (changed, why) in [
            (
                outcomes([("c a 1: x", "OK 1"), ("c a 2: y", "NO")]),
                "no difference any more",
            ),
            (outcomes([("c a 1: x", "OK 3"), ("c a 2: y", "NO")]), "listed otherwise"),
            (
                outcomes([("c a 1: x", "OK 2"), ("c a 3: v", "NO")]),
                "asked of ours alone",
            ),
        ] {
            let said = expected.compare("c", &softhsm, &changed).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
        let mut more = [softhsm, ours];
        more[0].insert("c a 3: v".to_owned(), "OK".to_owned());
        let said = expected.compare("c", &more[0], &more[1]).unwrap_err().to_string();
        assert!(said.contains("not listed") && said.contains("never asked"), "{said}");
        more[1].insert("c a 3: v".to_owned(), "OK".to_owned());
        expected.compare("c", &more[0], &more[1]).unwrap();
        for outcomes in &mut more {
            outcomes.remove("c a 2: y");
        }
        let said = expected.compare("c", &more[0], &more[1]).unwrap_err().to_string();
        assert!(said.contains("not asked any more"), "{said}");
    }

    #[test]
    fn long_values_are_compared_and_not_listed() {
        let (one, two) = ("ab".repeat(16), "cd".repeat(16));
        let shown = |theirs: &str, own: &str| without_values(&format!("OK 16 {theirs}"), &format!("OK 16 {own}"));
        assert_eq!(shown(&one, &one), ["OK 16 (value)", "OK 16 (value)"]);
        assert_eq!(shown(&one, &two), ["OK 16 (value)", "OK 16 (another)"]);
        assert_eq!(shown(&one, "-1"), ["OK 16 (value)", "OK 16 -1"]);
    }

    #[test]
    fn each_difference_has_a_reason_and_is_one() {
        for (from, to) in [
            ("why another", "why "),
            ("why another\n", ""),
            ("ours 2", "ours 1"),
            ("at d b: z", "at c a 1: x"),
            ("softhsm 1\n", ""),
        ] {
            assert_ne!(LIST.replace(from, to), LIST);
            assert!(Expected::parse(&LIST.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }
}
