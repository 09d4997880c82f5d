//! What an end-to-end test needs: the lab that `cargo xtask lab up` started, the programs that speak to it, and a runner
//! that shows what was skipped.

pub mod acme;
pub mod added;
pub mod agent;
pub mod authority;
pub mod bound;
pub mod caa;
pub mod client;
pub mod control_line;
pub mod copied;
pub mod differences;
pub mod fault;
pub mod keys;
pub mod kms;
pub mod load;
pub mod otherwise;
pub mod port80;
pub mod process;
pub mod program;
pub mod rotating;
pub mod scratch;
pub mod second;
pub mod server;
pub mod service;
pub mod signing;
pub mod stall;
pub mod suite;
pub mod terminal;
pub mod unseen;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use self::suite::Skipped;

/// `lab.json`, as far as the tests use it.
#[derive(Debug, Deserialize)]
pub struct Lab {
    /// Where the service runs.
    pub enclave: Enclave,
    /// The PKCS#11 module.
    pub module: PathBuf,
    /// What a PKCS#11 client must set.
    pub env: BTreeMap<String, String>,
    /// The token's label.
    pub token: String,
    /// The root certificate to trust.
    pub ca: PathBuf,
    /// One port for each server and key.
    pub endpoints: Vec<Endpoint>,
    /// The keys that the service holds.
    pub keys: Vec<Key>,
    /// The processes, by name: `service`, `agent`, `nginx-provider`, …
    pub pids: BTreeMap<String, u32>,
    /// OpenSSL's configuration with the module, by `provider` and `engine`.
    pub openssl_conf: BTreeMap<String, PathBuf>,
    /// The words that each process was started with.
    pub commands: BTreeMap<String, Vec<String>>,
    /// The files of each server.
    pub servers: BTreeMap<String, Files>,
    /// `enclave-tlsctl`.
    pub ctl: PathBuf,
    /// The agent's configuration.
    pub config: PathBuf,
    /// Where `enclave-tlsctl --socket` reaches the agent.
    pub ctl_socket: PathBuf,
    /// Where the service answers the module.
    pub signing: String,
    /// The directory of all logs.
    pub logs: PathBuf,
    /// What a proof of this lab's service must say.
    pub attestation: Attestation,
    /// What the agent has in its environment.
    pub aws_env: BTreeMap<String, String>,
    /// What an administrator's commands have there.
    pub admin_env: BTreeMap<String, String>,
    /// The lab's KMS keys, `sealing` and `bundles`.
    pub kms_keys: BTreeMap<String, String>,
    /// The CA that speaks ACME.
    pub acme: acme::Ca,
    /// Where the KMS emulator shows its counters.
    pub kms_admin: String,
    /// Whether to take the time for long repeats.
    #[serde(skip)]
    pub full: bool,
}

/// What a proof of a lab's service must say.
#[derive(Debug, Clone, Deserialize)]
pub struct Attestation {
    /// SHA-256 of the root of the stand-in's PKI; an emulated machine signs nothing.
    root_sha256: Option<String>,
    /// PCR0, 1 and 2, in hexadecimal.
    pub pcrs: [String; 3],
    /// The service's policy, which PCR16 measures.
    pub policy: PathBuf,
    /// PCR16 under it.
    pub pcr16: String,
    /// The stand-in's directory, where there is one.
    nsm: Option<PathBuf>,
}

impl Attestation {
    /// The root of the stand-in's PKI; without one the test is skipped.
    pub fn root_sha256(&self) -> Result<&str> {
        let root = self.root_sha256.as_deref();
        root.ok_or_else(|| {
            Skipped("the emulated machine's NSM signs nothing, so nothing can be verified".to_owned()).into()
        })
    }

    /// The stand-in's directory; without one the test is skipped.
    pub fn nsm(&self) -> Result<&Path> {
        let dir = self.nsm.as_deref();
        dir.ok_or_else(|| Skipped("it brings an NSM of its own, and an emulated machine has one".to_owned()).into())
    }
}

