//! What the module adds to NGINX's start: `nginx -t` with one key of the service by pkcs11-provider, and with the same in a file.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::handshakes::imported;
use super::runner::{SERVER_CORE, Spread};
use super::show::Columns;
use crate::lab::Lab;
use crate::lab::peers::{Client, Plan, Prepared, Token};
use crate::paths::Paths;
use crate::process;
use crate::table::Table;

/// Milliseconds, of pairs in turns.
#[derive(Deserialize, Serialize)]
pub(super) struct Start {
    file: Spread,
    provider: Spread,
    /// Within each pair.
    added: Spread,
    pairs: usize,
}

pub(super) fn measure(paths: &Paths, lab: &Lab, quick: bool) -> Result<Start> {
    let token = Token::of_lab(lab);
    let prepared = |client: Client| {
        let key = imported(lab.description(), "P-256", "tls")?;
        let plan = Plan {
            name: format!("start-{}", client.name()),
            workers: 1,
            client,
            token: &token,
            keys: vec![key.clone()],
        };
        Prepared::write(paths, lab, plan)
    };
    let (file, provider) = (prepared(Client::File)?, prepared(Client::Provider)?);
    let pairs = if quick { QUICK_PAIRS } else { PAIRS };
    let mut all = Vec::new();
    // What happens only the first time belongs to no pair.
    for number in 0..=pairs {
        let [file, provider] = there_and_back([&file, &provider], |one| took(&one.test()))?;
        if number > 0 {
            all.push((file, provider));
        }
    }
    Start::of(&all)
}

impl Start {
    fn of(pairs: &[(f64, f64)]) -> Result<Self> {
        let spread =
            |figure: &dyn Fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(figure).collect()).context("no pair");
        Ok(Self {
            file: spread(&|(file, _)| *file)?,
            provider: spread(&|(_, provider)| *provider)?,
            added: spread(&|(file, provider)| provider - file)?,
            pairs: pairs.len(),
        })
    }

    pub(super) fn print(&self) {
        let mut columns = Columns::new(["nginx -t with one key, ms", "median (quartiles)"]);
        for (name, Spread { q1, median, q3 }) in [
            ("in a file", self.file),
            ("of the service, by pkcs11-provider", self.provider),
            ("added", self.added),
        ] {
            columns.cells(vec![name.to_owned(), format!("{median:.2} ({q1:.2}–{q3:.2})")]);
        }
        columns.print();
        println!("  {} pairs", self.pairs);
    }

    pub(super) fn judge(&self, table: &mut Table) {
        table.below("added to NGINX's start, one key", self.added.median, 5.0, "ms");
    }
}

/// A B B A: the mean of both times of each.
fn there_and_back<T>(both: [T; 2], time: impl Fn(&T) -> Result<f64>) -> Result<[f64; 2]> {
    let [one, other] = &both;
    let times = [time(one)?, time(other)?, time(other)?, time(one)?];
    let [first, second, third, fourth] = times;
    Ok([f64::midpoint(first, fourth), f64::midpoint(second, third)])
}

/// On one core, as a server's are measured.
fn took(command: &Command) -> Result<f64> {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &SERVER_CORE.to_string()]);
    pinned.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    let begin = Instant::now();
    process::run(&mut pinned)?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

const PAIRS: usize = 15;
const QUICK_PAIRS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_the_median_within_pairs() {
        // The machine is twice as slow in one pair.
        let start = Start::of(&[(4.0, 7.0), (8.0, 14.0), (4.0, 7.0)]).unwrap();
        assert_eq!(
            (start.file.median, start.provider.median, start.added.median),
            (4.0, 7.0, 3.0)
        );
        assert!(Start::of(&[]).is_err());
    }

    #[test]
    fn both_have_the_same_middle() {
        let times = std::cell::RefCell::new([1.0, 2.0, 3.0, 4.0].into_iter());
        let both = there_and_back([(), ()], |()| times.borrow_mut().next().context("no time")).unwrap();
        assert_eq!(both, [2.5, 2.5]);
    }
}
