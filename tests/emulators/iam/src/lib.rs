//! A strict stand-in for the part of AWS IAM that says what a role may do, for tests: `GetRole`, its policies, and
//! `SimulatePrincipalPolicy`, which no other stand-in has.
//!
//! What IAM checks is checked here, at least as strictly: the request's signature over the whole of it, who may ask what, that each
//! parameter is one that the operation has, that no action is a pattern. Answers come in small pages. Documents come quoted, as IAM's do.

#![deny(missing_docs)]

mod account;
mod answer;
mod http;
mod operations;
mod request;
mod simulate;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use account::{Account, Asker, Role};

/// A running stand-in. Ends when it is dropped.
pub struct Emulator {
    address: SocketAddr,
    inside: Arc<Inside>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Inside {
    pub(crate) account: Account,
    asked: Mutex<Vec<String>>,
    ends: AtomicBool,
}

impl Emulator {
    /// Starts one on a loopback port. When this returns it accepts connections.
    pub fn start(account: Account) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let inside = Arc::new(Inside {
            account,
            asked: Mutex::default(),
            ends: AtomicBool::new(false),
        });
        let its = Arc::clone(&inside);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if its.ends.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let its = Arc::clone(&its);
                std::thread::spawn(move || http::serve(&its, connection));
            }
        });
        Ok(Self {
            address,
            inside,
            thread: Some(thread),
        })
    }

    /// Where IAM is, over plain HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The operations that were let through, in their order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.inside.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Inside {
    fn note(&self, operation: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(operation.to_owned());
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.inside.ends.store(true, Ordering::SeqCst);
        // The next connection ends the loop.
        drop(std::net::TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // a thread that panicked has ended, too
        }
    }
}