/// Where a lab's service runs.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Enclave {
    /// A process of this machine.
    Process,
    /// An image that an emulated machine booted: QEMU is what the lab calls its service.
    Emulated,
}

/// One port on which a server shows one key's certificate.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint {
    /// The server, by the way in which it takes its key: an NGINX is `provider`, `engine`, `proxy` or `file`; the others are
    /// `httpd-provider`, `httpd-engine` and `haproxy`.
    pub via: String,
    /// Its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The name in the certificate.
    pub name: String,
    /// The label of the key.
    pub key: String,
    /// The label of the key whose certificate it shows to the server behind it.
    pub client_key: Option<String>,
}

/// A key that the service holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Key {
    /// `CKA_LABEL`.
    pub label: String,
    /// `RSA-2048`, `P-256`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `CKA_ID`, in hexadecimal.
    pub id: String,
    /// `tls`, `tls-client` or `digest`.
    pub usage: String,
    /// `born`, `imported` or `bundle`, with `-sealed` behind it where its state is sealed.
    pub origin: String,
    /// Its SPKI, in PEM.
    pub public_key: PathBuf,
    /// Leaf and issuers, in PEM.
    pub chain: PathBuf,
    /// The private key, in PEM, if the lab made it.
    pub private_key: Option<PathBuf>,
}

/// The files of a server.
#[derive(Debug, Clone, Deserialize)]
pub struct Files {
    /// What program it is.
    pub kind: Kind,
    /// The name of its master in [`Lab::pids`].
    pub process: String,
    /// Its configuration.
    pub conf: PathBuf,
    /// Where its master writes its pid.
    pub pid_file: PathBuf,
    /// Its log.
    pub error_log: PathBuf,
}

/// The programs that are servers here.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// NGINX
    Nginx,
    /// Apache's, with the event MPM.
    Httpd,
    /// HAProxy, as master and worker.
    Haproxy,
}

impl Lab {
    /// Reads the description of a lab.
    pub fn read(description: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(description).with_context(|| format!("no lab at {}", description.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} describes no lab", description.display()))
    }

    /// A program that is to use the module, with the environment that it needs and no OpenSSL configuration of anybody's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_remove("OPENSSL_CONF").envs(&self.env);
        command
    }

    /// `openssl` with the module, as `provider` or `engine`.
    pub fn openssl(&self, via: &str) -> Result<Command> {
        let conf = self
            .openssl_conf
            .get(via)
            .with_context(|| format!("the lab has no {via}"))?;
        let mut command = self.command("openssl");
        command.env("OPENSSL_CONF", conf);
        Ok(command)
    }

    /// The configuration file of the module.
    pub fn module_config(&self) -> Result<PathBuf> {
        Ok(self
            .env
            .get(MODULE_CONFIG)
            .with_context(|| format!("the lab sets no {MODULE_CONFIG}"))?
            .into())
    }

    /// The credential of the lab's web servers.
    pub fn credential(&self) -> Result<PathBuf> {
        let directory = self.module_config()?.parent().context("no directory")?.to_owned();
        Ok(directory.join("credential"))
    }

    /// Skips a test that looks into the service's process, where that is QEMU's.
    pub fn needs_a_process(&self, what: &str) -> Result<()> {
        match self.enclave {
            Enclave::Process => Ok(()),
            Enclave::Emulated => {
                Err(Skipped(format!("{what}, and here the service runs inside an emulated machine")).into())
            }
        }
    }

    /// Skips a long test that is of the parent alone, where another lab has run it; with `--full` it runs here too.
    pub fn need_not_be_emulated(&self) -> Result<()> {
        if self.enclave == Enclave::Emulated && !self.full {
            let why = "it is of the parent alone and takes long: the lab whose service is a process has it, and here `--part parent`";
            return Err(Skipped(why.to_owned()).into());
        }
        Ok(())
    }

