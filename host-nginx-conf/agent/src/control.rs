//! Which control connection is in use, and whether requests may go to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use enclave_wire::BootId;
use enclave_wire::control::{Reply, Status};

use crate::Shared;
use crate::clock::Bell;
use crate::link::{Link, Patience};
use crate::log::Event;
use crate::parent::Parent;
use crate::replay::{self, Greeted};
use crate::sockets::{EnclaveListener, Stream};
use enclave_tls_admin::deadline::Deadline;
use enclave_tls_admin::protocol::Unable;

/// The one control connection. Who dials has to say which run of the service it is, and then takes the place of an older connection
/// of the same run, or of one that no longer answers.
pub(crate) struct Control {
    /// Rung when a service comes or goes.
    bells: [Arc<Bell>; 2],
    current: Shared<Option<Current>>,
    changed: Condvar,
    door: Shared<Door>,
    candidates: AtomicUsize,
}

struct Current {
    link: Arc<Link>,
    boot: BootId,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The directory is being replayed.
    Greeting,
    /// Its policy was refused: nothing but a restart of the agent helps.
    PolicyRefused,
    Ready,
}

/// Held while it is decided who may come in; and what was said of those who may not, so that it is said once.
#[derive(Default)]
struct Door {
    refused: Option<BootId>,
    said_stranger: bool,
}

impl Control {
    pub(crate) fn new(bells: [Arc<Bell>; 2]) -> Self {
        Self {
            bells,
            current: Shared::default(),
            changed: Condvar::new(),
            door: Shared::default(),
            candidates: AtomicUsize::new(0),
        }
    }

