//! Sessions: a handle, and the operations that are active under it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE};

use super::error::Error;
use super::lock::Lock;
use super::sign::SignOperation;

/// The open sessions of a process.
#[derive(Debug, Default)]
pub(super) struct Sessions(Lock<Table>);

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) writable: bool,
    /// Held for the length of a call: two threads in one session take turns.
    pub(super) active: Lock<Active>,
}

/// What is active in a session. Finding and signing do not exclude each other.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) find: Option<VecDeque<CK_OBJECT_HANDLE>>,
    pub(super) sign: Option<SignOperation>,
}

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<CK_SESSION_HANDLE, Arc<Session>>,
    logged_in: bool,
}

/// Handles count up from 1 and are never used twice in a process, also after `C_Finalize`: the handle of a session that is closed means
/// nothing, whichever thread still has it.
fn next_handle() -> Result<CK_SESSION_HANDLE, Error> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let next = LAST.fetch_add(1, Ordering::Relaxed).checked_add(1);
    next.ok_or(Error::SessionCount)
}

impl Sessions {
    pub(super) fn open(&self, writable: bool) -> Result<CK_SESSION_HANDLE, Error> {
        let mut table = self.0.lock();
        if table.open.len() >= MAX_SESSIONS {
            return Err(Error::SessionCount);
        }
        let handle = next_handle()?;
        let session = Session {
            writable,
            active: Lock::default(),
        };
        table.open.insert(handle, Arc::new(session));
        Ok(handle)
    }

    pub(super) fn get(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>, Error> {
        let table = self.0.lock();
        table.open.get(&handle).cloned().ok_or(Error::SessionHandleInvalid)
    }

    /// Closing the last session logs out.
    pub(super) fn close(&self, handle: CK_SESSION_HANDLE) -> Result<(), Error> {
        let mut table = self.0.lock();
        table.open.remove(&handle).ok_or(Error::SessionHandleInvalid)?;
        table.logged_in &= !table.open.is_empty();
        Ok(())
    }

    pub(super) fn close_all(&self) {
        let mut table = self.0.lock();
        table.open.clear();
        table.logged_in = false;
    }

    /// A PIN is accepted and ignored: it never authorises. Only that one is logged in is remembered, since clients ask.
    pub(super) fn log_in(&self, handle: CK_SESSION_HANDLE) -> Result<(), Error> {
        let mut table = self.0.lock();
        match (table.open.contains_key(&handle), table.logged_in) {
            (false, _) => Err(Error::SessionHandleInvalid),
            (true, true) => Err(Error::UserAlreadyLoggedIn),
            (true, false) => {
                table.logged_in = true;
                Ok(())
            }
        }
    }

    pub(super) fn log_out(&self, handle: CK_SESSION_HANDLE) -> Result<(), Error> {
        let mut table = self.0.lock();
        match (table.open.contains_key(&handle), table.logged_in) {
            (false, _) => Err(Error::SessionHandleInvalid),
            (true, false) => Err(Error::UserNotLoggedIn),
            (true, true) => {
                table.logged_in = false;
                Ok(())
            }
        }
    }

    /// How many are open, how many of them for writing, and whether one is logged in.
    pub(super) fn counts(&self) -> (usize, usize, bool) {
        let table = self.0.lock();
        let writable = table.open.values().filter(|session| session.writable).count();
        (table.open.len(), writable, table.logged_in)
    }

    /// Whether a session is writable, and whether one is logged in.
    pub(super) fn state(&self, handle: CK_SESSION_HANDLE) -> Result<(bool, bool), Error> {
        let table = self.0.lock();
        let session = table.open.get(&handle).ok_or(Error::SessionHandleInvalid)?;
        Ok((session.writable, table.logged_in))
    }
}

/// Far above what a web server opens (18 in httpd with 8 threads), and a bound on what a leak of sessions costs.
pub(super) const MAX_SESSIONS: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_never_used_twice() {
        let sessions = Sessions::default();
        let first = sessions.open(false).unwrap();
        sessions.close(first).unwrap();
        assert_ne!(sessions.open(false).unwrap(), first);
        assert_eq!(sessions.close(first), Err(Error::SessionHandleInvalid));
        assert_eq!(sessions.get(0).err(), Some(Error::SessionHandleInvalid));
        // As after `C_Finalize`.
        let later = Sessions::default();
        assert!(later.open(false).unwrap() > first);
        assert_eq!(later.get(first).err(), Some(Error::SessionHandleInvalid));
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        for _ in 0..MAX_SESSIONS {
            sessions.open(false).unwrap();
        }
        assert_eq!(sessions.open(false), Err(Error::SessionCount));
        sessions.close_all();
        assert!(sessions.open(true).is_ok());
        assert_eq!(sessions.counts(), (1, 1, false));
    }

    #[test]
    fn closing_the_last_session_logs_out() {
        let sessions = Sessions::default();
        let session = sessions.open(false).unwrap();
        assert_eq!(sessions.log_out(session), Err(Error::UserNotLoggedIn));
        sessions.log_in(session).unwrap();
        assert_eq!(sessions.log_in(session), Err(Error::UserAlreadyLoggedIn));
        assert_eq!(sessions.state(session), Ok((false, true)));
        sessions.close(session).unwrap();
        let session = sessions.open(false).unwrap();
        assert_eq!(sessions.state(session), Ok((false, false)));
    }
}
