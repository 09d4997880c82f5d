//! The connections of this process: one per concurrent signer, up to a limit, then signers wait in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};

use super::breaker::Breaker;
use super::connection::Connection;
use crate::token::deadline::Deadline;
use crate::token::lock::Lock;

/// Connections that are idle, and how many there are in all.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Lock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The one used last is taken first: the others may be let go by the service.
    idle: Vec<Connection>,
    /// Idle or lent.
    places: usize,
    /// What each waiting signer is woken by. Only the first takes a place, also when a signer comes just as one is left: else whoever
    /// leaves one could take it again before the first has woken, as often as it likes.
    waiting: VecDeque<Arc<Condvar>>,
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
        if state.waiting.is_empty()
            && let Some(taken) = state.take()
        {
            return Some(self.place(taken));
        }
        let opened_before = breaker.is_open();
        let turn = Arc::<Condvar>::default();
        state.waiting.push_back(Arc::clone(&turn));
        let taken = loop {
            if state.waiting.front().is_some_and(|first| Arc::ptr_eq(first, &turn))
                && let Some(taken) = state.take()
            {
                break Some(taken);
            }
            if breaker.is_open() && !opened_before {
                break None;
            }
            let Some(left) = deadline.remaining() else {
                break None;
            };
            state = turn.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiting.retain(|other| !Arc::ptr_eq(other, &turn));
        // There may be a place for the next one, too.
        Self::wake_first(state);
        Some(self.place(taken?))
    }

    /// Closes every idle connection: one of them was found dead, and the others are older.
    pub(super) fn close_idle(&self) {
        let mut state = self.state.lock();
        let idle = std::mem::take(&mut state.idle);
        state.places = state.places.saturating_sub(idle.len());
        Self::wake_first(state);
        drop(idle);
    }

    /// Has every waiting signer look at the breaker.
    pub(super) fn wake_all(&self) {
        for waiting in &self.state.lock().waiting {
            waiting.notify_one();
        }
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
        Self::wake_first(state);
    }

    /// Has the first waiting signer see whether there is a place. It is woken outside of the lock, which it needs.
    fn wake_first(state: MutexGuard<'_, State>) {
        let first = state.waiting.front().cloned();
        drop(state);
        if let Some(first) = first {
            first.notify_one();
        }
    }
}

impl State {
    /// A place, and the connection that is there already.
    fn take(&mut self) -> Option<Option<Connection>> {
        if let Some(connection) = self.idle.pop() {
            return Some(Some(connection));
        }
        let places = self.places.checked_add(1).filter(|places| *places <= MAX_CONNECTIONS)?;
        self.places = places;
        Some(None)
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
            while pool.state.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            breaker.enter().unwrap().missed();
            pool.wake_all();
            assert!(waiting.join().unwrap(), "long before its deadline");
        });
        drop(places);
        assert_eq!(pool.state.lock().places, 0);
    }

    #[test]
    fn threat_57_signers_take_places_in_the_order_in_which_they_came() {
        let pool = Pool::default();
        let breaker = Breaker::new(LONG);
        let take = || pool.take(Deadline::within(LONG), &breaker).unwrap();
        let mut places: Vec<_> = (0..MAX_CONNECTIONS).map(|_| take()).collect();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for number in 0..3 {
                let (take, sender) = (&take, sender.clone());
                scope.spawn(move || {
                    let place = take();
                    sender.send(number).unwrap();
                    drop(place);
                });
                while pool.state.lock().waiting.len() <= number {
                    std::thread::yield_now();
                }
            }
            places.pop();
            // Whoever left a place does not come before those who wait.
            drop(take());
            sender.send(3).unwrap();
        });
        assert_eq!(receiver.iter().take(4).collect::<Vec<_>>(), [0, 1, 2, 3]);
        drop(places);
        let state = pool.state.lock();
        assert!(state.places == 0 && state.waiting.is_empty());
    }
}
