//! RSA has threads of its own, one a core: other signatures wait behind at most one RSA operation a core, and clients take turns
//! (threat 50).
//!
//! The way to such a thread and back costs some 15 µs a signature. So an operation that comes alone is done where it came in: none other
//! runs or waits, and nothing has been done there since the thread last slept, so that what comes meanwhile waits behind that one only.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use enclave_wire::Name;
use tokio::sync::oneshot;

use super::turns::Turns;
use crate::statistics::{Entered, Statistics};

/// Threads that make RSA signatures. They end when this is dropped.
pub(super) struct RsaPool {
    queue: Arc<Queue>,
}

/// Why an operation was not run to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotRun {
    /// As many of this client's wait as may.
    Busy,
    /// It panicked. The thread lives on.
    Panicked,
}

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// As many wait, in equal shares of the clients that have some there. A client that comes to a full queue has its share at once.
    limit: usize,
    /// As many run at once.
    cores: u32,
    statistics: Arc<Statistics>,
}

/// An operation that is done where it came in.
struct Alone<'a> {
    queue: &'a Queue,
    running: Option<Entered>,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let waiting = self.queue.lock();
        drop(self.running.take());
        let others_wait = !waiting.jobs.is_empty();
        drop(waiting);
        if others_wait {
            self.queue.changed.notify_one();
        }
    }
}

#[derive(Default)]
struct Waiting {
    jobs: Turns<Name, (Entered, Job)>,
    closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

impl RsaPool {
    /// Starts a thread for each core.
    pub(super) fn start(statistics: &Arc<Statistics>, limit: u32) -> std::io::Result<Self> {
        Self::on(available_parallelism()?.get(), statistics, limit)
    }

    fn on(cores: usize, statistics: &Arc<Statistics>, limit: u32) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            statistics: Arc::clone(statistics),
        });
        let pool = Self { queue };
        for number in 0..cores {
            let queue = Arc::clone(&pool.queue);
            let thread = std::thread::Builder::new().name(format!("rsa-{number}"));
            thread.spawn(move || queue.work())?;
        }
        Ok(pool)
    }

    /// Runs a client's `operation`: here if it is alone, else when a core is free and it is this client's turn.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        client: &Name,
        operation: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotRun> {
        if let Some(alone) = self.queue.alone() {
            // As `work` has it.
            let outcome = catch_unwind(AssertUnwindSafe(operation));
            drop(alone);
            self.queue.statistics.rsa_done.count();
            return outcome.map_err(|_| NotRun::Panicked);
        }
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody waits for it any more if the connection ended.
            let _ = done.send(operation());
        });
        self.queue.push(client, job)?;
        result.await.map_err(|_| NotRun::Panicked)
    }
}

impl Drop for RsaPool {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

/// To be called when the thread that calls [`RsaPool::run`] has nothing more to do and goes to sleep.
pub(super) fn sleeps() {
    HAS_SLEPT.set(true);
}

thread_local! {
    /// Whether this thread has slept since it did an operation itself. One that never sleeps does none.
    static HAS_SLEPT: Cell<bool> = const { Cell::new(false) };
}

impl Queue {
    /// A place for an operation that is done on this thread.
    fn alone(&self) -> Option<Alone<'_>> {
        let is_first = HAS_SLEPT.replace(false) && self.statistics.rsa_waiting.get() == 0;
        let running = is_first.then(|| self.statistics.rsa_running.enter(1)).flatten()?;
        Some(Alone {
            queue: self,
            running: Some(running),
        })
    }

    fn push(&self, client: &Name, job: Job) -> Result<(), NotRun> {
        let mut waiting = self.lock();
        let has_place = waiting.jobs.of(client) < waiting.jobs.share(client, self.limit);
        let Some(place) = has_place.then(|| self.statistics.rsa_waiting.enter(u32::MAX)).flatten() else {
            self.statistics.rsa_shed.count();
            return Err(NotRun::Busy);
        };
        waiting.jobs.push(client, (place, job));
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Runs jobs until the pool is closed.
    fn work(&self) {
        while let Some((_running, job)) = self.next() {
            // What a job touches is its own, or made for many threads; its panic drops its sender, and the one connection with it.
            let _ = catch_unwind(AssertUnwindSafe(job));
            self.statistics.rsa_done.count();
            // The scheduler would let this thread use up its slice, a dozen operations long, before whoever waits for the core.
            std::thread::yield_now();
        }
    }

    fn next(&self) -> Option<(Entered, Job)> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            // One that is done elsewhere has a core, too.
            if !waiting.jobs.is_empty()
                && let Some(running) = self.statistics.rsa_running.enter(self.cores)
                && let Some((_place, job)) = waiting.jobs.pop()
            {
                return Some((running, job));
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    // No code of a job runs under this lock, so a panic leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threat_49_a_panic_ends_its_operation_only() {
        let pool = RsaPool::start(&Arc::default(), 8).unwrap();
        let cores = available_parallelism().unwrap().get();
        for _ in 0..2 * cores {
            assert_eq!(
                pool.run(&client(), || panic!("an operation")).await,
                Err::<(), _>(NotRun::Panicked)
            );
        }
        assert_eq!(pool.run(&client(), || 7).await, Ok(7));
    }

    fn client() -> Name {
        "www-data".parse().unwrap()
    }

    /// Like a thread of the signing plane.
    fn sleeping() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(sleeps)
            .build()
            .unwrap()
    }

