//! The connections of this process: one per concurrent signer, up to a limit, then the next signer waits.

use std::sync::{Condvar, PoisonError};

use super::breaker::Breaker;
use super::connection::Connection;
use crate::token::deadline::Deadline;
use crate::token::lock::Lock;

/// Connections that are idle, and how many there are in all.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Lock<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The one used last is taken first: the others may be let go by the service.
    idle: Vec<Connection>,
    /// Idle or lent.
    places: usize,
    waiting: usize,
}

/// A place in the pool. Dropped, it closes its connection and lets the next signer in; [`Place::give_back`] keeps the connection.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Pool {
    /// Takes a place, with an idle connection in it where there is one. None where none came free by the deadline, or the service was
    /// found to stall meanwhile.
    pub(super) fn take(&self, deadline: Deadline, breaker: &Breaker) -> Option<Place<'_>> {
        let mut state = self.state.lock();
        let opened_before = breaker.is_open();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Some(self.place(Some(connection)));
            }
            if state.places < MAX_CONNECTIONS {
                state.places = state.places.saturating_add(1);
                return Some(self.place(None));
            }
            if breaker.is_open() && !opened_before {
                return None;
            }
            let left = deadline.remaining()?;
            state.waiting = state.waiting.saturating_add(1);
            let waited = self.returned.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting = state.waiting.saturating_sub(1);
        }
    }

    /// Closes every idle connection: one of them was found dead, and the others are older.
    pub(super) fn close_idle(&self) {
        let mut state = self.state.lock();
        let idle = std::mem::take(&mut state.idle);
        state.places = state.places.saturating_sub(idle.len());
        drop(state);
        drop(idle);
    }

    /// Has every waiting signer look at the breaker.
    pub(super) fn wake_all(&self) {
        self.returned.notify_all();
    }

    fn place(&self, connection: Option<Connection>) -> Place<'_> {
        Place { pool: self, connection }
    }

    fn leave(&self, connection: Option<Connection>) {
        let mut state = self.state.lock();
        match connection {
            Some(connection) => state.idle.push(connection),
            None => state.places = state.places.saturating_sub(1),
        }
        // Waking is a system call even where no one waits, so it is made only where someone does.
        if state.waiting > 0 {
            self.returned.notify_one();
        }
    }
}

impl Place<'_> {
    /// The connection, if there is one yet.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Puts a new connection in.
    pub(super) fn fill(&mut self, connection: Connection) -> &mut Connection {
        self.connection.insert(connection)
    }

    /// Keeps the connection for the next signer.
    pub(super) fn give_back(mut self) {
        self.pool.leave(self.connection.take());
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Closed before its place is given up, so that the limit holds for sockets too.
        drop(self.connection.take());
        self.pool.leave(None);
    }
}

/// What one process may hold. The service bounds what a credential may hold in all.
pub(super) const MAX_CONNECTIONS: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_signer_beyond_the_limit_waits_for_a_place() {
        let pool = Pool::default();
        let breaker = Breaker::new(LONG);
        let take = |time| pool.take(Deadline::within(time), &breaker);
        let mut places: Vec<_> = (0..MAX_CONNECTIONS).map(|_| take(LONG).unwrap()).collect();
        assert!(take(Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let take = &take;
            scope.spawn(move || sender.send(take(LONG).is_some()).unwrap());
            assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
            places.pop();
            assert_eq!(receiver.recv(), Ok(true));
        });
    }

    #[test]
    fn threat_57_a_waiting_signer_fails_when_the_service_stalls() {
        let pool = Pool::default();
        let breaker = Breaker::new(LONG);
        let places: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| pool.take(Deadline::within(LONG), &breaker).unwrap())
            .collect();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take(Deadline::within(LONG), &breaker).is_none());
            while pool.state.lock().waiting == 0 {
                std::thread::yield_now();
            }
            breaker.enter().unwrap().missed();
            pool.wake_all();
            assert!(waiting.join().unwrap(), "long before its deadline");
        });
        drop(places);
        assert_eq!(pool.state.lock().places, 0);
    }
}
