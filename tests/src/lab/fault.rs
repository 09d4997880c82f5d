//! A line between clients and the lab's service on which single signatures meet what a bad line does.
//!
//! It knows frames: what is no request for a signature passes as it is. Each request for one takes the next fault of the plan, and
//! when the plan is empty passes too.

use std::collections::VecDeque;
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use enclave_wire::signing::operation;

use super::scratch::Scratch;
use super::signing::Connection;
use super::{Lab, process};

/// What happens to one request for a signature and its reply. Numbers are bytes that still pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The reply comes so much later.
    Delay(Duration),
    /// Both ways in single bytes.
    Trickle,
    /// Both ends are closed after so much of the request.
    CutRequest(usize),
    /// Both ends are closed after so much of the reply.
    CutReply(usize),
    /// The service hears the end after so much of the request; what it says to that passes.
    EndRequest(usize),
    /// The client hears the end after so much of the reply, and is listened to.
    EndReply(usize),
    /// Nothing comes after so much of the reply.
    Stall(usize),
    /// The reply of the signature before comes instead.
    Stale,
    /// The reply comes twice, at once.
    Twice,
    /// The reply comes, and once more when the next request does.
    Again,
    /// The replies of two requests that wait at the same time change places.
    Swap,
    /// One bit of the reply is another.
    Flip(usize),
}

/// Listens as long as it lives.
pub struct Line {
    shared: Arc<Shared>,
    name: String,
    scratch: Scratch,
}

struct Shared {
    service: String,
    plan: Mutex<VecDeque<Fault>>,
    last: Mutex<Vec<u8>>,
    /// Of two replies that change places the one that came first; then the other.
    laid: Mutex<Option<Vec<u8>>>,
    changed: Condvar,
    connections: AtomicU64,
    open: AtomicU64,
    requests: AtomicU64,
    ended: AtomicBool,
}

impl Line {
    /// Begins, with the configuration of a module that knows no other way to the service.
    pub fn start(lab: &Lab) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("enclave-tls-line-{}-{number}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        let scratch = Scratch::new()?;
        std::fs::copy(lab.credential()?, scratch.file("credential"))?;
        // Workers of several users read it.
        std::fs::set_permissions(scratch.file("credential"), Permissions::from_mode(0o644))?;
        let config = format!("endpoints = [\"unix:@{name}\"]\ncredential = \"credential\"\n");
        scratch.write("pkcs11.toml", config)?;
        let shared = Arc::new(Shared {
            service: lab.signing.clone(),
            plan: Mutex::default(),
            last: Mutex::default(),
            laid: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        thread::spawn(move || its.accept(&listener));
        Ok(Self { shared, name, scratch })
    }

    /// Where a module's configuration is.
    pub fn config(&self) -> PathBuf {
        self.scratch.file("pkcs11.toml")
    }

    /// OpenSSL's configuration with the module, as `provider` or `engine`: it names the module's.
    pub fn openssl_conf(&self, lab: &Lab, via: &str) -> Result<PathBuf> {
        let of_lab = std::fs::read_to_string(lab.openssl_conf.get(via).context("the lab has no such way")?)?;
        let (theirs, own) = (lab.module_config()?, self.config());
        let text = of_lab.replace(&theirs.display().to_string(), &own.display().to_string());
        anyhow::ensure!(text != of_lab, "the lab's {via} does not name {}", theirs.display());
        self.scratch.write(&format!("{via}.cnf"), text)
    }

    /// `openssl` with that.
    pub fn openssl(&self, lab: &Lab, via: &str) -> Result<Command> {
        let mut command = lab.openssl(via)?;
        command.env("OPENSSL_CONF", self.openssl_conf(lab, via)?);
        Ok(command)
    }

    /// These faults are next, in this order.
    pub fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.plan).extend(faults);
    }

    /// How many faults of the plan have not come yet.
    pub fn planned(&self) -> usize {
        lock(&self.shared.plan).len()
    }

