//! How pebble behaves.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

/// How the server behaves. The default one is kind: it refuses no nonce, and proves every name anew.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names in the server's own certificate; the first is in its URLs.
    pub names: Vec<String>,
    /// None: any that are free.
    pub ports: Option<Ports>,
    /// How many of a hundred good nonces are refused.
    pub bad_nonces: u8,
    /// How many of a hundred authorisations are valid already, once the account has proven the name: with 100, and the name
    /// proven, the server is as ACM's, which wants no proof.
    pub reused_authorizations: u8,
    /// No proof is looked at: each counts as found.
    pub always_valid: bool,
    /// Other roots that each certificate has a chain to.
    pub alternate_roots: u8,
    /// Key identifiers and MAC keys (base64url). Where there are any, an account must be bound to one.
    pub bindings: BTreeMap<String, String>,
    /// Names of profiles, and for how many seconds their certificates are valid.
    pub profiles: BTreeMap<String, u64>,
    /// Names for which it issues nothing.
    pub blocked: Vec<String>,
}

/// Where everything listens, on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The ACME server.
    pub acme: u16,
    /// Its management interface.
    pub management: u16,
    /// The challenge server's management interface.
    pub challenges: u16,
    /// Where the challenge server answers HTTP-01.
    pub answers: u16,
    /// Where the ACME server looks for answers of HTTP-01: at the challenge server, or at a web server under test.
    pub validated: u16,
    /// DNS.
    pub dns: u16,
    /// DNS over HTTPS.
    pub doh: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            names: vec!["localhost".to_owned()],
            ports: None,
            bad_nonces: 0,
            reused_authorizations: 0,
            always_valid: false,
            alternate_roots: 0,
            bindings: BTreeMap::new(),
            profiles: BTreeMap::from([("default".to_owned(), 90 * 86_400)]),
            blocked: Vec::new(),
        }
    }
}

impl Options {
    pub(crate) fn configuration(&self, dir: &Path, ports: &Ports) -> Value {
        let profiles: BTreeMap<_, _> = self
            .profiles
            .iter()
            .map(|(name, seconds)| {
                (
                    name,
                    json!({"description": format!("{seconds} s"), "validityPeriod": seconds}),
                )
            })
            .collect();
        json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", ports.acme),
            "managementListenAddress": format!("127.0.0.1:{}", ports.management),
            "certificate": dir.join("server.pem"),
            "privateKey": dir.join("server.key"),
            "httpPort": ports.validated,
            "tlsPort": ports.validated,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": !self.bindings.is_empty(),
            "externalAccountMACKeys": self.bindings,
            "domainBlocklist": self.blocked,
            // Seconds. A server's word is kept: less would be none.
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
        }})
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("PEBBLE_VA_NOSLEEP", "1".to_owned()),
            ("PEBBLE_WFE_NONCEREJECT", self.bad_nonces.to_string()),
            ("PEBBLE_AUTHZREUSE", self.reused_authorizations.to_string()),
            ("PEBBLE_ALTERNATE_ROOTS", self.alternate_roots.to_string()),
        ];
        if self.always_valid {
            variables.push(("PEBBLE_VA_ALWAYS_VALID", "1".to_owned()));
        }
        variables
    }
}
