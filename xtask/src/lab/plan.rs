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

    /// Whether the agent has it made; the others are imported by hand.
    pub(super) fn is_in_inventory(&self) -> bool {
        self.origin != Origin::Imported
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
    /// Born in the service, and its state sealed under a KMS key: a restarted service gets it back.
    Sealed,
    /// Made by the lab, so that tests know it and a restarted service gets it back.
    Imported,
    /// Made by the lab, and encrypted under a KMS key that opens for the lab's enclave alone.
    Bundle,
    /// The same, read from S3, and its state sealed.
    BundleSealed,
}

impl Origin {
    /// As a statement calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Born => "born",
            Self::Sealed => "born-sealed",
            Self::Imported => "imported",
            Self::Bundle => "bundle",
            Self::BundleSealed => "bundle-sealed",
        }
    }

    /// Whether the lab has the private key.
    pub(crate) fn has_file(self) -> bool {
        !matches!(self, Self::Born | Self::Sealed)
    }
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

    /// Whether it has this key: to serve with, or to show to the server behind it.
    pub(super) fn uses(self, plan: &KeyPlan) -> bool {
        let shows = self == Self::Proxy && plan.usage == "tls-client";
        shows || self.serves().iter().any(|served| served.name == plan.name)
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

/// An RSA and a P-256 key born for each usage, imported for each usage that serves, and for `tls` one of each that comes through KMS.
pub(crate) const KEYS: [KeyPlan; 14] = [
    key("lab-tls-rsa", Kind::Rsa2048, "tls", Origin::Born),
    key("lab-tls-p256", Kind::P256, "tls", Origin::Born),
    key("lab-digest-rsa", Kind::Rsa2048, "digest", Origin::Born),
    key("lab-digest-p256", Kind::P256, "digest", Origin::Born),
    key("lab-tls-client-rsa", Kind::Rsa2048, "tls-client", Origin::Born),
    key("lab-tls-client-p256", Kind::P256, "tls-client", Origin::Born),
    key("lab-imported-tls-rsa", Kind::Rsa2048, "tls", Origin::Imported),
    key("lab-imported-tls-p256", Kind::P256, "tls", Origin::Imported),
    key("lab-imported-digest-rsa", Kind::Rsa2048, "digest", Origin::Imported),
    key("lab-imported-digest-p256", Kind::P256, "digest", Origin::Imported),
    key("lab-sealed-rsa", Kind::Rsa2048, "tls", Origin::Sealed),
    key("lab-sealed-p256", Kind::P256, "tls", Origin::Sealed),
    key("lab-bundle-p256", Kind::P256, "tls", Origin::Bundle),
    key("lab-bundle-rsa", Kind::Rsa2048, "tls", Origin::BundleSealed),
];

const fn key(name: &'static str, kind: Kind, usage: &'static str, origin: Origin) -> KeyPlan {
    KeyPlan {
        name,
        kind,
        usage,
        origin,
    }
}
