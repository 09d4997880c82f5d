//! What its settings are here, and what has no counterpart.

use std::collections::BTreeSet;

use enclave_policy::aws::{KeyArn, Region, Service, host};
use enclave_tls_admin::s3::Location;
use enclave_tls_config::{Group, Kind};
use enclave_wire::Name;

use super::incumbent::{Acm, Dropped, Source, Token};

/// A configuration, and what differs.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) cpus: u32,
    pub(super) memory: u32,
    pub(super) kind: Kind,
    /// Of the server's client.
    pub(super) group: String,
    pub(super) certificates: Vec<Certificate>,
    /// Hosts that bundles need; none: nothing needs AWS.
    pub(super) hosts: BTreeSet<String>,
    pub(super) differences: Vec<Difference>,
}

#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) name: Name,
    /// What it was there.
    pub(super) was: String,
    pub(super) from: From,
}

#[derive(Debug)]
pub(super) enum From {
    /// A key that is born here.
    Born,
    S3 {
        uri: String,
        region: String,
        kms_key: String,
    },
    File {
        path: String,
        kms_key: String,
    },
}

/// Something that is not the same here.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) what: String,
    pub(super) todo: String,
}

pub(super) fn convert(acm: &Acm, kms_key: Option<&KeyArn>, region: Option<&Region>) -> Converted {
    let kind = match acm.service.as_deref() {
        Some("httpd") => Kind::Httpd,
        _ => Kind::Nginx,
    };
    let mut converted = Converted {
        cpus: acm.cpu_count.unwrap_or(2).max(1),
        memory: acm.memory_mib.unwrap_or(LEAST_MEMORY).max(LEAST_MEMORY),
        kind,
        group: usual_group(kind).to_owned(),
        certificates: Vec::new(),
        hosts: BTreeSet::new(),
        differences: Vec::new(),
    };
    converted.service(acm);
    converted.groups(acm);
    for token in &acm.tokens {
        let Some(name) = converted.name(token) else { continue };
        let from = converted.from(token, &name, kms_key, region);
        converted.include(token, &name);
        let was = match &token.source {
            Source::Acm { arn } => format!("token {}: ACM {arn}", token.label),
            Source::S3 { uri } => format!("token {}: {uri}", token.label),
            Source::File { path } => format!("token {}: {path}", token.label),
        };
        converted.certificates.push(Certificate { name, was, from });
    }
    for dropped in &acm.dropped {
        let (what, todo) = in_words(*dropped);
        converted.differs(what, todo);
    }
    for (line, what) in &acm.strangers {
        converted.differs(
            format!("line {line}: {what} is not known, and nothing was done with it"),
            "look up what it meant there",
        );
    }
    converted.at_the_end();
    converted
}

impl Converted {
    fn differs(&mut self, what: impl Into<String>, todo: impl Into<String>) {
        self.differences.push(Difference {
            what: what.into(),
            todo: todo.into(),
        });
    }

    fn service(&mut self, acm: &Acm) {
        if let Some(service) = acm
            .service
            .as_deref()
            .filter(|service| !matches!(*service, "nginx" | "httpd"))
        {
            self.differs(
                format!("service {service} is not known here; nginx was written in its place"),
                "write nginx, httpd or haproxy for kind under [servers.main]",
            );
        }
    }

    /// One server has one client.
    fn groups(&mut self, acm: &Acm) {
        let named = acm
            .tokens
            .iter()
            .filter_map(|token| token.group.as_ref().or(token.user.as_ref()));
        let groups: BTreeSet<_> = named.filter(|group| group.parse::<Group>().is_ok()).cloned().collect();
        if let Some(first) = groups.first() {
            first.clone_into(&mut self.group);
        }
        if groups.len() > 1 {
            let all: Vec<_> = groups.iter().map(String::as_str).collect();
            self.differs(
                format!(
                    "tokens name several users or groups ({}), and one server has one client: {} was taken",
                    all.join(", "),
                    self.group
                ),
                "set group under [clients.web] to the group that the server's workers run as",
            );
        }
    }

