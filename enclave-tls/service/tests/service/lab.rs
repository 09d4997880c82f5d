//! A service in this process, its control peer, and its clients.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use emulator_nsm::{Options, Pki, StandIn};
use enclave_attestation::Pcr;
use enclave_policy::Policy;
use enclave_tls::machine::Machine;
use enclave_tls::platform::{Clock, Limits, Platform, Watched};
use enclave_tls::statistics::Statistics;
use enclave_tls::{Config, Service};
use enclave_wire::control::{InstallChain, KeyInfo, Reply, Request};
use enclave_wire::identity::Certificate;
use enclave_wire::{Chain, KeyId, Usage};
use tokio::runtime::Runtime;

use super::agent::Agent;
use super::client::{Client, Identity};
use super::kept::Kept;

/// A running service with one client, `www`.
pub(crate) struct Lab {
    pub(crate) agent: Agent,
    pub(crate) listener: UnixListener,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) signing: String,
    pub(crate) www: Identity,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) nsm: Arc<StandIn>,
    // Ends the service when the lab is dropped.
    _runtime: Runtime,
    _running: Option<RwLockReadGuard<'static, ()>>,
}

/// A clock that stands where a test puts it, and panics where the test wants a panic inside the service.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) const PANIC: i64 = i64::MIN;

    pub(crate) fn set(&self, unix: i64) {
        self.0.store(unix, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_unix(&self) -> i64 {
        let now = self.0.load(Ordering::SeqCst);
        assert_ne!(now, Self::PANIC, "the test wants a panic");
        now
    }
}

/// What a service is started with.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) policy: String,
    /// What the enclave is measured as.
    pub(crate) pcrs: BTreeMap<u8, Pcr>,
    /// The abstract name of the parent's egress plane.
    pub(crate) egress: Option<String>,
    /// What the agent kept of earlier runs.
    pub(crate) kept: Arc<Kept>,
    /// The machine that it finds itself on.
    pub(crate) machine: Machine,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            policy: POLICY.to_owned(),
            pcrs: (0..3).map(|index| (index, [index + 1; 48])).collect(),
            egress: None,
            kept: Arc::default(),
            machine: Machine::lab(),
        }
    }
}

