//! CAA records in the DNS of the lab's CA, and what the enclave finds of them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Lab, acme, program};

/// CAA records in DNS, until it is dropped.
pub struct Records<'a> {
    lab: &'a Lab,
    /// The names that have some.
    names: Vec<String>,
}

impl<'a> Records<'a> {
    /// There are none yet.
    #[must_use]
    pub fn none(lab: &'a Lab) -> Self {
        Self { lab, names: Vec::new() }
    }

    /// Puts records of a name beside those that it has.
    pub fn add(&mut self, name: &str, records: &[(&str, &str)]) -> Result<()> {
        let policies = records
            .iter()
            .map(|(tag, value)| json!({"tag": tag, "value": value}))
            .collect::<Vec<_>>();
        self.names.push(name.to_owned());
        self.tell("/add-caa", &json!({"host": name, "policies": policies}))
    }

    /// Puts exactly what `acme caa --json` printed.
    pub fn put(&mut self, printed: &Value) -> Result<()> {
        let records = printed["records"].as_array().context("no records")?;
        let mut sets: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
        for record in records {
            let word = |of: &str| record[of].as_str().context("no record");
            let (name, one) = (word("name")?, (word("tag")?, word("value")?));
            match sets.iter_mut().find(|(named, _)| *named == name) {
                Some((_, set)) => set.push(one),
                None => sets.push((name, vec![one])),
            }
        }
        ensure!(!sets.is_empty(), "nothing was printed");
        sets.iter().try_for_each(|(name, set)| self.add(name, set))
    }

    /// Takes those of a name away.
    pub fn clear(&self, name: &str) -> Result<()> {
        self.tell("/clear-caa", &json!({"host": name}))
    }

    fn tell(&self, path: &str, body: &Value) -> Result<()> {
        let ca = &self.lab.acme;
        acme::ask(&ca.dns, &ca.root, path, Some(body)).map(drop)
    }
}

impl Drop for Records<'_> {
    fn drop(&mut self) {
        for name in &self.names {
            if let Err(error) = self.clear(name) {
                eprintln!("CAA records of {name} stay: {error:#}");
            }
        }
    }
}

/// How `enclave-tlsctl acme caa --check` ended, and what it says.
pub fn check(lab: &Lab, certificate: Option<&str>) -> Result<(Option<i32>, Value)> {
    let mut command = lab.ctl_command()?;
    let ran = program::run(command.args(["--json", "acme", "caa", "--check"]).args(certificate))?;
    let said = serde_json::from_str(&ran.stdout).with_context(|| ran.printed())?;
    Ok((ran.status.code(), said))
}
