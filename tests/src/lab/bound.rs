//! The lab's second CA, which takes only accounts that are bound to one elsewhere.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::program::{openssl, succeed_with_input};
use super::{Lab, acme};

/// Where it is, and what it wants.
#[derive(Debug, Clone, Deserialize)]
pub struct Bound {
    /// The directory's URL.
    pub directory: String,
    /// Pebble's management interface.
    pub management: String,
    /// What an account is bound by.
    pub kid: String,
    /// Its key, in base64url.
    pub mac_key: String,
    /// The profile that is not the default one.
    pub profile: String,
    /// For how many seconds certificates of it are valid.
    pub profile_seconds: u64,
    /// A port for the server that a test adds.
    pub port: u16,
}

impl Bound {
    /// The root (PEM) of its chain of this number, and the root's common name. 0 is the default one.
    pub fn root(&self, lab: &Lab, number: u8) -> Result<(String, String)> {
        let root = acme::ask(&self.management, &lab.acme.root, &format!("/roots/{number}"), None)?;
        let subject = ["x509", "-noout", "-subject", "-nameopt", "multiline"];
        let said = succeed_with_input(openssl().args(subject), root.as_bytes())?;
        let name = said.lines().find_map(|line| line.trim().strip_prefix("commonName"));
        let name = name.context("the root has no name")?.trim_start_matches([' ', '=']);
        Ok((root, name.to_owned()))
    }

    /// Writes the file by which an account is bound, as an administrator has it written.
    pub fn bind(&self, lab: &Lab, file: &Path) -> Result<()> {
        let mut write = Command::new(&lab.ctl);
        write
            .envs(&lab.admin_env)
            .args(["acme", "eab", "--mac-key-file", "-", "--kid", &self.kid]);
        write.args(["--directory", &self.directory, "--kms-key", &lab.kms_keys["bundles"]]);
        succeed_with_input(write.arg("--out").arg(file), self.mac_key.as_bytes()).map(drop)
    }
}
