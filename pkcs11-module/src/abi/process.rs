//! The state of the process, by pid.
//!
//! A fork copies everything, locks and all, and stops every thread but one. So a child never waits for a lock of its parent: it sees by
//! its pid that the state is not its own, and makes another. What it takes over from the old one, it takes only if no thread was busy
//! with it. The old state is never freed: a lock in it may be held for ever, and it is a few kilobytes a fork.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, PoisonError, RwLock, TryLockError};

use rustix::process::{Pid, getpid};

use super::inherited;
use crate::boundary;
use crate::client::Client;
use crate::config::{Settings, Source};
use crate::token::backend::Backend;
use crate::token::lock::Lock;
use crate::token::{Error, Inventory, Token};

/// The token, in a process that has called `C_Initialize`. One that is not present is looked for again: a process that could open nothing
/// just then has none, and would have none for good.
pub(super) fn token() -> Result<Arc<Token>, Error> {
    let process = own().ok_or(Error::NotInitialized)?;
    let token = process.token.read().unwrap_or_else(PoisonError::into_inner).clone();
    match token {
        Some(token) if token.is_present() => Ok(token),
        Some(_) => process.look_again(),
        None => Err(Error::NotInitialized),
    }
}

/// `C_Initialize`
pub(super) fn initialize(source: &Source) -> Result<(), Error> {
    silence_panics_once();
    let process = own_or_new();
    let mut token = process.token.write().unwrap_or_else(PoisonError::into_inner);
    if token.is_some() {
        return Err(Error::AlreadyInitialized);
    }
    let mut heritage = process.heritage.lock();
    heritage.renew(source)?;
    *token = Some(Arc::new(heritage.token()));
    Ok(())
}

/// `C_Finalize`. In a forked child it ends what the parent began, for the child alone.
pub(super) fn finalize() -> Result<(), Error> {
    let known = current().ok_or(Error::NotInitialized)?;
    if known.pid != getpid() {
        let was_initialized = known.is_initialized();
        own_or_new();
        return if was_initialized {
            Ok(())
        } else {
            Err(Error::NotInitialized)
        };
    }
    let mut token = known.token.write().unwrap_or_else(PoisonError::into_inner);
    let ended = token.take().ok_or(Error::NotInitialized)?;
    if let Some(inventory) = ended.inventory() {
        known.heritage.lock().inventory = inventory;
    }
    Ok(())
}

