//! Days with a `nitro-cli` and a clock of the test's own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::*;
use crate::enclave::State;
use crate::error::Complaint;

#[test]
fn a_start_that_always_fails_is_tried_once_a_minute_at_most() {
    let world = World::new();
    world.starts.set(Starts::Fail);
    world.supervise(3 * DAY);
    let attempts = world.count("run");
    assert!(
        (3 * 1440..=2 * 3 * 1440 + 8).contains(&attempts),
        "{attempts} in three days"
    );
    assert!(
        world.said.borrow().iter().all(|line| line.contains("memory_mib")),
        "each says what to do"
    );
}

#[test]
fn an_enclave_that_ends_at_once_is_no_reason_for_a_storm() {
    let world = World::new();
    world.life.set(Duration::from_secs(3));
    world.supervise(DAY);
    let attempts = world.count("run");
    assert!((1000..=2 * 1440 + 8).contains(&attempts), "{attempts} in a day");
}

#[test]
fn after_a_minute_of_running_the_next_start_is_quick() {
    let world = World::new();
    world.life.set(Duration::from_secs(600));
    world.supervise(DAY);
    let attempts = world.count("run");
    // 600 s, at most 5 s until it is seen, at most 1 s of pause.
    assert!(
        (86_400 / 606..=86_400 / 600 + 1).contains(&attempts),
        "{attempts} in a day"
    );
}

#[test]
fn one_that_runs_is_adopted_and_ended_at_the_end() {
    let world = World::new();
    world.put(world.enclave(16));
    world.supervise(Duration::from_secs(60));
    assert_eq!((world.count("run"), world.count("terminate")), (0, 1));
    assert!(world.running.borrow().is_none());
    assert!(world.said.borrow()[0].starts_with("adopted enclave enclave-tls"));
}

#[test]
fn one_with_other_resources_goes_on_serving_and_is_said_to_differ() {
    let world = World::new();
    world.put(Enclave {
        cpus: 4,
        ..world.enclave(16)
    });
    world.supervise(DAY);
    assert_eq!(
        (world.count("run"), world.count("terminate")),
        (0, 1),
        "only at the end"
    );
    let said = world.said.borrow();
    assert_eq!(
        said.iter().filter(|line| line.contains("cpus is 2")).count(),
        1,
        "{said:?}"
    );
}

#[test]
fn one_at_another_cid_is_replaced_once() {
    let world = World::new();
    world.put(world.enclave(99));
    world.supervise(DAY);
    assert_eq!((world.count("run"), world.count("terminate")), (1, 2));
}

#[test]
fn one_in_debug_mode_is_neither_used_nor_ended() {
    let world = World::new();
    world.put(Enclave {
        flags: Flags::Debug,
        ..world.enclave(16)
    });
    world.supervise(DAY);
    assert_eq!((world.count("run"), world.count("terminate")), (0, 0));
    assert!(world.running.borrow().is_some());
    assert_eq!(
        world
            .said
            .borrow()
            .iter()
            .filter(|line| line.contains("debug mode"))
            .count(),
        1
    );
}

#[test]
fn while_nothing_can_be_seen_nothing_is_done() {
    for blind in [Looks::Fail, Looks::Partial] {
        let world = World::new();
        world.looks.set(blind);
        world.supervise(DAY);
        assert_eq!((world.count("run"), world.count("terminate")), (0, 0));
        let looks = world.count("describe");
        assert!(looks <= 2 * 1440 + 8, "{looks} in a day");
    }
}

#[test]
fn a_blind_moment_does_not_end_what_runs() {
    let world = World::new();
    world
        .blind_at
        .set(Some(Duration::from_secs(1000)..Duration::from_secs(2000)));
    world.supervise(DAY);
    assert_eq!(world.count("run"), 1);
}

#[test]
fn the_end_is_tried_twice_and_its_failure_told() {
    let world = World::new();
    world.stuck.set(true);
    assert!(world.try_supervise(Duration::from_secs(60)).is_err());
    assert_eq!(world.count("terminate"), 2);
}

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Copy, PartialEq)]
enum Looks {
    Work,
    Fail,
    Partial,
}

#[derive(Clone, Copy, PartialEq)]
enum Starts {
    Work,
    Fail,
}

/// An instance and its time.
struct World {
    now: Cell<Duration>,
    calls: RefCell<Vec<&'static str>>,
    said: RefCell<Vec<String>>,
    running: RefCell<Option<(Enclave, Duration)>>,
    next_id: Cell<u32>,
    looks: Cell<Looks>,
    starts: Cell<Starts>,
    life: Cell<Duration>,
    blind_at: Cell<Option<std::ops::Range<Duration>>>,
    stuck: Cell<bool>,
}

