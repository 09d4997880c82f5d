//! DNS-01 (RFC 8555, section 8.4): TXT records, written beside the enclave's asking. A record may have several texts at once: a name and
//! its wildcard are proven by two of the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use enclave_tls_config::Dns01;
use enclave_wire::control::{Challenge, Published};

use super::writer::{self, Change, Writer};
use super::{LONGEST, MOST, Refusal};
use crate::Shared;
use crate::clock::Clock;
use crate::log::Event;

/// All records, and who writes them.
pub(super) struct Records {
    clock: Arc<dyn Clock>,
    state: Shared<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    writer: Option<Arc<dyn Writer>>,
    /// What the writer was made of.
    configured: Option<(Dns01, Option<String>)>,
    entries: BTreeMap<Text, Entry>,
    tasks: VecDeque<Task>,
    /// Records that somebody writes now: two at once would undo each other.
    busy: BTreeSet<String>,
    workers: usize,
}

/// A text of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Text {
    record: String,
    value: String,
}

struct Entry {
    /// Who writes it, and takes it away: the configuration may name another by then.
    writer: Arc<dyn Writer>,
    standing: Standing,
    since: Duration,
}

enum Standing {
    /// It is to be written, or is being written.
    Writing,
    /// It is written; whether everybody sees it was asked last at that time.
    Written(Change, Duration),
    Seen,
    Failed(String),
    /// It is to be taken away.
    Leaving,
}

struct Task {
    text: Text,
    kind: Kind,
    /// In [`Clock::monotonic`].
    not_before: Duration,
    attempts: u32,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Present,
    Ask(Change),
    Cleanup,
}

