//! The command line, as strict as the real one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// What is asked for.
pub(crate) enum Arguments {
    Version,
    Run(Wanted),
    Describe,
    Terminate(Which),
    /// Of this program alone: the process that holds an enclave.
    Hold(String),
}

/// The enclave that shall run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Wanted {
    pub(crate) image: PathBuf,
    pub(crate) name: Option<String>,
    pub(crate) cid: u32,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
    pub(crate) debug: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Which {
    Name(String),
    Id(String),
}

impl Arguments {
    pub(crate) fn parse(words: &[String]) -> Result<Self, Refusal> {
        let Some((command, words)) = words.split_first() else {
            return Err(Refusal::usage("no command"));
        };
        match (command.as_str(), words) {
            ("--version" | "-V", []) => Ok(Self::Version),
            ("run-enclave", words) => Options::parse(
                words,
                &["eif-path", "enclave-name", "enclave-cid", "cpu-count", "memory"],
                &["debug-mode"],
            )?
            .run()
            .map(Self::Run),
            ("describe-enclaves", words) => Options::parse(words, &[], &["metadata"]).map(|_| Self::Describe),
            ("terminate-enclave", words) => Options::parse(words, &["enclave-name", "enclave-id"], &[])?
                .terminate()
                .map(Self::Terminate),
            ("hold", [id]) => Ok(Self::Hold(id.clone())),
            (other, _) => Err(Refusal::unknown(other)),
        }
    }
}

/// `--name value`, each at most once.
struct Options {
    values: BTreeMap<String, String>,
    set: Vec<String>,
}

impl Options {
    fn parse(words: &[String], valued: &[&str], bare: &[&str]) -> Result<Self, Refusal> {
        let mut options = Self {
            values: BTreeMap::new(),
            set: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.strip_prefix("--") {
                Some(name) if valued.contains(&name) => {
                    let value = words
                        .next()
                        .ok_or_else(|| Refusal::usage(&format!("'--{name}' requires a value")))?;
                    if options.values.insert(name.into(), value.clone()).is_some() {
                        return Err(Refusal::usage(&format!("'--{name}' was given twice")));
                    }
                }
                Some(name) if bare.contains(&name) => options.set.push(name.into()),
                Some(_) | None => return Err(Refusal::unknown(word)),
            }
        }
        Ok(options)
    }

    fn run(mut self) -> Result<Wanted, Refusal> {
        Ok(Wanted {
            image: self.required("eif-path")?.into(),
            memory_mib: number("memory", &self.required("memory")?)?,
            cpus: number("cpu-count", &self.required("cpu-count")?)?,
            cid: match self.values.remove("enclave-cid") {
                Some(text) => cid(&text)?,
                None => FIRST_CID,
            },
            name: self.values.remove("enclave-name"),
            debug: self.set.iter().any(|name| name == "debug-mode"),
        })
    }

    fn terminate(mut self) -> Result<Which, Refusal> {
        match (self.values.remove("enclave-name"), self.values.remove("enclave-id")) {
            (Some(name), None) => Ok(Which::Name(name)),
            (None, Some(id)) => Ok(Which::Id(id)),
            (Some(_), Some(_)) => Err(Refusal::usage("'--enclave-name' cannot be used with '--enclave-id'")),
            (None, None) => Err(Refusal::usage(
                "required arguments were not provided: --enclave-id <enclave-id>",
            )),
        }
    }

    fn required(&mut self, name: &str) -> Result<String, Refusal> {
        let missing = || Refusal::usage(&format!("required arguments were not provided: --{name} <{name}>"));
        self.values.remove(name).ok_or_else(missing)
    }
}

/// The hypervisor's, this machine's, the host's and the parent's own are no enclave's.
fn cid(text: &str) -> Result<u32, Refusal> {
    match number("enclave-cid", text)? {
        1..=3 | u32::MAX => Err(Refusal::code(3, &format!("`enclave-cid`: {text} is no enclave's"))),
        0 => Ok(FIRST_CID),
        cid => Ok(cid),
    }
}

fn number<N: std::str::FromStr>(name: &str, text: &str) -> Result<N, Refusal> {
    text.parse()
        .map_err(|_| Refusal::code(3, &format!("`{name}` is not a valid integer (`{text}`)")))
}

const FIRST_CID: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, Refusal> {
        Arguments::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_real_arguments_are_taken() {
        let line = "run-enclave --eif-path /e.eif --enclave-name e --enclave-cid 20 --cpu-count 2 --memory 128";
        let Ok(Arguments::Run(wanted)) = parse(line) else {
            panic!()
        };
        assert_eq!(
            (wanted.cid, wanted.cpus, wanted.memory_mib, wanted.debug),
            (20, 2, 128, false)
        );
        assert!(matches!(
            parse(&format!("{line} --debug-mode")),
            Ok(Arguments::Run(Wanted { debug: true, .. }))
        ));
        assert!(matches!(
            parse("terminate-enclave --enclave-name e"),
            Ok(Arguments::Terminate(Which::Name(_)))
        ));
        assert!(matches!(parse("describe-enclaves"), Ok(Arguments::Describe)));
    }

    #[test]
    fn others_are_refused() {
        for bad in [
            "",
            "run-enclave",
            "run-enclave --memory 1",
            "describe-enclaves --nonsense",
            "describe-enclaves extra",
            "terminate-enclave",
            "terminate-enclave --enclave-name a --enclave-id b",
            "run-enclave --eif-path e --cpu-count two --memory 128",
            "run-enclave --eif-path e --cpu-count 2 --memory 128 --enclave-cid 3",
            "run-enclave --eif-path e --cpu-count 2 --memory 128 --memory 128",
            "dance",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
