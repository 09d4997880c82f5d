//! The lab's KMS, as an administrator changes it.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Lab;
use super::program::succeed;

/// The sealing key's policy, put back when the test ends.
pub struct KeyPolicy {
    before: String,
    key: String,
    env: BTreeMap<String, String>,
}

impl KeyPolicy {
    /// What it is now.
    pub fn remember(lab: &Lab) -> Result<Self> {
        let key = lab.kms_keys["sealing"].clone();
        let env = lab.admin_env.clone();
        let before = boto3(
            &env,
            "print(kms.get_key_policy(KeyId=sys.argv[1], PolicyName='default')['Policy'])",
            &[&key],
        )?;
        Ok(Self { before, key, env })
    }

    /// The policy that `policy generate` writes for these pairs of PCR0 and PCR16.
    pub fn put(&self, lab: &Lab, pairs: &[&str]) -> Result<()> {
        let generate = [
            "--json",
            "policy",
            "generate",
            "--for",
            "sealing",
            "--key-arn",
            &self.key,
        ];
        let mut command = Command::new(&lab.ctl);
        command
            .args(generate)
            .args(["--role", INSTANCE, "--admin", ADMINISTRATOR]);
        command.args(pairs.iter().flat_map(|pair| ["--measured", pair]));
        let written: Value = serde_json::from_str(&succeed(&mut command)?)?;
        self.put_text(&written["key_policy"].to_string())
    }

    fn put_text(&self, policy: &str) -> Result<()> {
        let put = "kms.put_key_policy(KeyId=sys.argv[1], PolicyName='default', Policy=sys.argv[2])";
        boto3(&self.env, put, &[&self.key, policy]).map(drop)
    }
}

impl Drop for KeyPolicy {
    fn drop(&mut self) {
        if let Err(error) = self.put_text(&self.before) {
            eprintln!("the lab's key policy is not as it was: {error:#}");
        }
    }
}

/// KMS fails at every request, until this is dropped.
pub struct Outage<'a>(&'a Lab);

impl<'a> Outage<'a> {
    /// From now on.
    pub fn begin(lab: &'a Lab) -> Result<Self> {
        emulator(lab, "PUT", "faults", r#"{"error": "unavailable"}"#)?;
        Ok(Self(lab))
    }
}

impl Drop for Outage<'_> {
    fn drop(&mut self) {
        if let Err(error) = emulator(self.0, "DELETE", "faults", "") {
            eprintln!("the lab's KMS fails on: {error:#}");
        }
    }
}

/// How many requests of an operation KMS has carried out for whoever showed an attestation document.
pub fn attested(lab: &Lab, operation: &str) -> Result<u64> {
    let counters: Value = serde_json::from_str(&emulator(lab, "GET", "counters", "")?)?;
    Ok(counters["operations"][operation]["attested"].as_u64().unwrap_or(0))
}

/// Asks the emulator itself.
fn emulator(lab: &Lab, method: &str, what: &str, body: &str) -> Result<String> {
    let ask = "import urllib.request\nmethod, url, body = sys.argv[1:]\n\
               request = urllib.request.Request(url, body.encode() or None, method=method)\n\
               print(urllib.request.urlopen(request, timeout=10).read().decode())";
    let url = format!("http://{}/_emulator/{what}", lab.kms_admin);
    boto3(&lab.admin_env, ask, &[method, &url, body])
}

/// Runs a line of Python with AWS's own library, as the administrator.
fn boto3(env: &BTreeMap<String, String>, line: &str, arguments: &[&str]) -> Result<String> {
    let python = std::env::var_os("ENCLAVE_TLS_PYTHON").context("ENCLAVE_TLS_PYTHON names no Python")?;
    let script = format!("import sys, boto3\nkms = boto3.client('kms')\n{line}\n");
    succeed(
        Command::new(python)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .envs(env)
            .args(["-c", &script])
            .args(arguments),
    )
}

const INSTANCE: &str = "arn:aws:iam::111122223333:role/instance";
const ADMINISTRATOR: &str = "arn:aws:iam::111122223333:role/administrator";
