//! The directory that says what an enclave is here, and what shall fail.
//!
//! `lab-enclave.json`:
//!
//! ```json
//! {
//!   "measurements": "/path/of/enclave-tls.json",
//!   "processes": [
//!     {"name": "vsock", "command": ["vhost-device-vsock", "…"], "ready": "/path/of/its.socket"},
//!     {"name": "bridge", "command": ["vsock-bridge", "…"], "log": "/path/of/bridge.log"},
//!     {"name": "qemu", "command": ["qemu-system-x86_64", "-m", "{memory}", "…"], "env": {"NAME": "value"}}
//!   ]
//! }
//! ```
//!
//! The processes start in this order, each after the `ready` file of the one before it has appeared. The last one's life is the
//! enclave's life. In words, `{cid}`, `{cpus}`, `{memory}`, `{image}` and `{name}` are filled in. Without `measurements` those of the
//! JSON file beside the image are told. `log` is `NAME.log` in this directory where none is given; the environment is empty but for
//! `PATH` and `env`.
//!
//! What shall fail: the file `fail` holds what the next `run-enclave` does, `fail-describe` and `fail-terminate` what those commands
//! do: `E26`; or `E26 3` for three times, `E26 always`; `hang 30` sleeps for 30 seconds first, once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::arguments::Wanted;
use crate::refusal::Refusal;

/// The directory.
pub(crate) struct Lab {
    pub(crate) dir: PathBuf,
}

impl Lab {
    /// Of the variable, or of where this program was called.
    pub(crate) fn open(program: &str) -> Result<Self> {
        let dir = match std::env::var_os(VARIABLE) {
            Some(dir) => PathBuf::from(dir),
            None => Path::new(program).parent().map(Path::to_owned).unwrap_or_default(),
        };
        ensure!(dir.join(FILE).exists(), "{VARIABLE} names no directory with a {FILE}");
        Ok(Self {
            dir: dir.canonicalize()?,
        })
    }

    /// What an enclave is here.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let path = self.dir.join(FILE);
        let plan: Plan = serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
        ensure!(!plan.processes.is_empty(), "{}: no processes", path.display());
        for process in &plan.processes {
            ensure!(
                !process.command.is_empty(),
                "{}: {} has no command",
                path.display(),
                process.name
            );
        }
        Ok(plan)
    }

    /// Held while one command looks and changes.
    pub(crate) fn lock(&self) -> Result<File> {
        let file = File::create(self.dir.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Fails where a file of this directory says so.
    pub(crate) fn injected(&self, file: &str) -> Result<(), Refusal> {
        let path = self.dir.join(file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(anyhow::Error::from(error).into()),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (first, rest) = words.split_first().context("an empty file")?;
        let rest = match rest {
            [] | ["1"] => None,
            ["always"] => Some(text.clone()),
            [count] => Some(
                count
                    .parse::<u32>()
                    .map(|n| n.saturating_sub(1))
                    .context(text.clone())?,
            )
            .filter(|n| *n > 0)
            .map(|n| format!("{first} {n}")),
            [_, _, ..] => return Err(anyhow::anyhow!("{}: {text}", path.display()).into()),
        };
        if *first == "hang" {
            fs::remove_file(&path).context("fail")?;
            let seconds = words.get(1).context("hang for how long?")?;
            sleep(Duration::from_secs(seconds.parse().context("seconds")?));
            return Ok(());
        }
        match rest {
            Some(rest) => fs::write(&path, rest).context("fail")?,
            None => fs::remove_file(&path).context("fail")?,
        }
        let number = first
            .strip_prefix('E')
            .and_then(|digits| digits.parse().ok())
            .context(text)?;
        Err(Refusal::in_process(number, "This failure was asked for by the lab."))
    }
}

/// What an enclave is in this lab.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    #[serde(default)]
    measurements: Option<PathBuf>,
    pub(crate) processes: Vec<Process>,
}

/// One of its processes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) ready: Option<PathBuf>,
    #[serde(default)]
    pub(crate) log: Option<PathBuf>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
}

impl Plan {
    /// The registers that `describe-enclaves` tells.
    pub(crate) fn measurements(&self, wanted: &Wanted) -> Result<Map<String, Value>> {
        let path = self
            .measurements
            .clone()
            .unwrap_or_else(|| wanted.image.with_extension("json"));
        let mut told = Map::new();
        let file: Value = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(told),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let Some(registers) = file.get("Measurements").and_then(Value::as_object) else {
            bail!("{} holds no Measurements", path.display());
        };
        told.insert("HashAlgorithm".into(), "Sha384 { ... }".into());
        for (name, value) in registers.iter().filter(|(name, _)| name.starts_with("PCR")) {
            let zeros = wanted.debug && ["PCR0", "PCR1", "PCR2"].contains(&name.as_str());
            told.insert(name.clone(), if zeros { "0".repeat(96).into() } else { value.clone() });
        }
        Ok(told)
    }
}

impl Process {
    /// Its command with everything filled in.
    pub(crate) fn words(&self, wanted: &Wanted) -> Vec<String> {
        let fill = |word: &String| {
            word.replace("{cid}", &wanted.cid.to_string())
                .replace("{cpus}", &wanted.cpus.to_string())
                .replace("{memory}", &wanted.memory_mib.to_string())
                .replace("{image}", &wanted.image.display().to_string())
                .replace("{name}", wanted.name.as_deref().unwrap_or_default())
        };
        self.command.iter().map(fill).collect()
    }
}

const VARIABLE: &str = "ENCLAVE_TLS_NITRO_LAB";
const FILE: &str = "lab-enclave.json";