    /// How many requests for a signature have come.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until every client has gone, and the service knows.
    pub fn wait_until_idle(&self) -> Result<()> {
        let open = || self.shared.open.load(Ordering::SeqCst);
        process::wait_until(LIMIT, "the end of every connection", || open() == 0)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // The next connection ends it.
        drop(SocketAddr::from_abstract_name(&self.name).map(|address| UnixStream::connect_addr(&address)));
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &UnixListener) {
        for client in listener.incoming().flatten() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let shared = Arc::clone(&self);
            shared.connections.fetch_add(1, Ordering::SeqCst);
            shared.open.fetch_add(1, Ordering::SeqCst);
            thread::spawn(move || {
                drop(shared.carry(client)); // whoever went away knows best why
                shared.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// Carries one connection to its end: its sockets close with this.
    fn carry(&self, client: UnixStream) -> Result<()> {
        let service = Connection::open(&self.service)?.into_stream()?;
        let mut ends = Ends { client, service };
        let mut again: Option<Vec<u8>> = None;
        while let Some(request) = frame(&mut ends.client)? {
            if let Some(reply) = again.take() {
                ends.client.write_all(&reply)?;
            }
            if request.get(OPERATION) != Some(&operation::SIGN) {
                ends.service.write_all(&request)?;
                let reply = ends.reply()?;
                ends.client.write_all(&reply)?;
                continue;
            }
            self.requests.fetch_add(1, Ordering::SeqCst);
            let fault = lock(&self.plan).pop_front().unwrap_or(Fault::None);
            if self.exchange(&mut ends, &request, fault, &mut again)? == Then::Closed {
                break;
            }
        }
        Ok(())
    }

    fn exchange(&self, ends: &mut Ends, request: &[u8], fault: Fault, again: &mut Option<Vec<u8>>) -> Result<Then> {
        match fault {
            Fault::CutRequest(count) => {
                ends.service.write_all(head(request, count))?;
                return Ok(Then::Closed);
            }
            Fault::EndRequest(count) => {
                ends.service.write_all(head(request, count))?;
                ends.service.shutdown(Shutdown::Write)?;
                io::copy(&mut ends.service, &mut ends.client)?;
                return Ok(Then::Closed);
            }
            Fault::Trickle => trickle(&mut ends.service, request)?,
            _ => ends.service.write_all(request)?,
        }
        let mut reply = ends.reply()?;
        let before = std::mem::replace(&mut *lock(&self.last), reply.clone());
        match fault {
            Fault::None | Fault::CutRequest(_) | Fault::EndRequest(_) => {}
            Fault::Delay(time) => thread::sleep(time),
            Fault::Trickle => {
                trickle(&mut ends.client, &reply)?;
                return Ok(Then::Open);
            }
            Fault::CutReply(count) => {
                ends.client.write_all(head(&reply, count))?;
                return Ok(Then::Closed);
            }
            Fault::EndReply(count) => {
                ends.client.write_all(head(&reply, count))?;
                ends.client.shutdown(Shutdown::Write)?;
                return ends.hear_out();
            }
            Fault::Stall(count) => {
                ends.client.write_all(head(&reply, count))?;
                return ends.hear_out();
            }
            Fault::Stale => reply = before,
            Fault::Twice => reply.extend_from_within(..),
            Fault::Again => *again = Some(reply.clone()),
            Fault::Swap => reply = self.swap(reply)?,
            Fault::Flip(bit) => *reply.get_mut(bit / 8).context("no such bit")? ^= 1 << (bit % 8),
        }
        ends.client.write_all(&reply)?;
        Ok(Then::Open)
    }

    /// Lays the reply down until the other is there, and takes that.
    fn swap(&self, reply: Vec<u8>) -> Result<Vec<u8>> {
        let mut laid = lock(&self.laid);
        if let Some(other) = laid.as_mut() {
            let other = std::mem::replace(other, reply);
            self.changed.notify_all();
            return Ok(other);
        }
        *laid = Some(reply.clone());
        let waiting = |laid: &mut Option<Vec<u8>>| laid.as_ref() == Some(&reply);
        let (mut laid, waited) = self
            .changed
            .wait_timeout_while(laid, LIMIT, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(!waited.timed_out(), "the other reply does not come");
        laid.take().context("no reply")
    }
}

/// Whether a connection lasts.
#[derive(PartialEq, Eq)]
enum Then {
    Open,
    Closed,
}

struct Ends {
    client: UnixStream,
    service: UnixStream,
}

impl Ends {
    fn reply(&mut self) -> Result<Vec<u8>> {
        frame(&mut self.service)?.context("the service hung up")
    }

    /// Until the client closes.
    fn hear_out(&mut self) -> Result<Then> {
        io::copy(&mut self.client, &mut io::sink())?;
        Ok(Then::Closed)
    }
}

/// A whole frame; none at the end of the stream.
fn frame(stream: &mut UnixStream) -> Result<Option<Vec<u8>>> {
    let mut frame = vec![0; LENGTH];
    if stream.read(frame.get_mut(..1).context("a length")?)? == 0 {
        return Ok(None);
    }
    stream.read_exact(frame.get_mut(1..).context("a length")?)?;
    let length = u32::from_be_bytes(*frame.first_chunk().context("a length")?);
    frame.resize(LENGTH + usize::try_from(length)?, 0);
    stream.read_exact(frame.get_mut(LENGTH..).context("a body")?)?;
    Ok(Some(frame))
}

fn trickle(to: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        to.write_all(std::slice::from_ref(byte))?;
        thread::sleep(Duration::from_micros(200)); // or the reader finds several
    }
    Ok(())
}

fn head(bytes: &[u8], count: usize) -> &[u8] {
    bytes.get(..count).unwrap_or(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LENGTH: usize = 4;
/// Where the operation stands, behind length and version.
const OPERATION: usize = 5;
/// Above every deadline of module and service but that of an idle connection.
const LIMIT: Duration = Duration::from_secs(10);