    /// Sleeps until nothing runs.
    async fn rest(pool: &RsaPool) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        while pool.queue.statistics.rsa_running.get() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// The name of the thread that does it.
    async fn place(pool: &RsaPool) -> String {
        let name = || std::thread::current().name().unwrap_or_default().to_owned();
        pool.run(&client(), name).await.unwrap()
    }

    #[test]
    fn threat_50_what_is_alone_is_done_at_once_and_what_comes_with_it_by_another_thread() {
        let pool = RsaPool::on(2, &Arc::default(), 8).unwrap();
        let here = std::thread::current().name().unwrap().to_owned();
        sleeping().block_on(async {
            for _ in 0..3 {
                rest(&pool).await;
                let both = tokio::join!(place(&pool), place(&pool));
                assert!(both.0 == here && both.1.starts_with("rsa-"), "{both:?}");
            }
        });
        let done = pool.queue.statistics.rsa_done.get();
        assert!(
            done >= 3,
            "those that were alone are counted before they are answered, and here are {done}"
        );
    }

    #[test]
    fn threat_50_while_one_runs_or_waits_none_is_done_at_once() {
        let pool = RsaPool::on(2, &Arc::default(), 8).unwrap();
        let statistics = Arc::clone(&pool.queue.statistics);
        sleeping().block_on(async {
            for gauge in [&statistics.rsa_running, &statistics.rsa_waiting] {
                rest(&pool).await;
                let other = gauge.enter(u32::MAX);
                assert!(place(&pool).await.starts_with("rsa-"));
                drop(other);
            }
        });
    }

    #[test]
    fn threat_50_with_one_that_is_done_at_once_no_more_run_than_there_are_cores() {
        let pool = Arc::new(RsaPool::on(2, &Arc::default(), 64).unwrap());
        let (statistics, cores) = (Arc::clone(&pool.queue.statistics), pool.queue.cores);
        let moment = std::time::Duration::from_millis(1);
        let within = Arc::clone(&pool);
        sleeping().block_on(async {
            rest(&pool).await;
            let owner = client();
            let alone = pool.run(&owner, move || {
                for _ in 0..cores {
                    let job = Box::new(move || std::thread::sleep(moment * 20));
                    within.queue.push(&client(), job).unwrap();
                }
                // Those that may run have begun; one too many would have, too.
                std::thread::sleep(moment * 100);
                within.queue.statistics.rsa_waiting.get()
            });
            assert!(alone.await.unwrap() < cores, "the others wait for it");
        });
        while statistics.rsa_done.get() <= u64::from(cores) {
            std::thread::sleep(moment);
        }
        assert_eq!(statistics.rsa_running.most(), cores);
    }

    #[test]
    fn threat_49_a_panic_of_one_that_is_alone_ends_it_only() {
        let pool = RsaPool::on(2, &Arc::default(), 8).unwrap();
        sleeping().block_on(async {
            for _ in 0..2 {
                rest(&pool).await;
                let owner = client();
                let panics = pool.run(&owner, || panic!("an operation"));
                assert_eq!(panics.await, Err::<(), _>(NotRun::Panicked));
            }
        });
        assert_eq!(pool.queue.statistics.rsa_running.get(), 0);
    }

    fn count(number: u32) -> usize {
        usize::try_from(number).unwrap()
    }

    #[tokio::test]
    async fn threat_50_no_more_run_than_there_are_cores_and_no_more_wait_than_may() {
        let statistics = Arc::<Statistics>::default();
        let pool = Arc::new(RsaPool::start(&statistics, 8).unwrap());
        let cores = available_parallelism().unwrap().get();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut operations = tokio::task::JoinSet::new();
        for started in 0..cores + 8 {
            let (held, gate) = (Arc::clone(&pool), Arc::clone(&gate));
            let owner = client();
            operations.spawn(async move { held.run(&owner, move || gate.lock().unwrap().recv().is_ok()).await });
            // The first are each taken by a thread before the next comes, however slow the threads are to start; the others wait.
            let (running, waiting) = (started.min(cores - 1) + 1, (started + 1).saturating_sub(cores));
            while pool.queue.lock().jobs.of(&client()) != waiting || count(statistics.rsa_running.get()) != running {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(pool.run(&client(), || false).await, Err(NotRun::Busy));
        for _ in 0..cores + 8 {
            open.send(()).unwrap();
        }
        while let Some(done) = operations.join_next().await {
            assert_eq!(done.unwrap(), Ok(true));
        }
        assert_eq!(count(statistics.rsa_running.most()), cores);
    }

    #[test]
    fn threat_50_a_client_waits_neither_for_all_of_another_nor_for_its_places() {
        let pool = RsaPool::on(1, &Arc::default(), 3).unwrap();
        let (flooding, other): (Name, Name) = (client(), "haproxy".parse().unwrap());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let (said, heard) = std::sync::mpsc::channel();
        pool.queue
            .push(&flooding, Box::new(move || gate.recv().unwrap()))
            .unwrap();
        while pool.queue.statistics.rsa_waiting.get() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let push = |client: &Name, what: &'static str| {
            let said = said.clone();
            pool.queue.push(client, Box::new(move || said.send(what).unwrap()))
        };
        for what in ["first", "second", "third"] {
            push(&flooding, what).unwrap();
        }
        assert_eq!(push(&flooding, "a fourth"), Err(NotRun::Busy));
        push(&other, "the other's").unwrap();
        open.send(()).unwrap();
        let order: Vec<_> = heard.iter().take(4).collect();
        assert_eq!(order, ["first", "the other's", "second", "third"]);
    }
}
