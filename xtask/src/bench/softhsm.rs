//! A SoftHSM2 token of the benchmark's own, with the keys that the lab's service holds too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::lab::{Description, Key};
use crate::process;

/// The token.
pub(super) struct SoftHsm {
    config: PathBuf,
}

impl SoftHsm {
    /// Makes the token in a new directory and imports the keys that the benchmark signs with.
    pub(super) fn create(dir: &Path, lab: &Description) -> Result<Self> {
        let tokens = dir.join("tokens");
        fs::create_dir_all(&tokens)?;
        let softhsm = Self {
            config: dir.join("softhsm2.conf"),
        };
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(&softhsm.config, text)?;
        let label = ["--label", TOKEN, "--so-pin", PIN, "--pin", PIN];
        process::run(softhsm.tool().args(["--init-token", "--free"]).args(label))?;
        for (number, kind) in ["P-256", "RSA-2048"].into_iter().enumerate() {
            let key = signing_key(lab, kind)?;
            let file = key.private_key.as_deref().context("an imported key has a file")?;
            let id = format!("{:02x}", number + 1);
            let names = ["--token", TOKEN, "--label", &key.label, "--id", &id, "--pin", PIN];
            process::run(softhsm.tool().arg("--import").arg(file).args(names))?;
        }
        Ok(softhsm)
    }

    /// For SOFTHSM2_CONF.
    pub(super) fn config(&self) -> &Path {
        &self.config
    }

    fn tool(&self) -> Command {
        let mut command = Command::new("softhsm2-util");
        command.env("SOFTHSM2_CONF", &self.config);
        command
    }
}

/// The key of the lab that is signed with: imported, so that others can have it, and for digests, which all can sign.
pub(super) fn signing_key<'a>(lab: &'a Description, kind: &str) -> Result<&'a Key> {
    let fits = |key: &&Key| key.kind == kind && key.usage == "digest" && key.private_key.is_some();
    lab.keys
        .iter()
        .find(fits)
        .with_context(|| format!("the lab has no imported {kind} key for digests"))
}

pub(super) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(super) const TOKEN: &str = "bench";
/// Guards nothing.
pub(super) const PIN: &str = "1234";
