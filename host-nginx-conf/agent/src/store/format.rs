//! The TOML of the replay directory's files, both ways.

use enclave_wire::control::{KeyInfo, Origin, S3Object};
use enclave_wire::credential::{CredentialId, Verifier};
use enclave_wire::log;
use enclave_wire::{BootId, DnsName, KeyId, Name, Usage};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::error::{ItemError, Problem, item};
use super::fields::Text;
use super::{Credential, KeptBundle, KeptKey, VolatileKey};
use enclave_tls_admin::{hex, s3};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    name: Text<Name>,
    generation: u32,
    usage: Text<Usage>,
    superseded: bool,
    dns_names: Vec<Text<DnsName>>,
    clients: Vec<Text<Name>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleFile {
    name: Text<Name>,
    generation: u32,
    usage: Text<Usage>,
    superseded: bool,
    dns_names: Vec<Text<DnsName>>,
    clients: Vec<Text<Name>>,
    kms_key: Text<log::Text<256>>,
    s3: Option<Text<s3::Location>>,
    region: Option<Text<log::Text<32>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VolatileFile {
    name: Text<Name>,
    generation: u32,
    usage: Text<Usage>,
    origin: Text<Origin>,
    boot: Text<BootId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsFile {
    credential: Vec<CredentialTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialTable {
    id: Text<CredentialId>,
    verifier: Text<Verifier>,
}

pub(crate) fn key(id: KeyId, file: &str, contents: &[u8]) -> Result<KeptKey, ItemError> {
    let read: KeyFile = parse(file, contents)?;
    Ok(KeptKey {
        id,
        name: read.name.0,
        generation: read.generation,
        usage: read.usage.0,
        superseded: read.superseded,
        dns_names: read.dns_names.into_iter().map(|name| name.0).collect(),
        clients: read.clients.into_iter().map(|name| name.0).collect(),
    })
}

pub(crate) fn key_text(key: &KeptKey) -> String {
    format!(
        "name = \"{}\"\ngeneration = {}\nusage = \"{}\"\nsuperseded = {}\ndns_names = {}\nclients = {}\n",
        key.name,
        key.generation,
        key.usage,
        key.superseded,
        array(&key.dns_names),
        array(&key.clients)
    )
}

pub(crate) fn bundle(id: KeyId, file: &str, contents: &[u8]) -> Result<KeptBundle, ItemError> {
    let read: BundleFile = parse(file, contents)?;
    let object = match (read.s3, read.region) {
        (None, None) => None,
        (Some(Text(place)), Some(Text(region))) => Some(S3Object {
            region,
            bucket: place.bucket,
            key: place.key,
        }),
        _ => return Err(item(file, Problem::Object)),
    };
    Ok(KeptBundle {
        key: KeptKey {
            id,
            name: read.name.0,
            generation: read.generation,
            usage: read.usage.0,
            superseded: read.superseded,
            dns_names: read.dns_names.into_iter().map(|name| name.0).collect(),
            clients: read.clients.into_iter().map(|name| name.0).collect(),
        },
        kms_key: read.kms_key.0,
        object,
    })
}

pub(crate) fn bundle_text(bundle: &KeptBundle) -> String {
    let mut text = key_text(&bundle.key);
    text.push_str(&format!("kms_key = {}\n", quoted(bundle.kms_key.as_str())));
    if let Some(S3Object { region, bucket, key }) = &bundle.object {
        let place = format!("s3://{}/{}", bucket.as_str(), key.as_str());
        text.push_str(&format!(
            "s3 = {}\nregion = {}\n",
            quoted(&place),
            quoted(region.as_str())
        ));
    }
    text
}

pub(crate) fn volatile(id: KeyId, file: &str, contents: &[u8]) -> Result<VolatileKey, ItemError> {
    let read: VolatileFile = parse(file, contents)?;
    Ok(VolatileKey {
        id,
        name: read.name.0,
        generation: read.generation,
        usage: read.usage.0,
        origin: read.origin.0,
        boot: read.boot.0,
    })
}

pub(crate) fn volatile_text(key: &KeyInfo, boot: BootId) -> String {
    format!(
        "name = \"{}\"\ngeneration = {}\nusage = \"{}\"\norigin = \"{}\"\nboot = \"{boot}\"\n",
        key.name, key.generation, key.usage, key.origin
    )
}

pub(crate) fn credentials(file: &str, contents: &[u8]) -> Result<Vec<Credential>, ItemError> {
    let read: CredentialsFile = parse(file, contents)?;
    let credentials = read.credential.into_iter();
    Ok(credentials
        .map(|table| Credential {
            id: table.id.0,
            verifier: table.verifier.0,
        })
        .collect())
}

pub(crate) fn credentials_text(credentials: &[Credential]) -> Zeroizing<String> {
    // Enough for all of it: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(credentials.len().saturating_mul(256)));
    for credential in credentials {
        let (id, verifier) = (
            hex::encode(&credential.id.0),
            Zeroizing::new(hex::encode(&credential.verifier.0)),
        );
        for part in ["[[credential]]\nid = \"", &id, "\"\nverifier = \"", &verifier, "\"\n"] {
            text.push_str(part);
        }
    }
    text
}

/// Printable text as a basic string: it has no control characters to escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Names need no escapes: their alphabets have neither quotes nor backslashes.
fn array(names: &[impl std::fmt::Display]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn parse<T: DeserializeOwned>(file: &str, contents: &[u8]) -> Result<T, ItemError> {
    let refused = |line, message: &str| ItemError {
        file: file.to_owned(),
        line,
        // The first line alone, and never the source that the parser would quote: it may be a secret.
        problem: Problem::Toml(message.lines().next().unwrap_or_default().to_owned()),
    };
    let text = std::str::from_utf8(contents).map_err(|_| refused(None, "it is not UTF-8"))?;
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        refused(
            before.map(|text| text.matches('\n').count().saturating_add(1)),
            error.message(),
        )
    })
}
