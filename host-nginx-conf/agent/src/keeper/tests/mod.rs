//! The keeper itself between a pretended enclave and a pretended root helper, by a clock that the test moves.

mod away;
mod ca;
mod clients;
mod deploying;
mod forgetting;
mod hostile;
mod late;
mod limits;
mod ordering;
mod outside;
mod retiring;
mod revoking;
mod rotating;
mod switching;
mod worlds;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_config::Config;
use enclave_wire::control::{Freshness, KeyInfo, Origin, Sealed, Validity};
use enclave_wire::{KeyId, State, Usage};
use sha2::{Digest, Sha256};

use super::{Enclave, Keeper};
use crate::clock::Clock;
use crate::clock::tests::{Directory, Simulated};
use worlds::{FakeEnclave, FakeHelper, FakeOutside};

pub(super) const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// A configuration with a server `main` of a client `nginx`, and whatever else.
pub(crate) fn config(more: &str) -> Config {
    let text = format!(
        "[enclave]\nimage = \"/image.eif\"\n[aws]\n[egress]\nallow = [\"kms.us-east-1.amazonaws.com:443\", \"s3.us-east-1.amazonaws.com:443\"]\n[clients.nginx]\ngroup = \"www-data\"\nrotate_days = 30\n\
         [servers.main]\nkind = \"nginx\"\nclient = \"nginx\"\n{more}"
    );
    Config::parse(&text, Path::new("config.toml"))
        .map_err(|error| error.to_string())
        .unwrap()
}

/// Certificates c0000 and so on, of keys that are born.
fn certificates(count: usize) -> Config {
    let one = |n: usize| {
        format!(
            "[[certificates]]\nname = \"c{n:04}\"\nsource = \"csr\"\nkey_type = \"p-256\"\ndns_names = [\"c{n}.example\"]\n\
             servers = [\"main\"]\n"
        )
    };
    config(&(0..count).map(one).collect::<String>())
}

/// A key, in words.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) generation: u32,
    pub(super) key_type: enclave_wire::KeyType,
    pub(super) usage: Usage,
    pub(super) state: State,
    pub(super) dns_names: &'static [&'static str],
    pub(super) clients: &'static [&'static str],
    pub(super) valid: Option<(i64, i64)>,
    pub(super) sealed: bool,
}

impl Made {
    pub(super) fn of(name: &str, generation: u32) -> Self {
        Self {
            name: name.to_owned(),
            generation,
            key_type: enclave_wire::KeyType::P256,
            usage: Usage::Tls,
            state: State::Live,
            dns_names: &[],
            clients: &["nginx"],
            valid: None,
            sealed: false,
        }
    }
}

