//! A second CA that speaks ACME, for tests that bring account and certificate themselves: it takes only accounts that are bound to one
//! elsewhere, refuses nine of ten nonces, looks at no proof and asks for none twice, and has profiles and three chains.

use anyhow::Result;
use serde_json::json;

use super::acme::{self, Pebble};
use super::ports::Ports;
use super::service::Starter;
use super::state::Bound;

/// Where it is.
pub(super) struct Second {
    acme: u16,
    management: u16,
    /// Nobody listens there: its answers need no looking at.
    nobody: u16,
    /// For the server that serves what it issues.
    served: u16,
}

impl Second {
    pub(super) fn take(ports: &mut Ports) -> Result<Self> {
        Ok(Self {
            acme: ports.take()?,
            management: ports.take()?,
            nobody: ports.take()?,
            served: ports.take()?,
        })
    }

    pub(super) fn start(&self, starter: &mut Starter<'_>, program: &str, dns: u16) -> Result<()> {
        let pebble = Pebble {
            name: NAME,
            host: HOST,
            acme: self.acme,
            management: self.management,
            validated: self.nobody,
            dns,
        };
        let configuration = json!({
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": {KID: MAC_KEY},
            "profiles": {
                "default": {"description": "three months", "validityPeriod": 7_776_000},
                PROFILE: {"description": "six days", "validityPeriod": PROFILE_SECONDS},
            },
        });
        let variables = [
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "90"),
            ("PEBBLE_ALTERNATE_ROOTS", "2"),
            ("PEBBLE_VA_ALWAYS_VALID", "1"),
            // What an account has proven it need not prove again: then its names are approved beforehand, as ACM's are.
            ("PEBBLE_AUTHZREUSE", "100"),
        ];
        let variables = variables.map(|(name, value)| (name, value.to_owned()));
        pebble.start(starter, program, configuration, &variables)?;
        acme::answers(starter, NAME, self.acme)?;
        acme::answers(starter, NAME, self.management)
    }

    /// For the agent's `[egress]`.
    pub(super) fn egress(&self) -> String {
        format!("{HOST}:443=127.0.0.1:{}", self.acme)
    }

    /// What tests need of it.
    pub(super) fn described(&self) -> Bound {
        Bound {
            directory: DIRECTORY.to_owned(),
            management: format!("https://127.0.0.1:{}", self.management),
            kid: KID.to_owned(),
            mac_key: MAC_KEY.to_owned(),
            profile: PROFILE.to_owned(),
            profile_seconds: PROFILE_SECONDS,
            port: self.served,
        }
    }
}

/// How many ports it takes.
pub(super) const PORTS: usize = 4;
pub(super) const HOST: &str = "bound-ca.lab.test";
pub(super) const DIRECTORY: &str = "https://bound-ca.lab.test/dir";
const NAME: &str = "acme-bound";
const KID: &str = "lab-kid-1";
/// In base64url, as CAs give it: the key of a lab.
const MAC_KEY: &str = "bGFiLWxhYi1sYWItbGFiLWxhYi1sYWItbGFiLWxhYiE";
const PROFILE: &str = "shortlived";
const PROFILE_SECONDS: u64 = 6 * 86_400;