impl World {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            now: Cell::new(Duration::ZERO),
            calls: RefCell::default(),
            said: RefCell::default(),
            running: RefCell::default(),
            next_id: Cell::new(0),
            looks: Cell::new(Looks::Work),
            starts: Cell::new(Starts::Work),
            life: Cell::new(Duration::MAX),
            blind_at: Cell::new(None),
            stuck: Cell::new(false),
        })
    }

    fn supervise(self: &Rc<Self>, length: Duration) {
        self.try_supervise(length).unwrap();
    }

    fn try_supervise(self: &Rc<Self>, length: Duration) -> Result<(), NitroError> {
        let clock = FakeClock {
            world: self.clone(),
            end: length,
            seed: 1,
        };
        supervise(FakeCli(self.clone()), clock, &wanted(), |event| {
            let text = event.to_string();
            if event.is_trouble() || text.starts_with("adopted") {
                self.said.borrow_mut().push(text);
            }
        })
    }

    fn enclave(&self, cid: u32) -> Enclave {
        self.next_id.set(self.next_id.get() + 1);
        let RunOptions {
            name, cpus, memory_mib, ..
        } = wanted();
        Enclave {
            name: Some(name),
            id: format!("i-0-enc{}", self.next_id.get()),
            process: 7,
            cid,
            cpus,
            cpu_ids: vec![],
            memory_mib,
            state: State::Running,
            flags: Flags::None,
            measurements: None,
        }
    }

    fn put(&self, enclave: Enclave) {
        let until = self.now.get().saturating_add(self.life.get());
        *self.running.borrow_mut() = Some((enclave, until));
    }

    fn count(&self, call: &str) -> usize {
        self.calls.borrow().iter().filter(|one| **one == call).count()
    }

    fn is_blind(&self) -> bool {
        let range = self.blind_at.take();
        let blind = range.as_ref().is_some_and(|range| range.contains(&self.now.get()));
        self.blind_at.set(range);
        blind
    }
}

struct FakeCli(Rc<World>);

impl Cli for FakeCli {
    fn describe(&mut self) -> Result<Description, NitroError> {
        let Self(world) = self;
        world.calls.borrow_mut().push("describe");
        if world.looks.get() == Looks::Fail || world.is_blind() {
            return Err(failure("[ E39 ] No answer."));
        }
        let mut running = world.running.borrow_mut();
        if running.as_ref().is_some_and(|(_, until)| *until <= world.now.get()) {
            *running = None;
        }
        Ok(Description {
            enclaves: running.iter().map(|(enclave, _)| enclave.clone()).collect(),
            incomplete: (world.looks.get() == Looks::Partial).then(|| failure("[ E39 ] No answer.")),
        })
    }

    fn run(&mut self, options: &RunOptions) -> Result<Enclave, NitroError> {
        let Self(world) = self;
        world.calls.borrow_mut().push("run");
        assert!(world.running.borrow().is_none(), "a second enclave");
        if world.starts.get() == Starts::Fail {
            return Err(failure("[ E27 ] Too few huge pages.\n\n[ E39 ] No answer."));
        }
        let enclave = world.enclave(options.cid);
        world.put(enclave.clone());
        Ok(enclave)
    }

    fn terminate(&mut self, which: &Which) -> Result<(), NitroError> {
        let Self(world) = self;
        world.calls.borrow_mut().push("terminate");
        if world.stuck.get() {
            return Err(NitroError::NotTerminated { which: "it".into() });
        }
        let ended = world.running.borrow_mut().take().unwrap();
        assert_eq!(*which, Which::Id(ended.0.id));
        Ok(())
    }
}

/// Stops at `end`.
struct FakeClock {
    world: Rc<World>,
    end: Duration,
    seed: u32,
}

impl Clock for FakeClock {
    fn now(&mut self) -> Duration {
        self.world.now.get()
    }

    fn wait(&mut self, pause: Duration) -> Wake {
        let now = self.now() + pause;
        self.world.now.set(now);
        if now >= self.end { Wake::Stop } else { Wake::Time }
    }

    fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.seed
    }
}

fn wanted() -> RunOptions {
    RunOptions {
        image: "/nonexistent.eif".into(),
        name: "enclave-tls".into(),
        cid: 16,
        cpus: 2,
        memory_mib: 128,
    }
}

fn failure(stderr: &str) -> NitroError {
    NitroError::Failed {
        command: "run-enclave",
        complaint: Complaint::parse(stderr.as_bytes(), "exit status: 39".into()),
    }
}
