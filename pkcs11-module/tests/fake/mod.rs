//! A service that speaks the signing plane over a unix socket, or over a vsock, and misbehaves on request.
//!
//! It is strict: what a module may not send ends the connection, so a test that gets a signature has also shown that. The "signatures"
//! are right in length alone.

#![allow(dead_code, reason = "each test binary uses another part")]

mod wire;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use enclave_wire::address::Address;
use enclave_wire::credential::Secret;
use enclave_wire::objects::Object;
use enclave_wire::signing::{Entries, Entry, Listing, Page, Reply, Request, SignError, Signature};
use enclave_wire::{BootId, Chain, KeyId, KeyType, Name, Objects, Spki, State, Usage};
use sha2::{Digest, Sha256};
use socket2::{Domain, SockAddr, Socket, Type};

pub(crate) use wire::{Verifying, read_frame};

/// What the service does with the reply that it would give.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Gives it.
    Honest,
    /// Gives this instead.
    Send(Vec<u8>),
    /// Gives it byte by byte.
    Trickle,
    /// Gives its first bytes and closes.
    Cut(usize),
    /// Gives it and closes.
    Last,
    /// Says nothing, and keeps the connection open.
    Stall,
    /// Gives another reply to the same request.
    Reply(Reply),
    /// Gives this as the reply to the request of this id.
    ReplyTo(u64, Reply),
}

/// Something that was asked, after authentication.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Which connection, from 0.
    pub connection: usize,
    /// The request's id.
    pub id: u64,
    /// The request's operation.
    pub operation: u8,
    /// The honest reply.
    pub reply: Reply,
}

type Script = dyn Fn(&Asked) -> Act + Send + Sync;

/// A running service. Dropped, it closes its listener and every connection.
pub(crate) struct Fake {
    pub(crate) home: Home,
    core: Arc<Core>,
    acceptor: Option<JoinHandle<()>>,
}

struct Core {
    verifying: Verifying,
    boot: BootId,
    entries: Mutex<(u64, Vec<Entry>)>,
    chains: Mutex<Vec<(KeyId, Chain)>>,
    page: AtomicUsize,
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
    hellos: Mutex<Vec<[u8; 32]>>,
    streams: Mutex<Vec<UnixStream>>,
    accepted: AtomicUsize,
    busy_connects: Mutex<VecDeque<()>>,
    stopping: AtomicUsize,
}

impl Fake {
    /// A service with one P-256 key of usage `digest`, that always does as the script says.
    pub(crate) fn new(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        Self::at(Home::new(), 1, script)
    }

    pub(crate) fn honest() -> Self {
        Self::new(|_| Act::Honest)
    }

    /// One that does not know the credential, and takes whoever comes.
    pub(crate) fn impostor() -> Self {
        Self::impostor_at(Home::new())
    }

    /// The same, in a home that is there already.
    pub(crate) fn impostor_at(home: Home) -> Self {
        Self::with(home, 1, Verifying::impostor(), |_| Act::Honest)
    }

    /// A service in a home that is there already, as a restarted one is.
    pub(crate) fn at(home: Home, boot: u8, script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        let verifying = Verifying::of(&home.secret());
        Self::with(home, boot, verifying, script)
    }