    /// The connection to send a request to, and the run that it reaches. A service that is just starting is waited for.
    pub(crate) fn ready(&self) -> Result<(Arc<Link>, BootId), Unable> {
        let deadline = Deadline::after(COMES_WITHIN);
        let mut current = self.current.lock();
        loop {
            let why = match &*current {
                None => Unable::Away,
                Some(Current { stage, link, boot }) => match stage {
                    Stage::Ready => return Ok((Arc::clone(link), *boot)),
                    Stage::PolicyRefused => return Err(Unable::PolicyRefused),
                    Stage::Greeting => Unable::Replaying,
                },
            };
            let left = deadline.left().ok_or(why)?;
            let waited = self.changed.wait_timeout(current, left);
            current = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The connection of a service that is open, if there is one now.
    pub(crate) fn open(&self) -> Option<Arc<Link>> {
        let current = self.current.lock();
        let open = current.as_ref().filter(|current| current.stage == Stage::Ready);
        open.map(|current| Arc::clone(&current.link))
    }

    /// Whether anybody is connected who says that it is a service.
    pub(crate) fn is_connected(&self) -> bool {
        self.current.lock().is_some()
    }

    /// Lets a connection take its place, or ends it. The older service, while it answers, is not displaced by another run: two that
    /// dial the same agent would take turns for ever.
    fn admit(&self, link: &Arc<Link>, boot: BootId) -> bool {
        let mut door = self.door.lock();
        let other = (self.current.lock().as_ref())
            .filter(|current| current.boot != boot)
            .map(|current| (Arc::clone(&current.link), current.boot));
        if let Some((older, its_boot)) = other
            && older.is_alive()
        {
            if door.refused.replace(boot) != Some(boot) {
                Event::ServiceSecond.say(format_args!(
                    "another service dials, boot {boot}, while that of boot {its_boot} answers; it is sent away: stop one of them, or \
                     give it an agent of its own"
                ));
            }
            link.end();
            return false;
        }
        *door = Door::default();
        let stage = Stage::Greeting;
        let newer = Current {
            link: Arc::clone(link),
            boot,
            stage,
        };
        // The older one ends before anything of the newer is stored.
        if let Some(older) = self.current.lock().replace(newer) {
            older.link.end();
        }
        link.admit();
        self.changed.notify_all();
        // One that ended just now had no place to leave then.
        !(link.has_ended() && self.leave(link))
    }

    /// Says once that somebody dialled who is no service.
    fn turn_away(&self, link: &Link, why: &str) {
        if !std::mem::replace(&mut self.door.lock().said_stranger, true) {
            Event::PlaneStranger.say(format_args!(
                "somebody dialled who is no service ({why}), and was sent away"
            ));
        }
        link.end();
    }

    /// Changes the stage of a connection that is still the one in use.
    fn change(&self, link: &Arc<Link>, stage: Stage) {
        if let Some(current) = &mut *self.current.lock()
            && Arc::ptr_eq(&current.link, link)
        {
            current.stage = stage;
            self.changed.notify_all();
            self.bells.iter().for_each(|bell| bell.ring());
        }
    }

    /// A connection has ended. Whether it was the one in use.
    fn leave(&self, link: &Arc<Link>) -> bool {
        let mut current = self.current.lock();
        let left = current.take_if(|current| Arc::ptr_eq(&current.link, link)).is_some();
        self.changed.notify_all();
        self.bells.iter().for_each(|bell| bell.ring());
        left
    }
}

/// Takes the enclave's dials, for ever.
pub(crate) fn accept(listener: &EnclaveListener, control: &Arc<Control>, parent: &Arc<Parent>) {
    loop {
        match listener.accept().and_then(|stream| begin(stream, control, parent)) {
            Ok(()) => {}
            Err(error) => {
                Event::PlaneFailed.say(format_args!("a dial of the service failed: {error}"));
                std::thread::sleep(AFTER_FAILURE);
            }
        }
    }
}

fn begin(stream: Stream, control: &Arc<Control>, parent: &Arc<Parent>) -> std::io::Result<()> {
    let candidate = Candidate::new(control);
    if candidate.before >= MAX_CANDIDATES {
        return Ok(()); // The service dials again.
    }
    let (link, reader) = Link::new(stream, Patience::RELEASE, Arc::clone(parent))?;
    let link = Arc::new(link);
    let (serving, state) = (Arc::clone(&link), Arc::clone(control));
    std::thread::spawn(move || {
        let why = serving.serve(reader);
        if state.leave(&serving) {
            Event::ServiceAway.say(format_args!("the service is away: {why}"));
        }
    });
    let (control, parent) = (Arc::clone(control), Arc::clone(parent));
    std::thread::spawn(move || {
        let known = introduced(&link, &control);
        drop(candidate);
        if let Some(status) = known {
            greet(&link, &status, &control, &parent);
        }
    });
    Ok(())
}

/// A connection that has not said who it is, until this is dropped.
struct Candidate {
    control: Arc<Control>,
    /// How many there were before.
    before: usize,
}

impl Candidate {
    fn new(control: &Arc<Control>) -> Self {
        let control = Arc::clone(control);
        let before = control.candidates.fetch_add(1, Ordering::SeqCst);
        Self { control, before }
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.control.candidates.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Who dialled, if it is a service and may stay.
fn introduced(link: &Arc<Link>, control: &Control) -> Option<Status> {
    match link.introduce() {
        Ok(Reply::Status(status)) => control.admit(link, status.boot).then_some(status),
        Ok(_) => {
            control.turn_away(link, "it does not say who it is");
            None
        }
        Err(_) => {
            control.turn_away(link, "it does not answer");
            None
        }
    }
}

fn greet(link: &Arc<Link>, status: &Status, control: &Arc<Control>, parent: &Arc<Parent>) {
    match replay::greet(link, status, parent) {
        Ok(Greeted::Ready(rest)) => {
            control.change(link, Stage::Ready);
            rest.run(link, parent);
        }
        Ok(Greeted::PolicyRefused) => control.change(link, Stage::PolicyRefused),
        Err(error) => {
            Event::ServiceGreetingFailed.say(format_args!("the greeting of the service broke off: {error}"));
            link.end();
        }
    }
}

/// A service that was just started dials each 100 ms, and a replay of some keys takes less than that.
const COMES_WITHIN: Duration = Duration::from_secs(3);
/// So that a lack of file descriptors does not become a lack of CPU.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Connections that have not said who they are. Each costs two threads, for as long as it may take to say so.
const MAX_CANDIDATES: usize = 16;
