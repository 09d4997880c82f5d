//! A stand-in for the enclave: dials, pings, answers, and refuses what comes out of order. It makes no signatures and reads no
//! DER: a private key's id is the hash of its bytes.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use enclave_wire::control::{
    AgentReply, ControlError, Counters, EnclaveRequest, KeyCounters, KeyInfo, KeyPage, Origin, Phase, Reply, Request,
    Status, Validity,
};
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::log::Text;
use enclave_wire::{BootId, Chain, KeyId, KeyType, Mechanism, State, Usage, Writer};
use sha2::{Digest, Sha256};

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
    /// The names of the requests since the start, without `Status` and `List`.
    pub(crate) asked: Vec<&'static str>,
    /// Requests of this name are refused.
    pub(crate) refuse: HashMap<&'static str, ControlError>,
    /// After a request of this name the connection ends.
    pub(crate) hang_up_at: Option<&'static str>,
    pub(crate) pongs: u32,
    pub(crate) dials: u32,
}

impl Fake {
    /// A service that has just started and dials `control`.
    pub(crate) fn start(control: &Path) -> Self {
        Self::start_with(
            control,
            World {
                boot: 1,
                ..World::default()
            },
        )
    }

    fn start_with(control: &Path, mut world: World) -> Self {
        world.phase.get_or_insert(Phase::AwaitingPolicy);
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
        let deadline = Instant::now() + Duration::from_secs(10);
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
            thread.join().unwrap();
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
            serve(&mut socket, state, stop);
            drop(socket.shutdown(Shutdown::Both));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn serve(socket: &mut UnixStream, state: &Mutex<World>, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut pings, mut last_ping) = (0, Instant::now() - Duration::from_secs(1));
    while !stop.load(Ordering::SeqCst) {
        if last_ping.elapsed() > Duration::from_millis(200) {
            pings += 1;
            last_ping = Instant::now();
            let mut ping = Writer::new();
            EnclaveRequest::Ping.write(&mut ping, pings);
            if socket.write_all(&ping.into_bytes()).is_err() {
                return;
            }
        }
        let mut head = [0; HEADER_LEN];
        match socket.read(&mut head[..1]) {
            Ok(1) => {}
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => continue,
            _ => return,
        }
        socket.read_exact(&mut head[1..]).unwrap();
        let header = Header::decode(&head, limit::CONTROL).unwrap();
        let mut body = vec![0; header.body_len()];
        socket.read_exact(&mut body).unwrap();
        let mut world = state.lock().unwrap();
        if header.is_reply() {
            assert_eq!(AgentReply::decode(&header, &body), Ok(AgentReply::Pong));
            assert_eq!(header.request_id, pings);
            world.pongs += 1;
            continue;
        }
        let request = Request::decode(&header, &body).unwrap();
        let name = request.name();
        let reply = world.answer(request);
        if world.hang_up_at.take_if(|at| *at == name).is_some() {
            return;
        }
        let mut writer = Writer::new();
        reply.write(&mut writer, header.request_id);
        if socket.write_all(&writer.into_bytes()).is_err() {
            return;
        }
    }
}

impl World {
    fn answer(&mut self, request: Request) -> Reply {
        if !["Status", "List"].contains(&request.name()) {
            self.asked.push(request.name());
        }
        if let Some(error) = self.refuse.get(request.name()) {
            return Reply::Error(*error);
        }
        let early = matches!(request, Request::Status | Request::Policy(_));
        if self.phase == Some(Phase::AwaitingPolicy) && !early {
            return Reply::Error(ControlError::PolicyFirst);
        }
        self.perform(request).unwrap_or_else(Reply::Error)
    }