    /// The label, as far as it can be a name, and unlike the others.
    fn name(&mut self, token: &Token) -> Option<Name> {
        let allowed = |c: char| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') => c,
            _ => '-',
        };
        let plain: String = token.label.chars().map(allowed).take(MAX_NAME).collect();
        let begun = match plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()) {
            "" => "certificate",
            begun => begun,
        };
        let taken = |name: &Name| self.certificates.iter().any(|one| one.name == *name);
        let mut candidates =
            std::iter::once(begun.to_owned()).chain((2u32..).map(|number| format!("{begun}-{number}")));
        let name = candidates.find_map(|text| text.parse().ok().filter(|name| !taken(name)))?;
        if name.as_str() != token.label {
            self.differs(
                format!("token {} is called {name} here", token.label),
                "another name is as good: change it in the configuration before the first start",
            );
        }
        Some(name)
    }

    fn from(&mut self, token: &Token, name: &Name, kms_key: Option<&KeyArn>, region: Option<&Region>) -> From {
        match &token.source {
            Source::Acm { arn } => {
                self.differs(
                    format!("{name}: ACM gives the private key of {arn} to AWS's own image alone, so a new key is born here, and needs a certificate of its own"),
                    format!(
                        "put its DNS names in place of {PLACEHOLDER} (aws acm describe-certificate --certificate-arn {} --query \
                         Certificate.SubjectAlternativeNames), start, then `enclave-tlsctl csr {name}`, have a CA sign it, `enclave-tlsctl \
                         install {name} CHAIN.pem`. A certificate that ACM exports can come as a bundle instead: `enclave-tlsctl seal --help`",
                        if arn.is_empty() { "ARN" } else { arn }
                    ),
                );
                From::Born
            }
            Source::S3 { uri } if uri.parse::<Location>().is_ok() => {
                let region = region
                    .map(ToString::to_string)
                    .or_else(|| kms_key.map(|key| key.region().to_string()));
                let region = region.unwrap_or_else(|| {
                    self.differs(
                        format!("{name}: the region of {uri} is not in its file"),
                        format!("correct region of {name}, or give --region"),
                    );
                    UNKNOWN_REGION.to_owned()
                });
                let kms_key = self.bundle(name, kms_key);
                if let Ok(region) = region.parse::<Region>() {
                    self.hosts.insert(host(Service::S3, &region).to_string());
                }
                From::S3 {
                    uri: uri.clone(),
                    region,
                    kms_key,
                }
            }
            Source::File { path } if path.starts_with('/') => {
                let kms_key = self.bundle(name, kms_key);
                From::File {
                    path: path.clone(),
                    kms_key,
                }
            }
            Source::S3 { uri: place } | Source::File { path: place } => {
                self.differs(
                    format!("{name}: {place} is no s3://BUCKET/KEY and no absolute path; a key that is born here was written instead"),
                    "write source = \"bundle\" with the right place",
                );
                From::Born
            }
        }
    }

    /// A bundle's KMS key, and what it needs.
    fn bundle(&mut self, name: &Name, kms_key: Option<&KeyArn>) -> String {
        self.differs(
            format!("{name}: its bundle has no encryption context, so nothing but the key ties it to a name; and whoever wrote it has had the private key"),
            "name its KMS key under [bundles] keys in the policy and set foreign = true there; better: `enclave-tlsctl seal` the key again, or have one born here",
        );
        let key = kms_key.map(ToString::to_string).unwrap_or_else(|| {
            self.differs(
                format!("{name}: the KMS key that its bundle is encrypted under is not in its file"),
                format!("correct kms_key of {name}, or give --kms-key"),
            );
            UNKNOWN_KEY.to_owned()
        });
        if let Ok(arn) = key.parse::<KeyArn>() {
            self.hosts.insert(host(Service::Kms, arn.region()).to_string());
        }
        key
    }

    /// What web servers include from now on.
    fn include(&mut self, token: &Token, name: &Name) {
        let Some(path) = &token.path else { return };
        let (file, directive) = match self.kind {
            Kind::Nginx => ("nginx.conf", "include"),
            Kind::Httpd => ("httpd.conf", "Include"),
            Kind::Haproxy => ("haproxy.pem", "crt"),
        };
        self.differs(
            format!("{name}: the other program writes {path}; here there is a constant path"),
            format!("in the server's configuration, `{directive} /etc/enclave-tls/live/{name}/{file}` in place of `{directive} {path}`"),
        );
    }

    /// What every web server's configuration has from there.
    fn at_the_end(&mut self) {
        let engine = match self.kind {
            Kind::Nginx => "remove `ssl_engine pkcs11;` from nginx.conf, and add `env OPENSSL_CONF;` at its top",
            Kind::Httpd | Kind::Haproxy => {
                "remove `SSLCryptoDevice pkcs11` from the server's configuration, unless key = \"engine\" is set under [servers.main]"
            }
        };
        self.differs(
            "servers there took keys through OpenSSL's engine; here through its provider, whose keys sign TLS only",
            engine,
        );
        self.differs(
            "both programs would use the same vCPUs, huge pages and web servers",
            "systemctl disable --now nitro-enclaves-acm, before enclave-tls-enclave is started; then enclave-tlsctl check",
        );
    }
}

fn in_words(dropped: Dropped) -> (&'static str, &'static str) {
    match dropped {
        Dropped::ImagePath => (
            "image_path names AWS's image",
            "nothing: the package's own image is configured",
        ),
        Dropped::BootTimeout => (
            "boot_timeout_ms has no counterpart",
            "nothing: the enclave is started again with growing waits",
        ),
        Dropped::Ports => (
            "p11kit_port and rpc_port have no counterpart",
            "nothing: no p11-kit is used; signing under [enclave] is the address",
        ),
        Dropped::AttestationRetries => (
            "attestation_retry_count has no counterpart",
            "nothing: it is tried for ever, with growing waits",
        ),
        Dropped::ForceStart => (
            "force_start: no web server is ever started or restarted here",
            "systemctl enable the server; it is only reloaded",
        ),
        Dropped::ReloadWait => (
            "reload_wait_ms has no counterpart",
            "nothing: a reload is tested first, and needs no waiting",
        ),
        Dropped::SyncInterval => (
            "sync_interval_secs has no counterpart",
            "nothing: changes are seen within 30 seconds",
        ),
        Dropped::RefreshInterval => (
            "refresh_interval_secs has no counterpart",
            "nothing: attestation is made anew whenever KMS is asked",
        ),
        Dropped::Log => (
            "log has no counterpart",
            "log under [agent] says how, not how much: auto, journald, json or text",
        ),
        Dropped::Pin => (
            "pin: here no PIN gives access",
            "nothing: a client has a credential that only its group can read",
        ),
        Dropped::Bucket => ("bucket: ACM's buckets are not read", "nothing"),
    }
}

fn usual_group(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "nginx",
        Kind::Httpd => "apache",
        Kind::Haproxy => "haproxy",
    }
}

/// A name that cannot be resolved (RFC 2606), so that nobody takes it for done.
pub(super) const PLACEHOLDER: &str = "replace-me.invalid";
/// Keys that nobody has.
const UNKNOWN_KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000";
const UNKNOWN_REGION: &str = "us-east-1";
/// What the image needs.
const LEAST_MEMORY: u32 = 128;
/// Of 64, less a number.
const MAX_NAME: usize = 56;
