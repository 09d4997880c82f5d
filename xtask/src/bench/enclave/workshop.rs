//! An image with a policy of its own, the machine for it, and `machinebench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::bench::runner;
use crate::image::{self, INIT, Inputs};
use crate::machine::{self, Boot, Machine};
use crate::paths::Paths;
use crate::process;

/// What every measurement needs.
pub(super) struct Workshop {
    workspace: PathBuf,
    machine: Machine,
    program: PathBuf,
    dir: PathBuf,
    image: PathBuf,
    /// Of the image.
    pub(super) bytes: u64,
    /// Of the files in its ramdisks.
    pub(super) unpacked: u64,
}

impl Workshop {
    /// Writes the image into a directory that is not there yet.
    pub(super) fn open(paths: &Paths, dir: &Path) -> Result<Self> {
        fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let machine = machine::set_up(paths)?;
        let policy = dir.join("policy.toml");
        fs::write(&policy, POLICY)?;
        let inputs = Inputs::collect(paths, INIT, Some(&policy))?;
        let image = dir.join("enclave-tls.eif");
        let written = image::write(paths, &inputs, &image)?;
        Ok(Self {
            workspace: paths.workspace().to_owned(),
            machine,
            program: paths.target().join("release/machinebench"),
            dir: dir.to_owned(),
            image,
            bytes: written.bytes,
            unpacked: u64::try_from(inputs.program.len() + inputs.policy.len())?,
        })
    }

    /// Where a lab may be.
    pub(super) fn lab(&self) -> PathBuf {
        self.dir.join("lab")
    }

    /// What signs through the module.
    pub(super) fn signer(&self) -> Result<PathBuf> {
        runner::signer(&self.workspace, &self.dir)
    }

    /// A machine of this size, as `machinebench` takes it: in a directory of its own.
    pub(super) fn machine(&self, name: &str, mebibytes: u32) -> Result<Value> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let boot = Boot {
            image: &self.image,
            dir: &dir,
            mebibytes,
            cpus: CPUS,
            append: "parent_cid=2",
            knock: LOGS,
        };
        Ok(json!({
            "device": self.machine.vsock_words(&dir),
            "qemu": self.machine.qemu_words(&boot),
            "dir": dir,
            "mebibytes": mebibytes,
        }))
    }

    /// Has `machinebench` measure, with these variables in its environment.
    pub(super) fn measure<T: DeserializeOwned>(
        &self,
        command: &str,
        plan: &Value,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<T> {
        let file = self.dir.join(format!("{command}.json"));
        fs::write(&file, serde_json::to_string_pretty(plan)?)?;
        let mut measured = Command::new(&self.program);
        let answer = process::capture(measured.arg(command).arg(file).envs(variables))?;
        serde_json::from_str(&answer).with_context(|| format!("machinebench answers {answer}"))
    }
}

/// No more than is measured here: P-256 keys that the guest makes, RSA-2048 keys that it is given, signatures that need no handshake around
/// them, and a machine whose NSM signs nothing and whose clock is no hypervisor's.
const POLICY: &str = r#"version = 1
imports = true

[[names]]
pattern = "lab-*"
usages = ["digest"]

[keys]
rsa = { min = 2048, max = 2048 }
curves = ["P-256"]

[attestation]
unsigned = true

[clock]
any_source = true
"#;

/// A real enclave has whole cores, of two threads each.
const CPUS: u32 = 2;
/// Where PID 1 dials first of all.
const LOGS: u32 = 442;
