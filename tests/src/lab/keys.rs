//! Keys of a test's own, made through `enclave-tlsctl` and retired when the test ends.

use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use enclave_tls_admin::client::Client;
use enclave_wire::KeyId;
use enclave_wire::control::{Request, RevokeCredential};
use enclave_wire::credential::CredentialId;
use serde_json::Value;

use super::program::{openssl, run, succeed};
use super::scratch::Scratch;
use super::{Key, Lab};

/// The client that the lab's own credential belongs to.
pub const WEB_SERVERS: &str = "www-data";

/// A key that was born in the service for one test.
pub struct TestKey<'a> {
    lab: &'a Lab,
    /// What a lab's key has.
    pub key: Key,
    scratch: Scratch,
}

impl<'a> TestKey<'a> {
    /// Makes a key for `client`; `kind` is as in `lab.json`: `P-384`, `Ed25519`, …
    pub fn create(lab: &'a Lab, label: &str, kind: &str, usage: &str, client: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let wanted = ["create", label, "--type", &kind.to_ascii_lowercase(), "--usage", usage];
        let made = lab.ctl(&[&wanted[..], &["--dns-name", "e2e.lab.test", "--client", client]].concat())?;
        let id = made
            .get("id")
            .and_then(Value::as_str)
            .context("enclave-tlsctl named no id")?
            .to_owned();
        let public_key = scratch.file("spki.pem");
        let key = Key {
            label: label.to_owned(),
            kind: kind.to_owned(),
            id,
            usage: usage.to_owned(),
            origin: "born".to_owned(),
            public_key,
            chain: scratch.file("chain.pem"),
            private_key: None,
        };
        let made = Self { lab, key, scratch };
        made.write_public_key()?;
        Ok(made)
    }

    /// Its id, as the signing plane names it.
    pub fn id(&self) -> Result<KeyId> {
        let id = hex::decode(&self.key.id)?.try_into();
        Ok(KeyId(id.map_err(|_| anyhow!("not a key's id"))?))
    }

    /// Retires it now.
    pub fn retire(&self) -> Result<()> {
        self.lab.ctl(&["retire", "--yes", &self.key.id]).map(drop)
    }

    /// From the certificate request, which does not come from the module.
    fn write_public_key(&self) -> Result<()> {
        let request = self.scratch.file("csr.pem");
        self.lab
            .ctl(&["csr", &self.key.id, "--out", &request.display().to_string()])?;
        let pem = succeed(
            openssl()
                .args(["req", "-verify", "-noout", "-pubkey", "-in"])
                .arg(&request),
        )?;
        Ok(std::fs::write(&self.key.public_key, pem)?)
    }
}

impl Drop for TestKey<'_> {
    fn drop(&mut self) {
        drop(self.retire()); // it may be retired already, or the service is gone
    }
}

impl Lab {
    /// Runs one command of `enclave-tlsctl` and returns its JSON.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Value> {
        let printed = succeed(self.ctl_command()?.arg("--json").args(arguments))?;
        serde_json::from_str(&printed)
            .with_context(|| format!("enclave-tlsctl {arguments:?} printed no JSON: {printed}"))
    }

    /// `enclave-tlsctl status`, which says by its exit status whether something needs attention.
    pub fn status(&self) -> Result<Value> {
        let ran = run(self.ctl_command()?.args(["--json", "status"]))?;
        ensure!(
            [Some(0), Some(3)].contains(&ran.status.code()),
            "no status: {}",
            ran.printed()
        );
        serde_json::from_str(&ran.stdout).with_context(|| format!("no JSON: {}", ran.stdout))
    }

    /// Takes a credential away from a client, as the agent does at the end of its grace time.
    pub fn revoke(&self, client: &str, credential: &str) -> Result<()> {
        let id = hex::decode(credential)?.try_into().map(CredentialId);
        let request = Request::RevokeCredential(RevokeCredential {
            client: client.parse().map_err(|_| anyhow!("no name"))?,
            id: id.map_err(|_| anyhow!("no credential's id"))?,
        });
        let asked = Client::new(&self.ctl_socket).ask(request);
        asked.map(drop).map_err(|error| anyhow!("{error}"))
    }

    /// `enclave-tlsctl`, speaking to this lab's service.
    pub fn ctl_command(&self) -> Result<Command> {
        let mut command = Command::new(&self.ctl);
        command.arg("--socket").arg(&self.ctl_socket);
        Ok(command)
    }
}