pub(super) fn key(made: &Made) -> KeyInfo {
    let seed = format!("{} {}", made.name, made.generation);
    let (id, spki) = public_key(&seed);
    KeyInfo {
        id,
        name: made.name.parse().unwrap(),
        generation: made.generation,
        key_type: made.key_type,
        usage: made.usage,
        state: made.state,
        origin: Origin::Born,
        dns_names: made
            .dns_names
            .iter()
            .map(|name| (*name).try_into().unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap(),
        clients: made
            .clients
            .iter()
            .map(|name| name.parse().unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap(),
        spki: spki.try_into().unwrap(),
        validity: made
            .valid
            .map(|(not_before, not_after)| Validity { not_before, not_after }),
        sealed: made.sealed.then(|| Sealed {
            group: "default".parse().unwrap(),
            number: 1,
            freshness: Freshness::Known,
        }),
    }
}

/// The leaf of the tests of the root helper, with another public key: nobody looks whether the point is on the curve, or who signed it.
fn leaf(seed: &str) -> Vec<u8> {
    let mut leaf = include_bytes!("../../../../apply/tests/vectors/leaf.der").to_vec();
    let at = leaf.windows(PREFIX.len()).position(|window| window == PREFIX).unwrap();
    let from = at + PREFIX.len();
    leaf[from..from + 32].copy_from_slice(&Sha256::digest(seed));
    leaf
}

fn public_key(seed: &str) -> (KeyId, Vec<u8>) {
    let leaf = leaf(seed);
    let at = leaf.windows(PREFIX.len()).position(|window| window == PREFIX).unwrap();
    let spki = leaf[at..at + 91].to_vec();
    (KeyId(Sha256::digest(&spki).into()), spki)
}

/// How the public key of a P-256 key begins.
const PREFIX: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";

/// All of it.
struct World {
    clock: Arc<Simulated>,
    enclave: Arc<FakeEnclave>,
    helper: FakeHelper,
    outside: FakeOutside,
    config: Config,
    directory: Directory,
    keeper: Keeper<FakeEnclave, FakeHelper>,
}

impl World {
    fn new(config: Config) -> Self {
        let (clock, directory) = (Simulated::new(), Directory::new());
        let enclave = Arc::new(FakeEnclave::default());
        let helper = FakeHelper::new(&config);
        let outside = FakeOutside::new(Arc::clone(&enclave), helper.clone());
        let keeper = Keeper::new(
            Arc::clone(&enclave),
            helper.clone(),
            Box::new(outside.clone()),
            clock.clone(),
            directory.path(),
        );
        Self {
            clock,
            enclave,
            helper,
            outside,
            config,
            directory,
            keeper,
        }
    }

    /// One in which each certificate is served in its first generation.
    fn serving(count: usize) -> Self {
        let mut world = Self::new(certificates(count));
        world.pass();
        world.enclave.install_all(world.clock.now());
        world.pass();
        world.pass();
        world.enclave.connect_all();
        world.forget_counts();
        world
    }

    fn pass(&mut self) -> Duration {
        self.keeper.pass(&self.config)
    }

    /// Lets time pass, with as many passes as it takes. How many these were.
    fn run(&mut self, time: Duration) -> usize {
        let until = self.clock.monotonic() + time;
        let mut passes = 0;
        while self.clock.monotonic() < until {
            let wait = self.pass();
            assert!(wait >= Duration::from_millis(500), "{wait:?}");
            self.clock.pass(wait);
            passes += 1;
        }
        passes
    }

    /// Lets time pass of which only the last minute matters.
    fn leap(&mut self, time: Duration) {
        self.clock.pass(time);
        self.run(MINUTE);
    }

    /// The agent is killed, and another starts.
    fn restart_agent(&mut self) {
        self.keeper = Keeper::new(
            Arc::clone(&self.enclave),
            self.helper.clone(),
            Box::new(self.outside.clone()),
            self.clock.clone(),
            self.directory.path(),
        );
    }

    fn forget_counts(&self) {
        self.enclave.state().asked.clear();
        self.helper.state().asked.clear();
    }

    fn asked(&self, what: &str) -> u64 {
        self.enclave.state().asked.get(what).copied().unwrap_or(0)
    }

    fn helped(&self, what: &str) -> u64 {
        self.helper.state().asked.get(what).copied().unwrap_or(0)
    }

    /// How many lines of trouble were said.
    fn said(&self) -> u64 {
        self.keeper.troubles.said()
    }

    fn state_of(&self, name: &str) -> (String, String) {
        let found = self.keeper.found.lock();
        let its = found.certificates.iter().find(|one| one.name == name).unwrap();
        (its.state.clone(), its.note.clone().unwrap_or_default())
    }

    /// When what servers have of a certificate ends, as the report says.
    fn ends(&self, name: &str) -> i64 {
        let found = self.keeper.found.lock();
        let its = found.certificates.iter().find(|one| one.name == name).unwrap();
        let live: Vec<_> = its.generations.iter().filter(|its| its.is_live).collect();
        assert_eq!(live.len(), 1);
        live[0].not_after.unwrap()
    }

    /// The certificates that servers were given, as the report says.
    fn deployed(&self) -> Vec<String> {
        self.keeper.found.lock().deployed.keys().cloned().collect()
    }

    /// The generation that servers have.
    fn live(&self, name: &str) -> Option<u32> {
        let name = name.parse().unwrap();
        self.helper.state().live.get(&name).map(|live| live.generation())
    }

    fn key(&self, name: &str, generation: u32) -> Option<KeyInfo> {
        let keys = self.enclave.keys().unwrap();
        keys.into_iter()
            .find(|key| key.name.as_str() == name && key.generation == generation)
    }
}
