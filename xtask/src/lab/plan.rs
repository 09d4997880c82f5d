//! What a lab consists of: its keys, and the servers with the keys that each serves.

use std::collections::BTreeSet;
use std::fmt;

use super::place::{HAPROXY, WORKERS};

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
    /// The name that its certificate alone has.
    pub(crate) fn host(&self) -> String {
        format!("{}.lab.test", self.name.trim_start_matches("lab-"))
    }

    /// The name that it shares with the key of the other type: a client of a server with both gets the one that it can verify.
    pub(crate) fn shared_host(&self) -> String {
        let name = self.name.trim_start_matches("lab-");
        let (name, _kind) = name.rsplit_once('-').unwrap_or((name, ""));
        format!("{name}.lab.test")
    }

    /// All names in its certificate.
    pub(super) fn hosts(&self) -> Vec<String> {
        if self.usage == "tls-client" {
            return vec![self.host()];
        }
        vec![self.host(), self.shared_host()]
    }

    /// Those whose servers use it.
    pub(super) fn clients(&self) -> BTreeSet<&'static str> {
        let users = Via::OF_THE_SERVICE.into_iter().filter(|via| via.uses(self));
        users.map(Via::client).collect()
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
    Rsa4096,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    /// As `enclave-tlsctl create --type` takes it.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa4096 => "rsa-4096",
            Self::P256 => "p-256",
            Self::P384 => "p-384",
            Self::Ed25519 => "ed25519",
        }
    }

    /// As `openssl genpkey` takes it.
    pub(super) fn openssl(self) -> &'static [&'static str] {
        match self {
            Self::Rsa2048 => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            Self::Rsa4096 => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"],
            Self::P256 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Self::Ed25519 => &["-algorithm", "ED25519"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa4096 => "RSA-4096",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
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

/// The servers of a lab, by what they are and which way they take their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// NGINX by the provider.
    Provider,
    /// NGINX by the engine.
    Engine,
    /// NGINX by the provider, and for both of its sides: it proxies with a client certificate.
    Proxy,
    /// NGINX with keys in files: the control, whose memory must show what the others' must not.
    File,
    HttpdProvider,
    HttpdEngine,
    /// By the provider, and in a chroot.
    Haproxy,
}

impl Via {
    /// Those that are NGINX.
    pub(crate) const NGINX: [Self; 4] = [Self::Provider, Self::Engine, Self::Proxy, Self::File];
    /// Those that take keys from the service.
    pub(super) const OF_THE_SERVICE: [Self; 6] = [
        Self::Provider,
        Self::Engine,
        Self::Proxy,
        Self::HttpdProvider,
        Self::HttpdEngine,
        Self::Haproxy,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Engine => "engine",
            Self::Proxy => "proxy",
            Self::File => "file",
            Self::HttpdProvider => "httpd-provider",
            Self::HttpdEngine => "httpd-engine",
            Self::Haproxy => "haproxy",
        }
    }

    /// The configuration of OpenSSL that it has; none: its keys are in files.
    pub(super) fn openssl(self) -> Option<&'static str> {
        match self {
            Self::Provider | Self::Proxy | Self::HttpdProvider | Self::Haproxy => Some("provider"),
            Self::Engine | Self::HttpdEngine => Some("engine"),
            Self::File => None,
        }
    }

    /// Whose credential it has.
    pub(super) fn client(self) -> &'static str {
        if self == Self::Haproxy { HAPROXY } else { WORKERS }
    }

    /// Whether it has this key: to serve with, or to show to the server behind it.
    pub(super) fn uses(self, plan: &KeyPlan) -> bool {
        let shows = self == Self::Proxy && plan.usage == "tls-client";
        shows || self.serves().iter().any(|served| served.name == plan.name)
    }

    /// The keys that it serves.
    pub(crate) fn serves(self) -> Vec<KeyPlan> {
        let wanted = |key: &KeyPlan| match self {
            Self::Provider => key.usage == "tls",
            Self::Engine | Self::HttpdEngine => key.usage == "digest",
            Self::Proxy => key.usage == "tls" && key.origin == Origin::Born,
            Self::File => key.usage == "tls" && key.origin == Origin::Imported,
            // Those that outlive a restart of the service.
            Self::HttpdProvider | Self::Haproxy => {
                key.usage == "tls" && matches!(key.origin, Origin::Sealed | Origin::Imported)
            }
        };
        KEYS.into_iter().filter(wanted).collect()
    }

    /// What it serves, an RSA and an ECDSA certificate of one name together.
    pub(super) fn pairs(self) -> Vec<[KeyPlan; 2]> {
        let served = self.serves();
        let rsa = served.iter().filter(|key| key.kind == Kind::Rsa2048);
        let pairs = rsa.filter_map(|rsa| {
            let is_other = |key: &&KeyPlan| key.kind == Kind::P256 && key.shared_host() == rsa.shared_host();
            Some([*rsa, *served.iter().find(is_other)?])
        });
        pairs.collect()
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