    /// The directory in which all of the lab lies.
    pub fn dir(&self) -> Result<&Path> {
        self.logs.parent().context("no directory")
    }

    /// A key by its label.
    pub fn key(&self, label: &str) -> Result<&Key> {
        self.keys
            .iter()
            .find(|key| key.label == label)
            .with_context(|| format!("the lab has no key {label}"))
    }

    /// The first key of this type, usage and origin.
    pub fn key_of(&self, kind: &str, usage: &str, origin: &str) -> Result<&Key> {
        let fits = |key: &&Key| key.kind == kind && key.usage == usage && key.origin == origin;
        self.keys
            .iter()
            .find(fits)
            .with_context(|| format!("the lab has no {origin} {kind} key for {usage}"))
    }

    /// The endpoints whose servers take their keys from the service.
    pub fn served(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.via != "file")
    }

    /// The endpoint that serves an imported key of this type in this way: it outlives a restart of the service.
    pub fn lasting_endpoint(&self, via: &str, kind: &str) -> Result<&Endpoint> {
        let fits = |endpoint: &&Endpoint| {
            let key = self.key(&endpoint.key).ok();
            endpoint.via == via && key.is_some_and(|key| key.kind == kind && key.origin == "imported")
        };
        self.endpoints
            .iter()
            .find(fits)
            .with_context(|| format!("no endpoint with an imported {kind} key by {via}"))
    }

    /// The endpoint of this server and key.
    pub fn endpoint(&self, via: &str, key: &str) -> Result<&Endpoint> {
        let fits = |endpoint: &&Endpoint| endpoint.via == via && endpoint.key == key;
        let found = self.endpoints.iter().find(fits);
        found.with_context(|| format!("{via} does not serve {key}"))
    }

    /// Whether the endpoint's port shows another key too, to clients that verify another kind of signature.
    pub fn is_shared(&self, endpoint: &Endpoint) -> bool {
        let mut others = self.endpoints.iter();
        others.any(|other| other.port == endpoint.port && other.key != endpoint.key)
    }

    /// The files of a server.
    pub fn files(&self, via: &str) -> Result<&Files> {
        self.servers
            .get(via)
            .with_context(|| format!("the lab has no server {via}"))
    }

    /// The pid of one of the lab's processes.
    pub fn pid(&self, name: &str) -> Result<u32> {
        self.pids
            .get(name)
            .copied()
            .with_context(|| format!("the lab has no process {name}"))
    }

    /// The pid that the service has now: a test may have started it again.
    pub fn service(&self) -> Result<u32> {
        let words = self
            .commands
            .get("service")
            .context("the lab does not say how its service was started")?;
        process::with_command_line(words).context("the service does not run")
    }

    /// The program of one of the lab's processes.
    pub fn program(&self, name: &str) -> Result<&Path> {
        let words = self.commands.get(name).and_then(|words| words.first());
        Ok(Path::new(words.with_context(|| {
            format!("the lab does not say how {name} was started")
        })?))
    }

    /// A text of the agent's configuration, by its key.
    pub fn configured(&self, key: &str) -> Result<String> {
        let text = std::fs::read_to_string(&self.config)?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        let value = value.with_context(|| format!("the agent's configuration has no {key}"))?;
        Ok(value.trim_matches('"').to_owned())
    }
}

impl Endpoint {
    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.key, self.via)
    }
}

impl Key {
    /// The URI of the private key: by id, as web servers name it.
    pub fn uri(&self, token: &str) -> String {
        let id: String = self
            .id
            .as_bytes()
            .chunks(2)
            .map(|pair| format!("%{}", String::from_utf8_lossy(pair)))
            .collect();
        format!("pkcs11:token={token};id={id};type=private")
    }
}

const MODULE_CONFIG: &str = "ENCLAVE_TLS_PKCS11_CONFIG";
