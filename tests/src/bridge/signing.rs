//! The module's connections, to a guest that is there.

use std::io::{self, ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;

use enclave_wire::address::Address;

use super::{Gate, SIGNING, relay};

/// Listens while the guest does: a guest that is not there is a refused connection, as it is on Nitro.
pub(super) fn serve(address: &Address, vm: &Path, gate: &Arc<Gate>) -> io::Result<()> {
    loop {
        while !gate.is_open() || connect(vm).is_err() {
            sleep(PAUSE);
        }
        let listener = bind(address)?;
        listener.set_nonblocking(true)?;
        while gate.is_open() {
            match listener.accept() {
                Ok((module, _)) => pass(module, vm, gate),
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(POLL),
                Err(error) => return Err(error),
            }
        }
    }
}

fn bind(address: &Address) -> io::Result<UnixListener> {
    match address {
        Address::UnixPath(path) => {
            drop(std::fs::remove_file(path)); // what an earlier boot left
            UnixListener::bind(path)
        }
        Address::UnixAbstract(name) => UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?),
        Address::Vsock { .. } => Err(ErrorKind::Unsupported.into()),
    }
}

fn pass(module: UnixStream, vm: &Path, gate: &Arc<Gate>) {
    let (vm, gate) = (vm.to_owned(), Arc::clone(gate));
    thread::spawn(move || {
        module.set_nonblocking(false)?;
        if gate.is_open() {
            relay(module, connect(&vm)?)
        } else {
            Ok(())
        }
    });
}

/// Connects to the guest's signing port. A guest that is paused answers nothing until it goes on, and is waited for: the device panics
/// where the guest's answer finds nobody. The module has a deadline of its own.
fn connect(vm: &Path) -> io::Result<UnixStream> {
    let mut guest = UnixStream::connect(vm)?;
    guest.write_all(format!("CONNECT {SIGNING}\n").as_bytes())?;
    let mut line = Vec::new();
    // Not a byte beyond the line: what follows is the guest's.
    while line.len() < LINE && line.last() != Some(&b'\n') {
        let mut byte = [0];
        guest.read_exact(&mut byte)?;
        line.extend(byte);
    }
    match line.starts_with(b"OK ") {
        true => Ok(guest),
        false => Err(ErrorKind::ConnectionRefused.into()),
    }
}

/// While there is no guest.
const PAUSE: Duration = Duration::from_millis(10);
/// A new connection is a rare thing: the module keeps its own.
const POLL: Duration = Duration::from_millis(1);
/// `OK` and a port.
const LINE: usize = 32;
