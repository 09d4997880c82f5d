//! A service with so many keys.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use enclave_wire::control::KeyInfo;
use enclave_wire::identity::RsaBits;
use enclave_wire::objects::Object;
use enclave_wire::{KeyType, Objects};
use serde::Serialize;

use super::KeysPlan;
use crate::agentbench::Memory;
use crate::machinebench::agent::Agent;
use crate::machinebench::authority::Authority;
use crate::machinebench::client::{Client, Credential};
use crate::machinebench::plan::Kind;

/// What it took to fill it.
#[derive(Clone, Debug, Serialize)]
pub struct Filled {
    /// How many keys it has, and of them how many are RSA-2048; the others are P-256.
    pub keys: usize,
    /// See `keys`.
    pub rsa: usize,
    /// Before the first key.
    pub empty: Memory,
    /// With all keys and their chains.
    pub made: Memory,
    /// Once each has signed.
    pub signed: Memory,
    /// From the first key to the last chain, in seconds.
    pub making_s: f64,
}

/// Runs until it is dropped.
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) filled: Filled,
    dir: PathBuf,
    child: Child,
    keys: Vec<KeyInfo>,
    /// The service's control connection: without it the service would dial again.
    _agent: Agent,
}

/// What names a key.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) label: String,
    /// In hexadecimal.
    pub(super) id: String,
}

impl Service {
    pub(super) fn start(plan: &KeysPlan, name: &'static str, keys: usize) -> Result<Self> {
        let dir = plan.dir.join(name);
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let control = UnixListener::bind(dir.join("control.sock"))?;
        control.set_nonblocking(true)?;
        let mut child = spawn(plan, &dir)?;
        match Self::fill(&dir, &control, child.id(), keys) {
            Ok((filled, agent, keys)) => Ok(Self {
                name,
                filled,
                dir,
                child,
                keys,
                _agent: agent,
            }),
            Err(error) => {
                end(&mut child);
                let said = fs::read_to_string(dir.join("service.log")).unwrap_or_default();
                Err(error.context(said))
            }
        }
    }

    fn fill(dir: &Path, control: &UnixListener, pid: u32, count: usize) -> Result<(Filled, Agent, Vec<KeyInfo>)> {
        let credential = Credential::new()?;
        fs::write(dir.join("credential"), credential.to_file())?;
        let signing = dir.join("signing.sock");
        let configuration = format!(
            "endpoints = [\"unix:{}\"]\ncredential = \"credential\"\nobjects = \"objects\"\n",
            signing.display()
        );
        fs::write(dir.join(CONFIGURATION), configuration)?;
        let mut agent = Agent::new(dialled(control)?)?;
        agent.begin(&credential)?;
        agent.ready()?;
        let mut client = Client::authenticate(UnixStream::connect(&signing)?, &credential)?;
        let empty = Memory::of(pid)?;
        let begun = Instant::now();
        let authority = Authority::new()?;
        let rsa = count / RSA_IN;
        let (mut keys, mut published) = (Vec::new(), Vec::new());
        for number in 0..count {
            let is_rsa = number < rsa;
            let (key_type, kind) = match is_rsa {
                true => (KeyType::Rsa(RsaBits::try_from(2048).map_err(invalid)?), Kind::Rsa2048),
                false => (KeyType::P256, Kind::P256),
            };
            let host = format!("host-{number}.example");
            let key = agent.create(&format!("lab-{number}"), key_type, &host)?;
            let request = agent.request(key.id)?;
            let chain = authority.issue(&request, kind, &host)?;
            published.push(Object {
                entry: key.entry(),
                chain: chain.clone(),
            });
            agent.install(key.id, chain)?;
            keys.push(key);
        }
        let making_s = begun.elapsed().as_secs_f64();
        // As an agent writes it for each client.
        let published = Objects::try_from(published).map_err(|error| anyhow::anyhow!("{error}"))?;
        fs::write(dir.join("objects"), published.to_file())?;
        let made = Memory::of(pid)?;
        for key in &keys {
            client.sign(key)?;
        }
        let filled = Filled {
            keys: count,
            rsa,
            empty,
            made,
            signed: Memory::of(pid)?,
            making_s,
        };
        Ok((filled, agent, keys))
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A P-256 key, for each number another.
    pub(super) fn some(&self, number: usize) -> Result<Known> {
        let curves = self.keys.get(self.filled.rsa..).unwrap_or_default();
        let key = curves.get(number * STRIDE % curves.len().max(1));
        key.map(known).context("no key")
    }

    pub(super) fn environment(&self, plan: &KeysPlan) -> BTreeMap<String, String> {
        let file = self.dir.join(CONFIGURATION).display().to_string();
        BTreeMap::from([(plan.variable.clone(), file)])
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn spawn(plan: &KeysPlan, dir: &Path) -> Result<Child> {
    let (program, arguments) = plan.service.split_first().context("no command")?;
    let socket = |name: &str| format!("unix:{}", dir.join(name).display());
    let log = fs::File::create(dir.join("service.log"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (option, name) in [
        ("--signing", "signing.sock"),
        ("--control", "control.sock"),
        ("--egress", "egress.sock"),
    ] {
        command.args([option, &socket(name)]);
    }
    let command = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot run {program}"))
}

fn dialled(control: &UnixListener) -> Result<UnixStream> {
    let begun = Instant::now();
    loop {
        if let Ok((stream, _)) = control.accept() {
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
        ensure!(begun.elapsed() < PATIENCE, "the service does not dial");
        sleep(Duration::from_millis(5));
    }
}

fn known(key: &KeyInfo) -> Known {
    Known {
        label: key.name.to_string(),
        id: hex::encode(key.id.0),
    }
}

fn invalid(error: enclave_wire::DecodeError) -> anyhow::Error {
    anyhow::anyhow!("{error:?}")
}

fn end(child: &mut Child) {
    // It may have ended.
    drop(child.kill());
    drop(child.wait());
}

const CONFIGURATION: &str = "pkcs11.toml";
/// One key in so many is RSA.
const RSA_IN: usize = 100;
/// Prime to any number of keys that is measured.
const STRIDE: usize = 7_919;
const PATIENCE: Duration = Duration::from_secs(10);
