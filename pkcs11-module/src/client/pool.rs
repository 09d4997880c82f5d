//! The connections of this process: one per concurrent signer, up to a limit, then signers wait in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    /// Who waits. Of these only the first takes a place.
    waiting: VecDeque<Arc<Waiting>>,
}

/// A signer that waits for a place.
#[derive(Debug)]
struct Waiting {
    /// What it is woken by.
    woken: Condvar,
    since: Instant,
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
        if state.may_pass()
            && let Some(taken) = state.take()
        {
            return Some(self.place(taken));
        }
        let opened_before = breaker.is_open();
        let turn = Arc::new(Waiting {
            woken: Condvar::new(),
            since: Instant::now(),
        });
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
            let waited = turn.woken.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
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
            waiting.woken.notify_one();
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

    /// Has the first waiting signer take a place, if there is one. It is woken outside of the lock, which it needs.
    fn wake_first(state: MutexGuard<'_, State>) {
        let has_place = !state.idle.is_empty() || state.places < MAX_CONNECTIONS;
        let first = state.waiting.front().filter(|_| has_place).cloned();
        drop(state);
        if let Some(first) = first {
            first.woken.notify_one();
        }
    }
}

impl State {
    /// Whether who comes now may take a place before those who wait. It may for a moment, since it runs and they must be woken first; no
    /// longer, or who leaves a place could take it again before the first has woken, as often as it likes.
    fn may_pass(&self) -> bool {
        let first = self.waiting.front();
        first.is_none_or(|first| first.since.elapsed() < MOMENT)
    }

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

/// A few signatures long, and a small part of a call's time.
const MOMENT: Duration = Duration::from_millis(10);

/// What one process may hold. The service bounds what a credential may hold in all.
pub(super) const MAX_CONNECTIONS: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_signer_beyond_the_limit_waits_for_a_place() {
        let pool = Pool::default();
        let breaker = Breaker::new(LONG);
        let take = |time| pool.take(Deadline::within(time), &breaker);
        let mut places = full(&pool, &breaker);
        assert!(take(Duration::from_millis(1)).is_none());
        assert!(pool.state.lock().waiting.is_empty(), "who gives up leaves the line");
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
        let places = full(&pool, &breaker);
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

    /// So many signers wait, one after another; each says its number when it has a place, and leaves it.
    fn wait_in_line<'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        pool: &'scope Pool,
        breaker: &'scope Breaker,
        count: usize,
    ) -> mpsc::Receiver<usize> {
        let (sender, receiver) = mpsc::channel();
        for number in 0..count {
            let sender = sender.clone();
            scope.spawn(move || {
                let place = pool.take(Deadline::within(LONG), breaker);
                sender.send(number).unwrap();
                drop(place);
            });
            while pool.state.lock().waiting.len() <= number {
                std::thread::yield_now();
            }
        }
        receiver
    }

    fn full<'a>(pool: &'a Pool, breaker: &Breaker) -> Vec<Place<'a>> {
        let take = |_| pool.take(Deadline::within(LONG), breaker).unwrap();
        (0..MAX_CONNECTIONS).map(take).collect()
    }

    #[test]
    fn threat_57_signers_take_places_in_the_order_in_which_they_came() {
        let (pool, breaker) = (Pool::default(), Breaker::new(LONG));
        let mut places = full(&pool, &breaker);
        std::thread::scope(|scope| {
            let said = wait_in_line(scope, &pool, &breaker, 3);
            std::thread::sleep(MOMENT);
            // Whoever left a place does not come before those who have waited for longer than a moment.
            places.pop();
            let mut order = Vec::new();
            if pool.take(Deadline::within(Duration::ZERO), &breaker).is_some() {
                order.push(said.try_recv());
            }
            order.extend(said.iter().map(Ok));
            assert_eq!(order, [Ok(0), Ok(1), Ok(2)]);
        });
        drop(places);
        let state = pool.state.lock();
        assert!(state.places == 0 && state.waiting.is_empty());
    }

    #[test]
    fn threat_57_each_place_that_is_left_is_taken_by_one_who_waits() {
        let (pool, breaker) = (Pool::default(), Breaker::new(LONG));
        let mut places = full(&pool, &breaker);
        let (sender, said) = mpsc::channel();
        let all_said = Barrier::new(3);
        let took = std::thread::scope(|scope| {
            for _ in 0..2 {
                let (sender, pool, breaker, all_said) = (sender.clone(), &pool, &breaker, &all_said);
                scope.spawn(move || {
                    let place = pool.take(Deadline::within(LONG), breaker);
                    sender.send(place.is_some()).unwrap();
                    // None leaves its place to the other.
                    all_said.wait();
                });
            }
            while pool.state.lock().waiting.len() < 2 {
                std::thread::yield_now();
            }
            // Both before the first has woken: it alone is woken, and wakes the other.
            let mut state = pool.state.lock();
            for place in places.drain(..2) {
                std::mem::forget(place);
                state.places -= 1;
            }
            Pool::wake_first(state);
            let took = [(); 2].map(|()| said.recv_timeout(Duration::from_secs(10)));
            pool.wake_all(); // so that the test ends also where one was not
            all_said.wait();
            took
        });
        assert_eq!(took, [Ok(true), Ok(true)]);
    }
}
