//! What could not be opened before the service was: tried again in the background, until it can.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use enclave_wire::control::KeyInfo;

use super::opening::{self, Opened};
use crate::backoff::Backoff;
use crate::link::{CallError, Link};
use crate::log::Event;
use crate::parent::Parent;
use crate::waiting::Item;
use enclave_tls_admin::deadline::Deadline;

/// What is left to do for a service that is open.
pub(crate) struct Later {
    queue: VecDeque<Item>,
}

impl Later {
    pub(crate) fn new(left: Vec<Item>) -> Self {
        Self { queue: left.into() }
    }

    /// A service that already serves has most of the directory. Its states are given to it all the same: it says which are its own,
    /// and only those may give way to newer ones. What it cannot open at once is left for later.
    pub(crate) fn after_reconnecting(
        link: &Link,
        items: Vec<Item>,
        keys: &[KeyInfo],
        parent: &Parent,
    ) -> Result<Self, CallError> {
        let sealed: HashSet<_> = keys
            .iter()
            .filter(|key| key.sealed.is_some())
            .map(|key| &key.name)
            .collect();
        let ids: HashSet<_> = keys.iter().map(|key| key.id).collect();
        let mut missing = Vec::new();
        for item in items {
            let is_left = match &item {
                Item::State(name) if sealed.contains(name) => {
                    matches!(opening::open(link, &parent.store, parent, &item)?, Opened::NotNow(_))
                }
                Item::Bundle(id, _) if ids.contains(id) => {
                    parent.waiting.lock().done(&item);
                    false
                }
                _ => true,
            };
            if is_left {
                missing.push(item);
            }
        }
        Ok(Self::new(missing))
    }

    /// Gives the service what it lacks, for as long as the connection holds.
    pub(crate) fn run(mut self, link: &Arc<Link>, parent: &Parent) {
        // An error is the connection's, whose end is said elsewhere; the next one's greeting begins anew.
        let _ended = self.open_all(link, parent).is_err();
    }

    fn open_all(&mut self, link: &Arc<Link>, parent: &Parent) -> Result<(), CallError> {
        // Newer credentials may have been found while the service was greeted.
        if let Some(aws) = &parent.aws {
            aws.install(link)?;
        }
        if self.queue.is_empty() {
            return Ok(());
        }
        let (mut backoff, mut reason, mut opened) = (Backoff::default(), None, 0_u32);
        while let Some(item) = self.queue.pop_front() {
            match opening::open(link, &parent.store, parent, &item)? {
                Opened::Done => {
                    opened = opened.saturating_add(1);
                    backoff.reset();
                }
                Opened::Refused => {}
                Opened::NotNow(why) => {
                    if reason.replace(why) != Some(why) {
                        Event::ReplayWaits.say(format_args!(
                            "{item} and those like it are tried again: {}",
                            enclave_tls_admin::advice::refused(why)
                        ));
                    }
                    // The next attempt is another's, so that one group's key does not hold up the others.
                    self.queue.push_back(item);
                    pause(link, parent, backoff.after_failure());
                }
            }
        }
        Event::ReplayOpened.say(format_args!("opened {opened} more items; nothing is left to try"));
        Ok(())
    }
}

/// Waits, but not for a connection that has ended, nor once there are new credentials.
fn pause(link: &Link, parent: &Parent, time: Duration) {
    let version = || parent.aws.as_ref().map_or(0, |aws| aws.version());
    let (deadline, before) = (Deadline::after(time), version());
    while let Some(left) = deadline.left()
        && !link.has_ended()
        && version() == before
    {
        std::thread::sleep(left.min(LOOK));
    }
}

const LOOK: Duration = Duration::from_millis(200);