/// Closes all that is open, unless another thread has it, and frees nothing. What is another process's is left as it was forked.
pub(super) fn let_go() {
    let Some(process) = own() else {
        return;
    };
    if let Ok(token) = process.token.try_write()
        && let Some(token) = token.as_ref().filter(|token| Arc::strong_count(token) == 1)
    {
        // SAFETY: no call has this token, and none gets it as long as it is locked. What owns these sockets looks whether a number still
        // is its socket before it closes it.
        token.each_socket(&mut |socket| unsafe { inherited::close(socket) });
    }
    if let Some(heritage) = process.heritage.try_lock() {
        let directory = heritage.settings.as_ref().and_then(Settings::directory_number);
        // SAFETY: it is the directory's, and whoever has that looks whether it still is before each use.
        drop(directory.map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
    }
}

/// What outlives `C_Finalize` and, as a copy, a fork.
#[derive(Clone, Default)]
struct Heritage {
    /// The file that was named last. The environment, which may name it, is another thread's to change after `C_Initialize`.
    file: PathBuf,
    settings: Option<Settings>,
    inventory: Inventory,
}

impl Heritage {
    /// Reads the configuration, or only credential and public objects where the configuration was read before.
    fn renew(&mut self, source: &Source) -> Result<(), Error> {
        let is_kept = |settings: &Settings| match source {
            Source::Usual => true,
            Source::Named(path) => settings.came_from(path),
        };
        if let Some(settings) = self.settings.as_mut().filter(|settings| is_kept(settings)) {
            settings.read_credential_again();
            // The file may be out of reach by now, and what was read of it last was read by the token.
            if let Some(objects) = self.inventory.published_source() {
                settings.keep_objects(objects);
            }
            settings.read_few_objects_again();
            return Ok(());
        }
        *self = Self {
            file: source.path(),
            ..Self::default()
        };
        self.settings = load(&self.file)?;
        Ok(())
    }

    /// Reads what could not be read before.
    fn complete(&mut self) {
        match &mut self.settings {
            Some(settings) => settings.read_credential_again(),
            // A mistake in it shows at the next `C_Initialize`.
            None => self.settings = load(&self.file).unwrap_or_default(),
        }
    }

    fn token(&self) -> Token {
        let client = self.settings.clone().and_then(Client::new);
        let backend = client.map(|client| -> Box<dyn Backend> { Box::new(client) });
        Token::new(backend, self.inventory.clone())
    }
}

fn load(path: &Path) -> Result<Option<Settings>, Error> {
    // Which line is wrong is for `enclave-tlsctl check` to say: nothing is written to a host's streams.
    Settings::load(path).map_err(|_config_error| Error::ArgumentsBad)
}

struct Process {
    pid: Pid,
    token: RwLock<Option<Arc<Token>>>,
    heritage: Lock<Heritage>,
}

impl Process {
    /// The state of this process, with what a copy of another's can give. Waits for nothing.
    fn heir_of(parent: Option<&Self>) -> Self {
        Self {
            pid: getpid(),
            token: RwLock::new(None),
            heritage: Lock::new(parent.map(Self::bequeath).unwrap_or_default()),
        }
    }

    /// The token, present by now or not. Nothing hangs on one that was not: it could open no session.
    fn look_again(&self) -> Result<Arc<Token>, Error> {
        let mut place = self.token.write().unwrap_or_else(PoisonError::into_inner);
        let token = place.as_mut().ok_or(Error::NotInitialized)?;
        if !token.is_present() {
            let mut heritage = self.heritage.lock();
            heritage.complete();
            *token = Arc::new(heritage.token());
        }
        Ok(token.clone())
    }

    fn bequeath(&self) -> Heritage {
        let mut heritage = self
            .heritage
            .try_lock()
            .map(|heritage| heritage.clone())
            .unwrap_or_default();
        if let Some(inventory) = self.token_of_parent().and_then(|token| token.inventory()) {
            heritage.inventory = inventory;
        }
        heritage
    }

    fn is_initialized(&self) -> bool {
        self.token_of_parent().is_some()
    }

    /// In a child: the parent's token, unless it was just being initialised or finalised.
    fn token_of_parent(&self) -> Option<Arc<Token>> {
        match self.token.try_read() {
            Ok(token) => token.clone(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().clone(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// In a child: closes its copies of the parent's sockets.
    fn close_sockets_of_parent(&self) {
        if let Some(token) = self.token_of_parent() {
            // SAFETY: the caller has just replaced the state of another pid, which is the parent's or its parent's; the connections in
            // it are leaked with it, and no code reaches them here.
            token.each_socket(&mut |socket| unsafe { inherited::close(socket) });
        }
    }
}

/// The state of this process or of one that it was forked from.
static CURRENT: AtomicPtr<Process> = AtomicPtr::new(std::ptr::null_mut());

fn current() -> Option<&'static Process> {
    // SAFETY: only `own_or_new` stores here, pointers of boxes that are not freed once they are stored.
    unsafe { CURRENT.load(Ordering::Acquire).as_ref() }
}

fn own() -> Option<&'static Process> {
    current().filter(|process| process.pid == getpid())
}

fn own_or_new() -> &'static Process {
    loop {
        if let Some(process) = own() {
            return process;
        }
        let old = CURRENT.load(Ordering::Acquire);
        let heir = Box::into_raw(Box::new(Process::heir_of(current())));
        let swapped = CURRENT.compare_exchange(old, heir, Ordering::AcqRel, Ordering::Acquire);
        if swapped.is_err() {
            // Another thread of this process was first.
            // SAFETY: made by `Box::into_raw` above, and stored nowhere.
            drop(unsafe { Box::from_raw(heir) });
            continue;
        }
        // SAFETY: null, or a box that was stored, so it is not freed.
        if let Some(parent) = unsafe { old.as_ref() } {
            parent.close_sockets_of_parent();
        }
    }
}

/// A panic says nothing on the host's standard error stream. Not in a constructor: loading alone changes nothing.
fn silence_panics_once() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        boundary::silence_panics();
    }
}

/// Initialises this process with a token of a test's.
#[cfg(test)]
pub(super) fn set_token(token: Option<Token>) {
    let process = own_or_new();
    *process.token.write().unwrap_or_else(PoisonError::into_inner) = token.map(Arc::new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::memory::{Memory, p256};

    #[test]
    fn a_token_that_another_thread_found_meanwhile_is_kept() {
        let process = Process::heir_of(None);
        let backend = Memory::new(vec![p256("www", 1)]);
        let found = Arc::new(Token::new(Some(Box::new(backend)), Inventory::default()));
        *process.token.write().unwrap() = Some(found.clone());
        assert!(Arc::ptr_eq(&process.look_again().unwrap(), &found));
    }
}
