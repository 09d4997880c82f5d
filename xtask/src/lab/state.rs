//! What a lab says about itself: `lab.json` for those who use it, `processes.json` for `lab down`, and the list of labs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::enclave::Enclave;
use super::place::Place;
use crate::paths::Paths;
use crate::process::Identity;

/// `lab.json`. Once it is there, everything in it runs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Description {
    pub(crate) version: u32,
    /// Where the service runs.
    pub(crate) enclave: Enclave,
    /// The PKCS#11 module.
    pub(crate) module: PathBuf,
    /// What a PKCS#11 client must set.
    pub(crate) env: BTreeMap<String, String>,
    /// The token's label.
    pub(crate) token: String,
    /// The root certificate to trust.
    pub(crate) ca: PathBuf,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) keys: Vec<Key>,
    pub(crate) pids: BTreeMap<String, u32>,
    pub(crate) urls: BTreeMap<String, String>,
    /// OpenSSL's configuration with the module, by provider and by engine: for OPENSSL_CONF.
    pub(crate) openssl_conf: BTreeMap<String, PathBuf>,
    /// The words of the command that each process was started with: to start one again.
    pub(crate) commands: BTreeMap<String, Vec<String>>,
    /// Their configuration and pid files, by server.
    pub(crate) servers: BTreeMap<String, Files>,
    /// `enclave-tlsctl`.
    pub(crate) ctl: PathBuf,
    /// The agent's configuration.
    pub(crate) config: PathBuf,
    /// Where `enclave-tlsctl --socket` reaches the agent.
    pub(crate) ctl_socket: PathBuf,
    /// Where the service answers the module.
    pub(crate) signing: String,
    pub(crate) logs: PathBuf,
    /// What a proof of this lab's service must say.
    pub(crate) attestation: Attestation,
    /// What the agent has in its environment: where the instance's credentials are.
    pub(crate) aws_env: BTreeMap<String, String>,
    /// What an administrator's commands and AWS's own tools have there: credentials, the lab's KMS, and its root.
    pub(crate) admin_env: BTreeMap<String, String>,
    /// Its keys, by what they are for: `sealing`, `bundles`.
    pub(crate) kms_keys: BTreeMap<String, String>,
    /// The lab's CA that speaks ACME.
    pub(crate) acme: Ca,
    /// Where the KMS emulator takes faults and shows counters: `http://ADDRESS/_emulator/…`.
    pub(crate) kms_admin: String,
}

/// A certificate authority that speaks ACME: pebble.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ca {
    /// The directory's URL, as the enclave has it.
    pub(crate) directory: String,
    /// Pebble's management interface: the roots of what it issues, renewal information.
    pub(crate) management: String,
    /// The root of both interfaces.
    pub(crate) root: PathBuf,
    /// The management interface of its DNS.
    pub(crate) dns: String,
    /// Where the server `provider` serves each of its certificates, on 127.0.0.1.
    pub(crate) endpoints: BTreeMap<String, u16>,
    /// The second one, of which the lab's configuration has nothing but where it is reached.
    pub(crate) bound: Bound,
}

/// A CA that takes only accounts that are bound to one elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Bound {
    pub(crate) directory: String,
    pub(crate) management: String,
    /// What an account is bound by, the key in base64url.
    pub(crate) kid: String,
    pub(crate) mac_key: String,
    /// The profile that is not its default, and for how many seconds its certificates are valid.
    pub(crate) profile: String,
    pub(crate) profile_seconds: u64,
    /// A port for the server that a test adds.
    pub(crate) port: u16,
}

/// What a proof of this lab's service must say.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Attestation {
    /// SHA-256 of the root of the stand-in's PKI; an emulated machine signs nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) root_sha256: Option<String>,
    /// PCR0, 1 and 2, in hexadecimal.
    pub(crate) pcrs: [String; 3],
    /// The service's policy, which PCR16 measures.
    pub(crate) policy: PathBuf,
    /// PCR16 under it.
    pub(crate) pcr16: String,
    /// The stand-in's directory, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) nsm: Option<PathBuf>,
    /// The image that was booted, where one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) image: Option<PathBuf>,
}

/// One port on which a server shows one key's certificate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Endpoint {
    pub(crate) server: String,
    pub(crate) version: String,
    pub(crate) via: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The name in the certificate, to be sent as SNI.
    pub(crate) name: String,
    /// The label of the key.
    pub(crate) key: String,
    /// The label of the key whose certificate it shows to the server behind it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) client_key: Option<String>,
}

/// A key that the service holds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Key {
    pub(crate) label: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) usage: String,
    /// `born`, `imported` or `bundle`, with `-sealed` behind it where its state is sealed.
    pub(crate) origin: String,
    /// The name in its certificate.
    pub(crate) name: String,
    /// Its SPKI, PEM.
    pub(crate) public_key: PathBuf,
    /// Leaf and issuers, PEM.
    pub(crate) chain: PathBuf,
    /// Only of a key that the lab made itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) private_key: Option<PathBuf>,
}

/// What is needed to reload or upgrade a server of the lab.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Files {
    /// What program it is, as the agent's configuration says.
    pub(crate) kind: String,
    /// The name of its process.
    pub(crate) process: String,
    pub(crate) conf: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) error_log: PathBuf,
}

/// The processes of a lab, written as each begins, so that a lab that did not come up can be taken down.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Processes {
    pub(super) started: BTreeMap<String, Identity>,
    pub(super) commands: BTreeMap<String, Vec<String>>,
}

/// Writes a whole file or none.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_string_pretty(value)? + "\n")
        .with_context(|| format!("cannot write {}", new.display()))?;
    Ok(fs::rename(&new, path)?)
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not as it should be", path.display()))
}

/// Adds a lab to the list of them.
pub(super) fn register(paths: &Paths, place: &Place) -> Result<()> {
    let entry = entry(paths, place);
    if let Some(list) = entry.parent() {
        fs::create_dir_all(list)?;
    }
    Ok(fs::write(&entry, place.root().as_os_str().as_encoded_bytes())?)
}

pub(super) fn unregister(paths: &Paths, place: &Place) {
    drop(fs::remove_file(entry(paths, place))); // absent is as good
}

/// The directories of all labs that were started and not ended.
pub(super) fn registered(paths: &Paths) -> Vec<PathBuf> {
    let entries = fs::read_dir(paths.state().join("labs")).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = entries
        .filter_map(|entry| Some(fs::read_to_string(entry.path()).ok()?.into()))
        .collect();
    dirs.sort();
    dirs
}

fn entry(paths: &Paths, place: &Place) -> PathBuf {
    let name = hex::encode(Sha256::digest(place.root().as_os_str().as_encoded_bytes()));
    paths.state().join("labs").join(name)
}
