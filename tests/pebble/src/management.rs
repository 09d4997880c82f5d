//! Pebble's management interface.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::Pebble;

impl Pebble {
    /// The root (PEM) of chain `number`: 0 is the default one's.
    pub fn issuing_root(&self, number: u8) -> Result<String> {
        Ok(String::from_utf8(self.management().get(&format!("/roots/{number}"))?)?)
    }

    /// What it will say of a certificate (PEM) when it is asked when to renew: as it is, whatever it is.
    pub fn set_renewal_info(&self, leaf: &str, answer: &str) -> Result<()> {
        let body = json!({"certificate": leaf, "ariResponse": answer});
        self.management()
            .post("/set-renewal-info/", &body.to_string())
            .map(drop)
    }

    /// `Valid` or `Revoked`, by a serial number in hexadecimal; and the reason's code where it is revoked.
    pub fn certificate_status(&self, serial: &str) -> Result<(String, Option<u64>)> {
        let reply = self.management().get(&format!("/cert-status-by-serial/{serial}"))?;
        let reply: Value = serde_json::from_slice(&reply).context("no such certificate")?;
        let status = reply["Status"].as_str().context("no status")?;
        Ok((status.to_owned(), reply["Reason"].as_u64()))
    }
}