impl Records {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Shared::default(),
            changed: Condvar::new(),
        })
    }

    /// From now on the configuration's writer writes them.
    pub(super) fn write_by(&self, config: Option<&Dns01>, profile: Option<String>) {
        let mut state = self.state.lock();
        let configured = config.map(|config| (config.clone(), profile));
        if state.configured != configured {
            let writer = |(config, profile): &(Dns01, Option<String>)| writer::of(config, profile.clone()).into();
            state.writer = configured.as_ref().map(writer);
            state.configured = configured;
        }
    }

    #[cfg(test)]
    pub(super) fn write_with(&self, writer: Arc<dyn Writer>) {
        self.state.lock().writer = Some(writer);
    }

    pub(super) fn publish(self: &Arc<Self>, challenge: &Challenge) -> Result<Published, Refusal> {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        let writer = state.writer.clone().ok_or(Refusal::NoWriter)?;
        self.sweep(&mut state, now);
        let text = Text::of(challenge);
        let full = writer.written_as(&text.record);
        if full.len() > MAX_NAME {
            return Err(Refusal::TooLong(full));
        }
        let count = state.entries.len();
        let Some(entry) = state.entries.get_mut(&text) else {
            if count >= MOST {
                return Err(Refusal::TooMany);
            }
            let entry = Entry {
                writer,
                standing: Standing::Writing,
                since: now,
            };
            state.entries.insert(text.clone(), entry);
            self.push(&mut state, Task::now(text, Kind::Present));
            return Ok(Published::NotYet);
        };
        match &mut entry.standing {
            Standing::Seen => Ok(Published::Yes),
            Standing::Failed(why) => {
                let why = std::mem::take(why);
                state.entries.remove(&text);
                Err(Refusal::Failed(why))
            }
            Standing::Written(change, asked) if now.saturating_sub(*asked) >= ASK_EVERY => {
                *asked = now;
                let ask = Kind::Ask(change.clone());
                self.push(&mut state, Task::now(text, ask));
                Ok(Published::NotYet)
            }
            Standing::Written(..) | Standing::Writing | Standing::Leaving => Ok(Published::NotYet),
        }
    }

    pub(super) fn withdraw(self: &Arc<Self>, challenge: &Challenge) {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        let text = Text::of(challenge);
        let is_known = state.entries.contains_key(&text);
        // One that is not known may have been written before the agent was restarted.
        if is_known || state.entries.len() < MOST {
            self.leave(&mut state, text, now);
        }
    }

    /// Takes away what nobody has withdrawn.
    fn sweep(self: &Arc<Self>, state: &mut State, now: Duration) {
        let is_old = |entry: &Entry| now.saturating_sub(entry.since) >= LONGEST;
        let old: Vec<_> = state
            .entries
            .iter()
            .filter(|(_, entry)| is_old(entry))
            .map(|(text, _)| text.clone())
            .collect();
        for text in old {
            self.leave(state, text, now);
        }
    }

    fn leave(self: &Arc<Self>, state: &mut State, text: Text, now: Duration) {
        let known = state.entries.get(&text).map(|entry| Arc::clone(&entry.writer));
        let Some(writer) = known.or_else(|| state.writer.clone()) else {
            return;
        };
        let leaving = Entry {
            writer,
            standing: Standing::Leaving,
            since: now,
        };
        let before = state.entries.insert(text.clone(), leaving);
        if !before.is_some_and(|entry| matches!(entry.standing, Standing::Leaving)) {
            self.push(state, Task::now(text, Kind::Cleanup));
        }
    }

    fn push(self: &Arc<Self>, state: &mut State, task: Task) {
        state.tasks.push_back(task);
        if state.workers < MAX_WORKERS {
            state.workers = state.workers.saturating_add(1);
            let its = Arc::clone(self);
            std::thread::spawn(move || its.work());
        }
        self.changed.notify_one();
    }

    /// Does what there is to do, and ends when nothing is left.
    fn work(self: &Arc<Self>) {
        while let Some((task, writer)) = self.next() {
            let Text { record, value } = &task.text;
            let outcome = match &task.kind {
                Kind::Present => writer.present(record, value).map(|change| match change {
                    None => Standing::Seen,
                    Some(change) => Standing::Written(change, self.clock.monotonic()),
                }),
                Kind::Ask(change) => writer.is_done(change).map(|is_done| match is_done {
                    true => Standing::Seen,
                    false => Standing::Written(change.clone(), self.clock.monotonic()),
                }),
                Kind::Cleanup => writer.cleanup(record, value).map(|()| Standing::Leaving),
            };
            self.did(task, outcome);
        }
    }

    /// The first task whose turn it is and whose record nobody writes.
    fn next(&self) -> Option<(Task, Arc<dyn Writer>)> {
        let mut state = self.state.lock();
        loop {
            let now = self.clock.monotonic();
            let is_free = |task: &Task| task.not_before <= now && !state.busy.contains(&task.text.record);
            let at = state.tasks.iter().position(is_free);
            let task = at.and_then(|at| state.tasks.remove(at));
            match task {
                Some(task) => {
                    // Without an entry nobody wants it any more.
                    let Some(entry) = state.entries.get(&task.text) else {
                        continue;
                    };
                    let writer = Arc::clone(&entry.writer);
                    state.busy.insert(task.text.record.clone());
                    return Some((task, writer));
                }
                None if state.tasks.is_empty() => {
                    state.workers = state.workers.saturating_sub(1);
                    return None;
                }
                None => {
                    let waited = self.changed.wait_timeout(state, LOOK_EVERY);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn did(self: &Arc<Self>, task: Task, outcome: Result<Standing, String>) {
        let now = self.clock.monotonic();
        let mut state = self.state.lock();
        state.busy.remove(&task.text.record);
        self.changed.notify_all();
        let is_leaving = state
            .entries
            .get(&task.text)
            .is_none_or(|entry| matches!(entry.standing, Standing::Leaving));
        match (&task.kind, outcome) {
            (Kind::Cleanup, Ok(_)) => drop(state.entries.remove(&task.text)),
            (Kind::Cleanup, Err(why)) if task.attempts >= MAX_CLEANUPS => {
                state.entries.remove(&task.text);
                let Text { record, value } = &task.text;
                Event::ChallengeFailed.say(format_args!(
                    "{record}: the text {value} was not taken away, which harms nobody; remove it by hand: {why}"
                ));
            }
            (Kind::Cleanup, Err(_)) => {
                let wait = ASK_EVERY.saturating_mul(2_u32.saturating_pow(task.attempts));
                let again = Task {
                    not_before: now.saturating_add(wait),
                    attempts: task.attempts.saturating_add(1),
                    ..task
                };
                self.push(&mut state, again);
            }
            // It was withdrawn meanwhile, and its cleanup stands in the queue.
            (Kind::Present | Kind::Ask(_), _) if is_leaving => {}
            (Kind::Present | Kind::Ask(_), outcome) => {
                if let Err(why) = &outcome {
                    Event::ChallengeFailed.say(why);
                }
                if let Some(entry) = state.entries.get_mut(&task.text) {
                    entry.standing = outcome.unwrap_or_else(Standing::Failed);
                }
            }
        }
    }
}

impl Text {
    fn of(challenge: &Challenge) -> Self {
        Self {
            record: format!("_acme-challenge.{}", challenge.name),
            value: challenge.value.as_str().to_owned(),
        }
    }
}

impl Task {
    fn now(text: Text, kind: Kind) -> Self {
        Self {
            text,
            kind,
            not_before: Duration::ZERO,
            attempts: 0,
        }
    }
}

/// What DNS takes of a name.
const MAX_NAME: usize = 253;
/// At Route 53 a change takes a minute to be seen, and five requests a second are all that an account has.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// A text that stays is of no use to anybody.
const MAX_CLEANUPS: u32 = 5;
/// Programs take their time; as many as orders are at work at once.
const MAX_WORKERS: usize = 8;
/// Tasks that wait are looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
