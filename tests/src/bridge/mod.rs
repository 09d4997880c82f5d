//! What stands between a lab's unix sockets and the vsock of an emulated machine, whose device listens on the host's side by the
//! convention of Firecracker: the host connects to the socket `VM`, sends `CONNECT PORT` and reads `OK …`; a port of the host's that the
//! guest dials is the socket `VM_PORT`.
//!
//! On Nitro there is no such thing: there both sides have vsock.
//!
//! The device (vhost-device-vsock 0.3.0) ends its only thread when the host connects after QEMU and before the guest's driver has made its
//! queues: nothing comes through for the rest of that boot. So the bridge connects only while the guest's log connection stands, which
//! PID 1 dials first of all and keeps; and while it does not, nobody listens for the module, as with an enclave that is not there.

mod logs;
mod signing;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use enclave_wire::address::Address;

/// What to bridge.
#[derive(Debug, Clone)]
pub struct Bridge {
    /// The device's socket.
    pub vm: PathBuf,
    /// Where the module connects.
    pub signing: Address,
    /// Where the agent waits for the guest's control connection.
    pub control: PathBuf,
    /// Where the agent takes the guest's log.
    pub logs: PathBuf,
}

impl Bridge {
    /// Bridges for ever.
    pub fn run(&self) -> io::Result<()> {
        let gate = Arc::new(Gate::default());
        let (dials, records) = (dialled(&self.vm, CONTROL)?, dialled(&self.vm, LOGS)?);
        let (control, logs) = (self.control.clone(), self.logs.clone());
        let opened = Arc::clone(&gate);
        thread::spawn(move || logs::carry_all(&records, &logs, &opened));
        thread::spawn(move || pass_all(&dials, &control));
        signing::serve(&self.signing, &self.vm, &gate)
    }
}

/// Open while a guest runs whose driver is up.
#[derive(Debug, Default)]
struct Gate(AtomicUsize);

impl Gate {
    fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    fn hold(self: &Arc<Self>) -> Held {
        self.0.fetch_add(1, Ordering::SeqCst);
        Held(Arc::clone(self))
    }
}

/// Keeps the gate open until it is dropped.
struct Held(Arc<Gate>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The guest's connections to a port of the host's.
fn dialled(vm: &Path, port: u32) -> io::Result<UnixListener> {
    let mut path = vm.as_os_str().to_owned();
    path.push(format!("_{port}"));
    drop(std::fs::remove_file(&path)); // what an earlier bridge left
    UnixListener::bind(path)
}

/// Passes each of the guest's control connections on. An agent that is away is a closed connection: the guest dials again.
fn pass_all(dials: &UnixListener, control: &Path) {
    for guest in dials.incoming().filter_map(Result::ok) {
        let control = control.to_owned();
        thread::spawn(move || match UnixStream::connect(control) {
            Ok(agent) => relay(guest, agent),
            Err(_) => Ok(()),
        });
    }
}

/// Bytes both ways, until one side ends: there is no half of a connection in these protocols.
fn relay(one: UnixStream, other: UnixStream) -> io::Result<()> {
    let ends = (one.try_clone()?, other.try_clone()?);
    let back = (other.try_clone()?, one.try_clone()?);
    thread::spawn(move || pump(back.0, back.1));
    pump(one, other);
    for end in [ends.0, ends.1] {
        drop(end.shutdown(Shutdown::Both)); // it may have ended
    }
    Ok(())
}

fn pump(mut from: UnixStream, mut to: UnixStream) {
    let mut bytes = [0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(bytes.get(..count).unwrap_or_default()).is_err() {
            break;
        }
    }
    for end in [from, to] {
        drop(end.shutdown(Shutdown::Both)); // it may have ended
    }
}

/// The parent's ports, as `PROTOCOL.md` gives them.
const CONTROL: u32 = 440;
const LOGS: u32 = 442;
/// The guest's.
const SIGNING: u32 = 4_430;
/// More at once may stall the device.
const CHUNK: usize = 16_384;
