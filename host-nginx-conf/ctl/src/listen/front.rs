//! The socket of the other commands: one thread for each, one request at a time.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use enclave_wire::Writer;
use enclave_wire::control::Request;

use super::control::Control;
use super::link::CallError;
use super::parent::Parent;
use super::record::record;
use super::{Shared, say, sockets};
use crate::deadline::Deadline;
use crate::frames;
use crate::local::{Answer, LIMIT, Question, Records, Unable};

/// What the commands reach.
pub(super) struct Front {
    control: Arc<Control>,
    parent: Arc<Parent>,
    busy: Shared<bool>,
    free: Condvar,
}

impl Front {
    pub(super) fn new(control: Arc<Control>, parent: Arc<Parent>) -> Self {
        Self {
            control,
            parent,
            busy: Shared::default(),
            free: Condvar::new(),
        }
    }

    /// Serves the commands, for ever.
    pub(super) fn accept(self: Arc<Self>, listener: &UnixListener) {
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    let front = Arc::clone(&self);
                    std::thread::spawn(move || front.serve(socket));
                }
                Err(error) => {
                    say(&format!("a command could not connect: {error}"));
                    std::thread::sleep(AFTER_FAILURE);
                }
            }
        }
    }

    fn serve(&self, mut socket: UnixStream) {
        if !sockets::peer_uid(&socket).is_ok_and(sockets::is_trusted) {
            return say("a stranger connected to the socket of the commands and was sent away");
        }
        let Ok(frame) = frames::read(&mut socket, LIMIT, QUESTION_WITHIN) else {
            return; // Nobody is left to tell.
        };
        let answer = match Question::read(&frame) {
            Ok(question) => self.answer(question),
            Err(_) => Answer::Unable(Unable::Malformed),
        };
        drop(frame);
        let mut writer = Writer::new();
        answer.write(&mut writer);
        drop(frames::send(&mut socket, writer)); // A command that was interrupted waits for no answer.
    }

    fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Records => Answer::Records(match &self.parent.store {
                Some(store) => Records {
                    directory: true,
                    entries: store.lock().entries(),
                },
                None => Records::default(),
            }),
            Question::Parent => Answer::Parent(self.parent.report()),
            Question::Forward { request, .. } if is_for_listen_alone(&request) => Answer::Unable(Unable::Malformed),
            Question::Forward { keep: true, .. } if self.parent.store.is_none() => Answer::Unable(Unable::NoDirectory),
            Question::Forward { keep, request } => self.forward(keep, &request).unwrap_or_else(Answer::Unable),
        }
    }

    fn forward(&self, keep: bool, request: &Request) -> Result<Answer, Unable> {
        let _turn = self.turn()?;
        let (link, boot) = self.control.ready()?;
        let reply = link.call(request).map_err(|error| match error {
            CallError::Deadline => Unable::Deadline,
            CallError::Ended => Unable::Cut,
        })?;
        let store = self.parent.store.as_ref().map(Shared::lock);
        let record = record(store.as_deref(), boot, keep, request, &reply);
        Ok(Answer::Outcome { record, reply })
    }

    /// Waits for its turn, which lasts until what is on disk fits what the enclave did.
    fn turn(&self) -> Result<Turn<'_>, Unable> {
        let deadline = Deadline::after(TURN_WITHIN);
        let mut busy = self.busy.lock();
        while *busy {
            let left = deadline.left().ok_or(Unable::Busy)?;
            busy = self
                .free
                .wait_timeout(busy, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *busy = true;
        Ok(Turn(self))
    }
}

/// What `listen` says by itself is not for commands to say.
fn is_for_listen_alone(request: &Request) -> bool {
    matches!(
        request,
        Request::Policy(_) | Request::Ready | Request::InstallAws(_) | Request::Restore(_)
    )
}

/// Ends when it is dropped.
struct Turn<'a>(&'a Front);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock() = false;
        self.0.free.notify_one();
    }
}

/// A command sends its question as soon as it is connected.
const QUESTION_WITHIN: Duration = Duration::from_secs(5);
/// As long as one request of another command may take.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// So that a lack of file descriptors does not become a lack of CPU.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