impl Lab {
    /// A service that is open, with the client `www`.
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self::of(Setup {
            limits,
            ..Setup::default()
        })
    }

    pub(crate) fn of(setup: Setup) -> Self {
        Self::open_with(setup, Some(beside_others()))
    }

    fn open_with(setup: Setup, running: Option<RwLockReadGuard<'static, ()>>) -> Self {
        let mut lab = Self::start(setup, running);
        lab.agent.boot();
        let www = Identity::new();
        lab.agent.install("www", &www);
        Self { www, ..lab }
    }

    /// A service that is open while no other test of this program runs.
    pub(crate) fn alone() -> (Self, RwLockWriteGuard<'static, ()>) {
        let alone = RUNNING.write().unwrap_or_else(PoisonError::into_inner);
        (Self::open_with(Setup::default(), None), alone)
    }

    /// A service that waits for its policy.
    pub(crate) fn before_policy(setup: Setup) -> Self {
        Self::start(setup, Some(beside_others()))
    }

    fn start(setup: Setup, running: Option<RwLockReadGuard<'static, ()>>) -> Self {
        enclave_tls::boot::raise_descriptor_limit().unwrap();
        let (signing, control) = (unique("signing"), unique("control"));
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&control).unwrap()).unwrap();
        let config = Config {
            policy: Policy::parse(setup.policy.as_bytes()).unwrap(),
            signing: format!("unix:@{signing}").parse().unwrap(),
            control: format!("unix:@{control}").parse().unwrap(),
            egress: setup.egress.map(|name| format!("unix:@{name}").parse().unwrap()),
        };
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let nsm = Arc::new(stand_in(&clock, setup.pcrs));
        let platform = Platform {
            clock: clock.clone(),
            limits: setup.limits,
            nsm: Watched::new(nsm.clone()),
            machine: setup.machine,
        };
        let service = Service::new(config, platform).unwrap();
        let statistics = service.statistics();
        let runtime = Runtime::new().unwrap();
        runtime.spawn(service.run());
        let agent = Agent::accept_and_keep(&listener, Arc::clone(&setup.kept));
        Self {
            agent,
            listener,
            statistics,
            signing,
            www: Identity::new(),
            clock,
            kept: setup.kept,
            nsm,
            _runtime: runtime,
            _running: running,
        }
    }

    /// The connection that the service dials once the one before has ended.
    pub(crate) fn reconnect(&mut self) {
        self.agent = Agent::accept_and_keep(&self.listener, Arc::clone(&self.kept));
    }

    /// A connection of `www`.
    pub(crate) fn client(&self) -> Client {
        self.open(&self.www)
    }

    pub(crate) fn open(&self, identity: &Identity) -> Client {
        Client::open(&self.signing, identity).unwrap().0
    }

    /// The key `p-256.der` with its chain installed, and the last second of its leaf.
    pub(crate) fn key_with_chain(&mut self) -> (KeyId, i64) {
        let pkcs8 = include_bytes!("../vectors/keys/p-256.der");
        let key = self
            .agent
            .try_import("lab-chain", Usage::Digest, &["www"], pkcs8)
            .unwrap()
            .id;
        let request = Request::InstallChain(InstallChain { key, chain: chain() });
        match self.agent.call(&request) {
            Reply::ChainInstalled(info) => (key, info.validity.unwrap().not_after),
            other => panic!("{other:?}"),
        }
    }

    /// Processor time of the threads that sign. Their names tell them from those of other labs.
    pub(crate) fn cpu_time(&mut self) -> Duration {
        let boot = self.agent.status().boot.to_string();
        let times = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
            let task = task.ok()?.path();
            let name = std::fs::read_to_string(task.join("comm")).ok()?;
            let schedstat = std::fs::read_to_string(task.join("schedstat")).ok()?;
            (name.trim_end().ends_with(&boot[..8]))
                .then(|| schedstat.split(' ').next()?.parse::<u64>().ok())
                .flatten()
        });
        Duration::from_nanos(times.sum())
    }

    /// Sockets of the signing plane that the kernel knows, the listening one among them.
    pub(crate) fn sockets(&self) -> usize {
        let name = format!("@{}", self.signing);
        std::fs::read_to_string("/proc/net/unix")
            .unwrap()
            .lines()
            .filter(|line| line.ends_with(&name))
            .count()
    }

    /// Waits until something is so.
    pub(crate) fn until(&self, so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !so(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it never came: {:?}",
                self.statistics
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A key of `www` for any digest.
    pub(crate) fn key(&mut self, name: &str, key_type: &str) -> KeyInfo {
        self.agent.create(name, key_type, Usage::Digest, &["www"])
    }
}

/// Waits while a test runs that must be alone. What this gives is held while the caller's service runs.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().unwrap_or_else(PoisonError::into_inner)
}

fn stand_in(clock: &Arc<TestClock>, pcrs: BTreeMap<u8, Pcr>) -> StandIn {
    let clock = Arc::clone(clock);
    let options = Options {
        dir: PKI.into(),
        pcrs,
        clock: Arc::new(move || u64::try_from(clock.now_unix()).unwrap() * 1_000),
    };
    StandIn::start(options).unwrap()
}

/// The root of the PKI that all stand-ins of these tests have, as a policy names it.
pub(crate) fn attestation_root() -> [u8; 32] {
    Pki::open(PKI.as_ref()).unwrap().root_sha256()
}

const PKI: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/service-nsm");

static RUNNING: RwLock<()> = RwLock::new(());
static LABS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn unique(what: &str) -> String {
    format!(
        "enclave-tls-test-{}-{}-{what}",
        std::process::id(),
        LABS.fetch_add(1, Ordering::Relaxed)
    )
}

/// What `chain.sh` made for `p-256.der`: leaf and root.
pub(crate) fn chain() -> Chain {
    let certificates = [
        include_bytes!("chain-leaf.der").as_slice(),
        include_bytes!("chain-root.der"),
    ];
    let certificates = certificates.map(|der| Certificate::try_from(der.to_vec()).unwrap());
    Chain::try_from(certificates.to_vec()).unwrap()
}

/// 2027-01-01 00:00:00 UTC, when the chain is valid.
pub(crate) const NOW: i64 = 1_798_761_600;

pub(crate) const POLICY: &str = r#"
version = 1
imports = true
[[names]]
pattern = "lab-*"
usages = ["tls", "tls-client", "digest"]
[[names]]
pattern = "server-*"
usages = ["tls"]
[keys]
rsa = { min = 2048, max = 4096 }
curves = ["P-256", "Ed25519"]
"#;
