//! A service in this process, its control peer, and its clients.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use enclave_policy::Policy;
use enclave_tls::platform::{Clock, Limits, Platform};
use enclave_tls::statistics::Statistics;
use enclave_tls::{Config, Service};
use enclave_wire::control::{InstallChain, KeyInfo, Reply, Request};
use enclave_wire::identity::Certificate;
use enclave_wire::{Chain, KeyId, Usage};
use tokio::runtime::Runtime;

use super::agent::Agent;
use super::client::{Client, Identity};

/// A running service with one client, `www`.
pub(crate) struct Lab {
    pub(crate) agent: Agent,
    pub(crate) listener: UnixListener,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) signing: String,
    pub(crate) www: Identity,
    pub(crate) clock: Arc<TestClock>,
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

impl Lab {
    /// A service that is open, with the client `www`.
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self::open_with(limits, Some(beside_others()))
    }

    fn open_with(limits: Limits, running: Option<RwLockReadGuard<'static, ()>>) -> Self {
        let mut lab = Self::start(limits, running);
        lab.agent.boot();
        let www = Identity::new();
        lab.agent.install("www", &www);
        Self { www, ..lab }
    }

    /// A service that is open while no other test of this program runs.
    pub(crate) fn alone() -> (Self, RwLockWriteGuard<'static, ()>) {
        let alone = RUNNING.write().unwrap_or_else(PoisonError::into_inner);
        (Self::open_with(Limits::default(), None), alone)
    }

    /// A service that waits for its policy.
    pub(crate) fn before_policy(limits: Limits) -> Self {
        Self::start(limits, Some(beside_others()))
    }

    fn start(limits: Limits, running: Option<RwLockReadGuard<'static, ()>>) -> Self {
        enclave_tls::boot::raise_descriptor_limit().unwrap();
        let (signing, control) = (unique("signing"), unique("control"));
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&control).unwrap()).unwrap();
        let config = Config {
            policy: Policy::parse(POLICY.as_bytes()).unwrap(),
            signing: format!("unix:@{signing}").parse().unwrap(),
            control: format!("unix:@{control}").parse().unwrap(),
        };
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let service = Service::new(
            config,
            Platform {
                clock: clock.clone(),
                limits,
            },
        )
        .unwrap();
        let statistics = service.statistics();
        let runtime = Runtime::new().unwrap();
        runtime.spawn(service.run());
        let agent = Agent::accept(&listener);
        Self {
            agent,
            listener,
            statistics,
            signing,
            www: Identity::new(),
            clock,
            _runtime: runtime,
            _running: running,
        }
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

static RUNNING: RwLock<()> = RwLock::new(());
static LABS: AtomicU32 = AtomicU32::new(0);

fn unique(what: &str) -> String {
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
