//! A stand-in for the enclave: dials, pings, answers, and refuses what comes out of order. It makes no signatures and reads no
//! DER: a private key's id is the hash of its bytes, and a sealed state is in the clear.

mod line;
mod world;

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use enclave_wire::control::{ControlError, KeyInfo, Phase, SealingKey, StoreState};
use enclave_wire::{Chain, KeyId};

pub(crate) struct Fake {
    state: Arc<Mutex<World>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the stand-in knows and was told.
#[derive(Default)]
pub(crate) struct World {
    boot: u8,
    phase: Option<Phase>,
    pub(crate) policy: Option<Vec<u8>>,
    /// Client, id, verifier.
    pub(crate) credentials: Vec<(String, [u8; 16], [u8; 32])>,
    pub(crate) keys: Vec<KeyInfo>,
    pub(crate) chains: HashMap<KeyId, Chain>,
    /// The names of the requests since the start, without `Status` and `List`: the agent asks these by itself, whenever it likes.
    pub(crate) asked: Vec<&'static str>,
    /// What its kernel counts time by, if not kvm-clock.
    pub(crate) clock_source: Option<&'static str>,
    /// The KMS keys of its policy.
    pub(crate) sealing: Vec<SealingKey>,
    /// Requests of this name are refused.
    pub(crate) refuse: HashMap<&'static str, ControlError>,
    /// After a request of this name the connection ends.
    pub(crate) hang_up_at: Option<&'static str>,
    /// A request that takes its time, as one does that waits for AWS.
    pub(crate) slow: Option<(&'static str, Duration)>,
    pub(crate) pongs: u32,
    pub(crate) dials: u32,
    pub(crate) aws: Vec<AwsCredentials>,
    /// Send `NeedCredentials`.
    pub(crate) wants_credentials: bool,
    /// What a bundle's key is opened with: bundle to KMS key.
    pub(crate) opened_with: Vec<String>,
    /// The numbers of the states, by name.
    numbers: HashMap<String, u64>,
    /// To be stored before the reply under way is sent; and what was before it.
    unstored: Option<(StoreState, Vec<KeyInfo>)>,
    /// The replay directory: what is said to be stored must be in it.
    replay: PathBuf,
}

/// A set of AWS credentials, as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AwsCredentials {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
    pub(crate) expires: Option<i64>,
    pub(crate) kms_host: Option<String>,
}

impl Fake {
    /// A service that has just started and dials `control`.
    pub(crate) fn start(control: &Path) -> Self {
        Self::start_boot(control, 1)
    }

    /// Another run of it.
    pub(crate) fn start_boot(control: &Path, boot: u8) -> Self {
        Self::start_with(
            control,
            World {
                boot,
                ..World::default()
            },
        )
    }

    fn start_with(control: &Path, mut world: World) -> Self {
        world.phase.get_or_insert(Phase::AwaitingPolicy);
        world.replay = control.parent().unwrap().join("replay");
        let state = Arc::new(Mutex::new(world));
        let stop = Arc::new(AtomicBool::new(false));
        let (control, shared, end) = (control.to_owned(), Arc::clone(&state), Arc::clone(&stop));
        let thread = thread::spawn(move || dial(&control, &shared, &end));
        Self {
            state,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.state.lock().unwrap()
    }

    /// Ends it, and starts it again with nothing but what it was to refuse, and where it was to hang up.
    pub(crate) fn restart(&mut self, control: &Path) {
        let (boot, refuse, hang_up_at) = {
            let mut world = self.world();
            (world.boot + 1, std::mem::take(&mut world.refuse), world.hang_up_at)
        };
        self.end();
        *self = Self::start_with(
            control,
            World {
                boot,
                refuse,
                hang_up_at,
                ..World::default()
            },
        );
    }

    pub(crate) fn wait_until(&self, what: &str, is_true: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while !is_true(&self.world()) {
            assert!(Instant::now() < deadline, "{what} did not come about");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn wait_until_serving(&self) {
        self.wait_until("serving", |world| world.phase == Some(Phase::Serving));
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            // A second panic would end the whole run of the tests.
            assert!(thread::panicking() || ended.is_ok(), "the stand-in panicked");
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.end();
    }
}

fn dial(control: &PathBuf, state: &Mutex<World>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        if let Ok(mut socket) = UnixStream::connect(control) {
            state.lock().unwrap().dials += 1;
            line::serve(&mut socket, state, stop);
            drop(socket.shutdown(Shutdown::Both));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
