//! Which control connection is in use, and whether requests may go to it.

use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use enclave_wire::BootId;

use super::link::{Link, Patience};
use super::sockets::{ControlListener, Stream};
use super::{Shared, replay, say};
use crate::deadline::Deadline;
use crate::local::Unable;
use crate::store::Store;

/// The one control connection: a newer takes the place of an older.
#[derive(Default)]
pub(super) struct Control {
    state: Shared<State>,
    changed: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Away,
    /// The directory is being replayed.
    Greeting(Arc<Link>),
    /// Its policy was refused: nothing but a restart of `listen` helps.
    PolicyRefused(Arc<Link>),
    Ready(Arc<Link>, BootId),
}

/// How a greeting ended well.
pub(super) enum Greeted {
    Ready(BootId),
    PolicyRefused,
}

impl Control {
    /// The connection to send a request to, and the boot that it reaches. A service that is just starting is waited for.
    pub(super) fn ready(&self) -> Result<(Arc<Link>, BootId), Unable> {
        let deadline = Deadline::after(COMES_WITHIN);
        let mut state = self.state.lock();
        loop {
            let why = match &*state {
                State::Ready(link, boot) => return Ok((Arc::clone(link), *boot)),
                State::PolicyRefused(_) => return Err(Unable::PolicyRefused),
                State::Away => Unable::Away,
                State::Greeting(_) => Unable::Replaying,
            };
            let left = deadline.left().ok_or(why)?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn replace(&self, link: &Arc<Link>) {
        let older = std::mem::replace(&mut *self.state.lock(), State::Greeting(Arc::clone(link)));
        if let Some(older) = older.link() {
            older.end();
        }
        self.changed.notify_all();
    }

    /// Changes the state if it is still this connection's.
    fn change(&self, link: &Arc<Link>, state: State) -> bool {
        let mut current = self.state.lock();
        let is_current = current.link().is_some_and(|current| Arc::ptr_eq(current, link));
        if is_current {
            *current = state;
            self.changed.notify_all();
        }
        is_current
    }
}

impl State {
    fn link(&self) -> Option<&Arc<Link>> {
        match self {
            Self::Away => None,
            Self::Greeting(link) | Self::PolicyRefused(link) | Self::Ready(link, _) => Some(link),
        }
    }
}

/// Takes the enclave's dials, for ever.
pub(super) fn accept(listener: &ControlListener, control: &Arc<Control>, store: &Arc<Option<Shared<Store>>>) {
    loop {
        match listener.accept().and_then(|stream| begin(stream, control, store)) {
            Ok(()) => {}
            Err(error) => {
                say(&format!("a dial of the service failed: {error}"));
                std::thread::sleep(AFTER_FAILURE);
            }
        }
    }
}

fn begin(stream: Stream, control: &Arc<Control>, store: &Arc<Option<Shared<Store>>>) -> std::io::Result<()> {
    let (link, reader) = Link::new(stream, Patience::RELEASE)?;
    let link = Arc::new(link);
    control.replace(&link);
    let (serving, state) = (Arc::clone(&link), Arc::clone(control));
    std::thread::spawn(move || {
        let why = serving.serve(reader);
        if state.change(&serving, State::Away) {
            say(&format!("the service is away: {why}"));
        }
    });
    let (state, store) = (Arc::clone(control), Arc::clone(store));
    std::thread::spawn(move || match replay::greet(&link, store.as_ref().as_ref()) {
        Ok(Greeted::Ready(boot)) => drop(state.change(&link, State::Ready(Arc::clone(&link), boot))),
        Ok(Greeted::PolicyRefused) => drop(state.change(&link, State::PolicyRefused(Arc::clone(&link)))),
        Err(error) => {
            say(&format!("the greeting of the service broke off: {error}"));
            link.end();
        }
    });
    Ok(())
}

/// A service that was just started dials each 100 ms, and a replay of some keys takes less than that.
const COMES_WITHIN: Duration = Duration::from_secs(3);
/// So that a lack of file descriptors does not become a lack of CPU.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
