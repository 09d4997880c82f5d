//! The admin socket: one thread for each connection, one question on it.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use enclave_tls_admin::protocol::{Answer, LIMIT, Question, Records, Unable};
use enclave_tls_admin::report::{Ask, Told};
use enclave_tls_admin::{frames, peer};
use enclave_wire::Writer;
use enclave_wire::control::{Job, Reply, Request};

use crate::log::Event;
use crate::requests::Requests;

/// What administrators reach.
pub(crate) struct Admin {
    requests: Arc<Requests>,
    /// Whose members may connect, beside root and the agent's user.
    group: String,
    /// Answers what is not for the enclave.
    agent: Box<dyn Fn(Ask, u32) -> Told + Send + Sync>,
    connections: AtomicUsize,
}

impl Admin {
    pub(crate) fn new(
        requests: Arc<Requests>,
        group: String,
        agent: impl Fn(Ask, u32) -> Told + Send + Sync + 'static,
    ) -> Self {
        Self {
            requests,
            group,
            agent: Box::new(agent),
            connections: AtomicUsize::new(0),
        }
    }

    /// Serves administrators, for ever.
    pub(crate) fn accept(self: Arc<Self>, listener: &UnixListener) {
        loop {
            match listener.accept() {
                Ok((socket, _)) => self.begin(socket),
                Err(error) => {
                    Event::AdminFailed.say(format_args!("a command could not connect: {error}"));
                    std::thread::sleep(AFTER_FAILURE);
                }
            }
        }
    }

    /// Serves one connection in a thread of its own, if there are not too many.
    fn begin(self: &Arc<Self>, socket: UnixStream) {
        let Ok(uid) = peer::uid(&socket) else { return };
        let place = Place::take(Arc::clone(self));
        // The agent looks at its own socket, to know that it lives.
        if place.before >= MAX_CONNECTIONS && !peer::is_root_or_self(uid) {
            return; // Whoever opened so many learns by the end of this one.
        }
        let serving = std::thread::Builder::new().spawn(move || place.admin.serve(socket, uid));
        if let Err(error) = serving {
            Event::AdminFailed.say(format_args!("a command could not be served: {error}"));
        }
    }

    fn serve(&self, mut socket: UnixStream, uid: u32) {
        if !peer::is_root_or_self(uid) && !peer::is_member(uid, &self.group) {
            return Event::AdminRefused.about().user(uid).say(format_args!(
                "user {uid}, who is not of the group {}, connected to the admin socket and was sent away",
                self.group
            ));
        }
        let Ok(frame) = frames::read(&mut socket, LIMIT, QUESTION_WITHIN) else {
            return; // Nobody is left to tell.
        };
        let answer = match Question::read(&frame) {
            Ok(question) => self.answer(question, uid),
            Err(_) => Answer::Unable(Unable::Malformed),
        };
        drop(frame);
        let mut writer = Writer::new();
        answer.write(&mut writer);
        drop(frames::send(&mut socket, writer)); // A command that was interrupted waits for no answer.
    }

    fn answer(&self, question: Question, uid: u32) -> Answer {
        match question {
            Question::Records => Answer::Records(Records {
                directory: true,
                entries: self.requests.parent().store.lock().entries(),
            }),
            Question::Parent => Answer::Parent(self.requests.parent().report()),
            Question::Agent(ask) => Answer::Agent((self.agent)(ask, uid)),
            Question::Forward { request, .. } if is_for_the_agent_alone(&request) => Answer::Unable(Unable::Malformed),
            Question::Forward { keep, request } => {
                if is_change(&request) {
                    let asked = Event::AdminRequest.about().user(uid);
                    asked.say(format_args!("user {uid} asks the service to {}", request.name()));
                }
                match self.requests.ask(keep, &request) {
                    Err(why) => Answer::Unable(why),
                    Ok((record, reply)) => {
                        if let (Request::Retire(id), Reply::Retired) = (&*request, &reply) {
                            self.requests.retired.lock().push((*id, uid));
                        }
                        if is_change(&request) {
                            self.requests.changed.ring();
                        }
                        Answer::Outcome { record, reply }
                    }
                }
            }
        }
    }
}

/// One of the connections that there are; free again when it is dropped.
struct Place {
    admin: Arc<Admin>,
    /// How many there were before.
    before: usize,
}

impl Place {
    fn take(admin: Arc<Admin>) -> Self {
        let before = admin.connections.fetch_add(1, Ordering::SeqCst);
        Self { admin, before }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admin.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What the agent says by itself is not for commands to say.
fn is_for_the_agent_alone(request: &Request) -> bool {
    matches!(
        request,
        Request::Policy(_) | Request::Ready | Request::InstallAws(_) | Request::Restore(_)
    )
}

/// Whether the keeper has to look at what came of it.
fn is_change(request: &Request) -> bool {
    !matches!(
        request,
        Request::Ping
            | Request::Status
            | Request::Credentials
            | Request::Chain(_)
            | Request::Csr(_)
            | Request::List(_)
            | Request::Statistics
            | Request::Attest(_)
            | Request::Begin(Job::Caa(_))
            | Request::Job(_)
    )
}

/// Of commands; each has a thread. Root is not counted among those who could be too many.
const MAX_CONNECTIONS: usize = 64;
/// A command sends its question as soon as it is connected.
const QUESTION_WITHIN: Duration = Duration::from_secs(5);
/// So that a lack of file descriptors does not become a lack of CPU.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
