//! A line between a service and its agent that breaks, or plays tricks, at a chosen byte.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From agent to service.
    ToService,
    /// From service to agent.
    ToAgent,
}

/// What a line does when its byte has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Both ends are closed.
    Cut,
    /// This way ends; the other goes on.
    End,
    /// Nothing passes any more, and nothing is closed.
    Stall,
    /// A bit of the byte is another.
    Flip,
    /// The byte comes twice.
    Duplicate,
    /// What came with the byte comes in reverse.
    Reorder,
    /// The byte, and what came with it, comes later.
    Delay,
    /// The byte, and what came with it, comes one at a time.
    Trickle,
}

impl Break {
    /// Whether all arrives as it was sent.
    #[must_use]
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Delay | Self::Trickle)
    }

    /// Whether the line is of no use after it.
    #[must_use]
    pub fn ends_the_line(self) -> bool {
        matches!(self, Self::Cut | Self::End | Self::Stall)
    }
}

/// Listens where the service dials.
pub struct ControlLine {
    shared: Arc<Shared>,
}

struct Shared {
    agent: PathBuf,
    next: Mutex<Option<(Way, usize, Break)>>,
    connections: AtomicU64,
    broken: AtomicU64,
}

impl ControlLine {
    /// Takes the place of the agent's socket `path`. The connection that there is stays as it is.
    pub fn in_front_of(path: &Path) -> Result<Self> {
        let agent = path.with_extension("agent");
        std::fs::rename(path, &agent).with_context(|| path.display().to_string())?;
        let listener = UnixListener::bind(path)?;
        let shared = Arc::new(Shared {
            agent,
            next: Mutex::default(),
            connections: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        });
        let its = Arc::clone(&shared);
        // As long as this process lives: the socket goes with the test's directory.
        thread::spawn(move || {
            for service in listener.incoming().flatten() {
                drop(its.carry(service)); // who dials again finds out
            }
        });
        Ok(Self { shared })
    }

    /// When so many more bytes have gone this way, the line breaks.
    pub fn break_after(&self, way: Way, count: usize, how: Break) {
        *lock(&self.shared.next) = Some((way, count, how));
    }

    /// How often it broke.
    pub fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::SeqCst)
    }

    /// How often the service dialled.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn carry(self: &Arc<Self>, service: UnixStream) -> io::Result<()> {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let agent = UnixStream::connect(&self.agent)?;
        let stalled = Arc::new(AtomicBool::new(false));
        for (way, from, to) in [(Way::ToAgent, &service, &agent), (Way::ToService, &agent, &service)] {
            let pump = Pump {
                way,
                from: from.try_clone()?,
                to: to.try_clone()?,
                stalled: Arc::clone(&stalled),
            };
            let shared = Arc::clone(self);
            thread::spawn(move || pump.run(&shared));
        }
        Ok(())
    }

    /// How many of these bytes pass, and what happens then.
    fn passes(&self, way: Way, count: usize) -> (usize, Option<Break>) {
        let mut next = lock(&self.next);
        match next.as_mut() {
            Some((its, left, how)) if *its == way && *left < count => {
                let broken = (*left, Some(*how));
                *next = None;
                self.broken.fetch_add(1, Ordering::SeqCst);
                broken
            }
            Some((its, left, _)) if *its == way => {
                *left -= count;
                (count, None)
            }
            _ => (count, None),
        }
    }
}

/// One way of one connection.
struct Pump {
    way: Way,
    from: UnixStream,
    to: UnixStream,
    stalled: Arc<AtomicBool>,
}

impl Pump {
    fn run(mut self, shared: &Shared) {
        drop(self.carry(shared)); // either end has gone
        drop(self.from.shutdown(Shutdown::Both));
        drop(self.to.shutdown(Shutdown::Both));
    }

    fn carry(&mut self, shared: &Shared) -> io::Result<()> {
        let mut bytes = [0; 4_096];
        loop {
            let count = self.from.read(&mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            if self.stalled.load(Ordering::SeqCst) {
                continue;
            }
            let (passing, broken) = shared.passes(self.way, count);
            let (passing, rest) = bytes.split_at_mut(passing);
            let rest = rest.get_mut(..count - passing.len()).unwrap_or_default();
            self.to.write_all(passing)?;
            match broken {
                None => {}
                Some(Break::Cut) => return Ok(()),
                Some(Break::End) => {
                    self.to.shutdown(Shutdown::Write)?;
                    io::copy(&mut self.from, &mut io::sink())?;
                    return Ok(());
                }
                Some(Break::Stall) => self.stalled.store(true, Ordering::SeqCst),
                Some(Break::Flip) => {
                    rest.iter_mut().take(1).for_each(|byte| *byte ^= 1);
                    self.to.write_all(rest)?;
                }
                Some(Break::Duplicate) => {
                    self.to.write_all(rest.get(..1).unwrap_or_default())?;
                    self.to.write_all(rest)?;
                }
                Some(Break::Reorder) => {
                    rest.reverse();
                    self.to.write_all(rest)?;
                }
                Some(Break::Delay) => {
                    thread::sleep(DELAY);
                    self.to.write_all(rest)?;
                }
                Some(Break::Trickle) => {
                    for byte in rest.chunks(1) {
                        self.to.write_all(byte)?;
                        thread::sleep(BETWEEN_BYTES);
                    }
                }
            }
        }
    }
}

/// Less than anyone waits for an answer.
const DELAY: Duration = Duration::from_millis(300);
/// Enough for each to be read by itself.
const BETWEEN_BYTES: Duration = Duration::from_micros(500);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
