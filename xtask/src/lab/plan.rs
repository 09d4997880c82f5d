//! What a lab consists of: its keys, and the NGINX servers with the keys that each serves.

use std::fmt;

/// A key of the lab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyPlan {
    /// Its name in the service, which is its label in PKCS#11.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) usage: &'static str,
    pub(crate) origin: Origin,
}

impl KeyPlan {
    /// The name in its certificate.
    pub(crate) fn host(&self) -> String {
        format!("{}.lab.test", self.name.trim_start_matches("lab-"))
    }

    /// The extended key usage that its certificate has.
    pub(crate) fn purpose(&self) -> &'static str {
        if self.usage == "tls-client" {
            "clientAuth"
        } else {
            "serverAuth"
        }
    }
}

/// Type and size of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa2048,
    P256,
}

impl Kind {
    /// As `enclave-tlsctl create --type` takes it.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::P256 => "p-256",
        }
    }

    /// As `openssl genpkey` takes it.
    pub(super) fn openssl(self) -> [&'static str; 4] {
        match self {
            Self::Rsa2048 => ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            Self::P256 => ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rsa2048 => "RSA-2048",
            Self::P256 => "P-256",
        })
    }
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Born in the service, which never gives it away. It is gone when the service ends.
    Born,
    /// Made by the lab, so that tests know it and a restarted service gets it back.
    Imported,
}

/// Which way an NGINX takes its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Provider,
    Engine,
    /// By the provider, and for both of its sides: it proxies with a client certificate.
    Proxy,
    /// From a file: the control, whose memory must show what the others' must not.
    File,
}

impl Via {
    pub(crate) const ALL: [Self; 4] = [Self::Provider, Self::Engine, Self::Proxy, Self::File];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Engine => "engine",
            Self::Proxy => "proxy",
            Self::File => "file",
        }
    }

    /// The keys that it serves, one endpoint each.
    pub(crate) fn serves(self) -> Vec<KeyPlan> {
        let wanted = |key: &KeyPlan| match self {
            Self::Provider => key.usage == "tls",
            Self::Engine => key.usage == "digest",
            Self::Proxy => key.usage == "tls" && key.origin == Origin::Born,
            Self::File => key.usage == "tls" && key.origin == Origin::Imported,
        };
        KEYS.into_iter().filter(wanted).collect()
    }
}

/// The client key that a proxy shows: of the type that its own side serves.
pub(super) fn client_key(kind: Kind) -> Option<KeyPlan> {
    KEYS.into_iter()
        .find(|key| key.usage == "tls-client" && key.kind == kind)
}

/// An RSA and a P-256 key born for each usage, and imported for each usage that serves.
pub(crate) const KEYS: [KeyPlan; 10] = [
    born("lab-tls-rsa", Kind::Rsa2048, "tls"),
    born("lab-tls-p256", Kind::P256, "tls"),
    born("lab-digest-rsa", Kind::Rsa2048, "digest"),
    born("lab-digest-p256", Kind::P256, "digest"),
    born("lab-tls-client-rsa", Kind::Rsa2048, "tls-client"),
    born("lab-tls-client-p256", Kind::P256, "tls-client"),
    imported("lab-imported-tls-rsa", Kind::Rsa2048, "tls"),
    imported("lab-imported-tls-p256", Kind::P256, "tls"),
    imported("lab-imported-digest-rsa", Kind::Rsa2048, "digest"),
    imported("lab-imported-digest-p256", Kind::P256, "digest"),
];

const fn born(name: &'static str, kind: Kind, usage: &'static str) -> KeyPlan {
    KeyPlan {
        name,
        kind,
        usage,
        origin: Origin::Born,
    }
}

const fn imported(name: &'static str, kind: Kind, usage: &'static str) -> KeyPlan {
    KeyPlan {
        name,
        kind,
        usage,
        origin: Origin::Imported,
    }
}