    fn with(
        home: Home,
        boot: u8,
        verifying: Verifying,
        script: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Self {
        let _ = std::fs::remove_file(home.socket());
        let (listener, address) = socket(&home.address());
        listener.bind(&address).unwrap();
        listener.listen(128).unwrap();
        let core = Arc::new(Core {
            verifying,
            boot: BootId([boot; 16]),
            entries: Mutex::new((1, vec![p256("www", 1)])),
            chains: Mutex::default(),
            page: AtomicUsize::new(1000),
            script: Box::new(script),
            asked: Mutex::default(),
            hellos: Mutex::default(),
            streams: Mutex::default(),
            accepted: AtomicUsize::new(0),
            busy_connects: Mutex::default(),
            stopping: AtomicUsize::new(0),
        });
        let accepting = core.clone();
        let acceptor = std::thread::spawn(move || accepting.accept(&listener));
        Self {
            home,
            core,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn set_entries(&self, entries: Vec<Entry>) {
        let mut known = self.core.entries.lock().unwrap();
        *known = (known.0 + 1, entries);
    }

    pub(crate) fn set_page(&self, entries: usize) {
        self.core.page.store(entries, Ordering::SeqCst);
    }

    /// The public objects file that the agent would write.
    pub(crate) fn objects(&self) -> Objects {
        let entries = self.core.entries.lock().unwrap();
        let chains = self.core.chains.lock().unwrap();
        let objects = entries.1.iter().map(|entry| {
            let chain = chains.iter().find(|(key, _)| *key == entry.id);
            Object {
                entry: entry.clone(),
                chain: chain.map(|(_, chain)| chain.clone()).unwrap_or_default(),
            }
        });
        Objects::try_from(objects.collect::<Vec<_>>()).unwrap()
    }

    pub(crate) fn install(&self, id: KeyId, chain: Chain) {
        self.core.chains.lock().unwrap().push((id, chain));
    }

    /// The next connections are told `Busy` before they say anything.
    pub(crate) fn be_busy_for(&self, connections: usize) {
        self.core.busy_connects.lock().unwrap().extend(vec![(); connections]);
    }

    /// What was asked after authentication.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.core.asked.lock().unwrap().clone()
    }

    /// How often this operation was asked for.
    pub(crate) fn count(&self, operation: u8) -> usize {
        self.asked().iter().filter(|asked| asked.operation == operation).count()
    }

    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.core.accepted.load(Ordering::SeqCst)
    }

    /// The nonces of the clients.
    pub(crate) fn hellos(&self) -> Vec<[u8; 32]> {
        self.core.hellos.lock().unwrap().clone()
    }

    /// Closes every connection, and goes on listening.
    pub(crate) fn close_connections(&self) {
        for stream in self.core.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Stops, and leaves the home for the next.
    pub(crate) fn stop(mut self) -> Home {
        self.end();
        self.home.clone()
    }

    fn end(&mut self) {
        self.core.stopping.store(1, Ordering::SeqCst);
        let _ = self.home.connect();
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
        self.close_connections();
        let _ = std::fs::remove_file(self.home.socket());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.end();
    }
}

impl Core {
    fn accept(self: &Arc<Self>, listener: &Socket) {
        loop {
            let (stream, _) = listener.accept().unwrap();
            if self.stopping.load(Ordering::SeqCst) != 0 {
                return;
            }
            let stream = stream_of(stream);
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            self.streams.lock().unwrap().push(stream.try_clone().unwrap());
            let core = self.clone();
            std::thread::spawn(move || core.serve(stream, number));
        }
    }

    fn serve(&self, mut stream: UnixStream, number: usize) -> Option<()> {
        if self.busy_connects.lock().unwrap().pop_front().is_some() {
            return wire::send(&mut stream, &wire::frame(&Reply::Error(SignError::Busy), 0));
        }
        let nonce = self.verifying.authenticate(&mut stream, self.boot)?;
        self.hellos.lock().unwrap().push(nonce);
        loop {
            let (header, body) = read_frame(&mut stream)?;
            let request = Request::decode(&header, &body).expect("a module sends nothing else");
            let reply = self.answer(&request);
            let asked = Asked {
                connection: number,
                id: header.request_id,
                operation: header.operation,
                reply: reply.clone(),
            };
            self.asked.lock().unwrap().push(asked.clone());
            let honest = wire::frame(&reply, header.request_id);
            match (self.script)(&asked) {
                Act::Honest => wire::send(&mut stream, &honest)?,
                Act::Send(bytes) => wire::send(&mut stream, &bytes)?,
                // So slowly that they do not come together.
                Act::Trickle => honest.iter().try_for_each(|byte| {
                    std::thread::sleep(Duration::from_micros(200));
                    wire::send(&mut stream, std::slice::from_ref(byte))
                })?,
                Act::Cut(count) => {
                    wire::send(&mut stream, &honest[..count])?;
                    stream.shutdown(std::net::Shutdown::Both).ok()?;
                    return None;
                }
                Act::Last => {
                    wire::send(&mut stream, &honest)?;
                    stream.shutdown(std::net::Shutdown::Both).ok()?;
                    return None;
                }
                Act::Stall => (),
                Act::Reply(reply) => wire::send(&mut stream, &wire::frame(&reply, header.request_id))?,
                Act::ReplyTo(id, reply) => wire::send(&mut stream, &wire::frame(&reply, id))?,
            }
        }
    }

    fn answer(&self, request: &Request<'_>) -> Reply {
        let (version, entries) = self.entries.lock().unwrap().clone();
        match request {
            Request::List(list) if list.cursor == 0 && list.known_version == version => {
                Reply::Listing(Listing::Unchanged)
            }
            Request::List(list) => Reply::Listing(self.page(version, &entries, list.cursor)),
            Request::FindById(id) => {
                let found = entries.into_iter().filter(|entry| entry.id == *id);
                Reply::Found(Entries(found.collect()))
            }
            Request::FindByLabel(find) => {
                let found: Vec<_> = entries
                    .into_iter()
                    .filter(|entry| entry.label() == find.label)
                    .collect();
                Reply::Labelled(self.page(version, &found, find.cursor))
            }
            Request::Chain(id) => {
                let chains = self.chains.lock().unwrap();
                let chain = chains.iter().find(|(key, _)| key == id);
                Reply::Chain(chain.map(|(_, chain)| chain.clone()).unwrap_or_default())
            }
            Request::Sign(sign) => match entries.iter().find(|entry| entry.id == sign.key) {
                None => Reply::Error(SignError::NoSuchKey),
                Some(entry) => Reply::Signature(Signature {
                    key: sign.key,
                    mechanism: sign.mechanism,
                    input_len: u16::try_from(sign.input.len()).unwrap(),
                    signature: signature(entry.key_type, sign.input),
                }),
            },
            Request::Ping => Reply::Pong(self.boot),
            Request::Hello(_) | Request::Authenticate(_) => Reply::Error(SignError::Malformed),
        }
    }

    fn page(&self, version: u64, entries: &[Entry], cursor: u32) -> Listing {
        let (start, length) = (usize::try_from(cursor).unwrap(), self.page.load(Ordering::SeqCst));
        let end = entries.len().min(start + length);
        Listing::Page(Page {
            version,
            next: (end < entries.len()).then(|| u32::try_from(end).unwrap()),
            entries: Entries(entries[start..end].to_vec()),
        })
    }
}

/// A socket, and the address that it is to have or to reach.
fn socket(address: &str) -> (Socket, SockAddr) {
    let (domain, address) = match address.parse().unwrap() {
        Address::UnixPath(path) => (Domain::UNIX, SockAddr::unix(path).unwrap()),
        Address::Vsock { cid: Some(cid), port } => (Domain::VSOCK, SockAddr::vsock(cid, port)),
        other => panic!("{other}"),
    };
    (Socket::new(domain, Type::STREAM, None).unwrap(), address)
}

/// The standard library's stream is of any family: it reads, writes and shuts down.
fn stream_of(socket: Socket) -> UnixStream {
    UnixStream::from(OwnedFd::from(socket))
}

/// A directory with a configuration and a credential. The last clone removes it.
#[derive(Clone)]
pub(crate) struct Home(Arc<Owned>);

struct Owned {
    path: PathBuf,
    port: u32,
}

impl Home {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("enclave-tls-fake-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let port = FIRST_PORT + u32::try_from(count).unwrap();
        let home = Self(Arc::new(Owned { path, port }));
        home.write_credential(7);
        home.write_config(&[&home.address()]);
        home
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where its service listens: a unix socket here; a vsock, where the variable says that this machine has a loopback of it.
    pub(crate) fn address(&self) -> String {
        if std::env::var_os("ENCLAVE_TLS_VSOCK_LOOPBACK").is_some() {
            format!("vsock:{LOOPBACK}:{}", self.0.port)
        } else {
            format!("unix:{}", self.socket().display())
        }
    }

    /// A connection to its service.
    pub(crate) fn connect(&self) -> std::io::Result<UnixStream> {
        let (socket, address) = socket(&self.address());
        socket.connect(&address)?;
        Ok(stream_of(socket))
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("pkcs11.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("sock")
    }

    pub(crate) fn write_credential(&self, number: u8) {
        std::fs::write(
            self.path().join("credential"),
            Secret::from_random([number; 32]).to_file(),
        )
        .unwrap();
    }

    pub(crate) fn write_config(&self, endpoints: &[&str]) {
        let text = format!("endpoints = {endpoints:?}\ncredential = \"credential\"\nobjects = \"objects\"\n");
        std::fs::write(self.config(), text).unwrap();
    }

    /// Puts a public objects file of these bytes in place, as the agent does.
    pub(crate) fn write_objects(&self, bytes: &[u8]) {
        std::fs::write(self.path().join("objects.new"), bytes).unwrap();
        std::fs::rename(self.path().join("objects.new"), self.path().join("objects")).unwrap();
    }

    fn secret(&self) -> Secret {
        Secret::parse(&std::fs::read(self.path().join("credential")).unwrap()).unwrap()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The machine itself: `VMADDR_CID_LOCAL`, vsock(7).
const LOOPBACK: u32 = 1;
const FIRST_PORT: u32 = 10_000;

/// A P-256 key in form alone, of usage `digest`. The number makes it another key.
pub(crate) fn p256(name: &str, number: u8) -> Entry {
    let mut spki = vec![
        0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
        3, 0x42, 0, 4,
    ];
    spki.extend_from_slice(&[number; 64]);
    Entry {
        id: KeyId(Sha256::digest(&spki).into()),
        name: Name::try_from(name).unwrap(),
        generation: 1,
        key_type: KeyType::P256,
        usage: Usage::Digest,
        state: State::Live,
        spki: Spki::try_from(spki).unwrap(),
    }
}

/// The signature that the service gives: it says what was signed.
pub(crate) fn signature(key_type: KeyType, input: &[u8]) -> Vec<u8> {
    let mut signature = Sha256::digest(input).to_vec();
    signature.resize(key_type.signature_len(), 0);
    signature
}