    fn perform(&mut self, request: Request) -> Result<Reply, ControlError> {
        Ok(match request {
            Request::Ping => Reply::Pong,
            Request::Status => Reply::Status(Status {
                boot: BootId([self.boot; 16]),
                version: Text::lossy("0.0-fake"),
                phase: self.phase.unwrap(),
                uptime_ms: 61_000,
            }),
            Request::Policy(policy) => {
                if self.phase != Some(Phase::AwaitingPolicy) {
                    return Err(ControlError::PolicyAlreadySet);
                }
                self.policy = policy.map(|policy| policy.as_bytes().to_vec());
                self.phase = Some(Phase::AwaitingReady);
                Reply::PolicyTaken
            }
            Request::Ready => {
                self.phase = Some(Phase::Serving);
                Reply::Serving
            }
            Request::InstallCredential(new) => {
                self.credentials
                    .push((new.client.to_string(), new.id.0, new.verifier.0));
                Reply::CredentialInstalled
            }
            Request::Create(new) => Reply::Created(self.add(KeyInfo {
                id: KeyId(Sha256::digest([self.boot, u8::try_from(self.asked.len()).unwrap()]).into()),
                name: new.name,
                generation: 0,
                key_type: new.key_type,
                usage: new.usage,
                state: State::Live,
                origin: Origin::Born,
                dns_names: new.dns_names,
                clients: new.clients,
                spki: vec![1, 2, 3].try_into().unwrap(),
                validity: None,
            })?),
            Request::Import(new) => Reply::Imported(self.add(KeyInfo {
                id: KeyId(Sha256::digest(new.pkcs8.as_bytes()).into()),
                name: new.name,
                generation: 0,
                key_type: KeyType::P256,
                usage: new.usage,
                state: State::Live,
                origin: Origin::Imported,
                dns_names: new.dns_names,
                clients: new.clients,
                spki: vec![1, 2, 3].try_into().unwrap(),
                validity: None,
            })?),
            Request::Csr(id) => Reply::Csr(self.key(id)?.id.0.to_vec().try_into().unwrap()),
            Request::InstallChain(install) => {
                let key = self.key(install.key)?;
                key.validity = Some(Validity {
                    not_before: 0,
                    not_after: 1_767_225_600,
                });
                let key = key.clone();
                self.chains.insert(install.key, install.chain);
                Reply::ChainInstalled(key)
            }
            Request::List(cursor) => self.page(cursor),
            Request::Supersede(id) => {
                let key = self.key(id)?;
                key.state = State::Superseded;
                Reply::Superseded(key.clone())
            }
            Request::Retire(id) => {
                self.key(id)?;
                self.keys.retain(|key| key.id != id);
                Reply::Retired
            }
            Request::Narrow(narrow) => {
                let key = self.key(narrow.key)?;
                if key.usage != Usage::Digest || narrow.usage == Usage::Digest {
                    return Err(ControlError::NotNarrower);
                }
                key.usage = narrow.usage;
                Reply::Narrowed(key.clone())
            }
            Request::Statistics => Reply::Statistics(self.counters()),
        })
    }

    fn key(&mut self, id: KeyId) -> Result<&mut KeyInfo, ControlError> {
        self.keys
            .iter_mut()
            .find(|key| key.id == id)
            .ok_or(ControlError::NoSuchKey)
    }

    fn add(&mut self, mut key: KeyInfo) -> Result<KeyInfo, ControlError> {
        if self.key(key.id).is_ok() {
            return Err(ControlError::KeyExists);
        }
        let known = |client: &enclave_wire::Name| self.credentials.iter().any(|(name, ..)| name == client.as_str());
        if !key.clients.items().iter().all(known) {
            return Err(ControlError::NoSuchClient);
        }
        let older = self.keys.iter().filter(|older| older.name == key.name).count();
        key.generation = u32::try_from(older).unwrap() + 1;
        self.keys.push(key.clone());
        Ok(key)
    }

    /// Two keys to a page.
    fn page(&self, cursor: u32) -> Reply {
        let from = usize::try_from(cursor).unwrap();
        let rest = self.keys.get(from..).unwrap_or_default();
        Reply::Keys(KeyPage {
            total: u32::try_from(self.keys.len()).unwrap(),
            next: (rest.len() > 2).then_some(cursor + 2),
            keys: rest.iter().take(2).cloned().collect::<Vec<_>>().try_into().unwrap(),
        })
    }

    fn counters(&self) -> Counters {
        let counted = self.keys.iter().map(|key| KeyCounters {
            key: key.id,
            mechanism: Mechanism::EcdsaSha256,
            signed: 7,
            refused: 1,
            failed: 0,
        });
        Counters {
            connections: 1,
            accepted: 2,
            busy: 3,
            authentication_failures: 4,
            malformed: 5,
            deadlines: 6,
            keys: counted.collect::<Vec<_>>().try_into().unwrap(),
        }
    }
}
