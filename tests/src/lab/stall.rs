//! A server that takes every connection and never says a word, and an address where nobody listens.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// Listens as long as it lives.
pub struct Stall {
    address: SocketAddr,
    held: Arc<Mutex<Held>>,
}

/// None once it has ended.
type Held = Option<Vec<TcpStream>>;

impl Stall {
    /// Begins.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let held: Arc<Mutex<Held>> = Arc::new(Mutex::new(Some(Vec::new())));
        let its = Arc::clone(&held);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                match its.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    Some(held) => held.push(socket),
                    None => return,
                }
            }
        });
        Ok(Self { address, held })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().map_or(0, Vec::len)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The next connection ends it.
        drop(TcpStream::connect(self.address));
    }
}

/// Where nobody listens.
pub fn dead() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
