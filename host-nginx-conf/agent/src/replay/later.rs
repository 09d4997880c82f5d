//! What could not be opened before the service was: tried again in the background, until it can.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use enclave_wire::control::KeyInfo;

use super::opening::{self, Opened};
use crate::backoff::Backoff;
use crate::clock::Bell;
use crate::link::{CallError, Link};
use crate::log::Event;
use crate::parent::Parent;
use crate::waiting::Item;

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
        let (mut backoff, mut said, mut opened) = (Backoff::default(), Vec::new(), 0_u32);
        while let Some(item) = self.queue.pop_front() {
            match opening::open(link, &parent.store, parent, &item)? {
                Opened::Done => {
                    opened = opened.saturating_add(1);
                    backoff.reset();
                    said.clear();
                }
                Opened::Refused => {}
                Opened::NotNow(why) => {
                    if !said.contains(&why) {
                        said.push(why);
                        Event::ReplayWaits.say(format_args!(
                            "{item} and those like it are tried again: {}",
                            enclave_tls_admin::advice::refused(why)
                        ));
                    }
                    // The next attempt is at another, no matter which, so that one group's key does not hold up the others for long.
                    self.queue.push_back(item);
                    self.queue.rotate_left(any_of(self.queue.len()));
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
    let (clock, before) = (&parent.clock, version());
    let until = clock.monotonic().saturating_add(time);
    while let Some(left) = until.checked_sub(clock.monotonic()).filter(|left| !left.is_zero())
        && !link.has_ended()
        && version() == before
    {
        clock.wait(&Bell::default(), left.min(LOOK));
    }
}

/// A number below this; 0 where there is none.
fn any_of(count: usize) -> usize {
    let random = getrandom::u32().ok().and_then(|random| usize::try_from(random).ok());
    random.and_then(|random| random.checked_rem(count)).unwrap_or(0)
}

const LOOK: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use enclave_tls_admin::frames;
    use enclave_wire::Writer;
    use enclave_wire::control::{ControlError, Reply, Request};
    use enclave_wire::frame::limit;

    use super::*;
    use crate::clock::Clock;
    use crate::clock::tests::{Directory, Simulated};
    use crate::link::Patience;
    use crate::sockets::Stream;

    /// A service that opens nothing until the clock says so; how often it was asked, and how late it was when all was open.
    fn opened_after(days: u64, items: usize) -> (u32, Duration, usize) {
        let (directory, clock) = (Directory::new(), Simulated::new());
        let parent = crate::parent::tests::parent(&directory.path().join("state"));
        let parent = Arc::new(parent.with_clock(clock.clone()));
        let names: Vec<enclave_wire::Name> = (0..items).map(|n| format!("c{n}").parse().unwrap()).collect();
        for name in &names {
            let state = name.as_str().as_bytes().to_vec().try_into().unwrap();
            parent
                .store
                .lock()
                .put_state(name, &state)
                .map_err(|error| error.to_string())
                .unwrap();
        }
        let items: Vec<_> = names.into_iter().map(Item::State).collect();
        parent.waiting.lock().begin(items.clone());

        let (here, mut there) = UnixStream::pair().unwrap();
        let (link, reader) = Link::new(Stream::Unix(here), Patience::RELEASE, Arc::clone(&parent)).unwrap();
        let link = Arc::new(link);
        let serving = Arc::clone(&link);
        let reading = std::thread::spawn(move || serving.serve(reader));
        let until = clock.monotonic() + Duration::from_secs(days * 86_400);
        let its_clock = clock.clone();
        let service = std::thread::spawn(move || {
            let mut asked = 0;
            while let Ok(frame) = frames::read(&mut there, limit::CONTROL, Duration::from_secs(5)) {
                let request = Request::decode(&frame.header, &frame.body).unwrap();
                assert!(matches!(request, Request::Restore(_)), "{} is asked", request.name());
                asked += 1;
                let reply = if its_clock.monotonic() < until {
                    Reply::Error(ControlError::AwsUnavailable)
                } else {
                    Reply::Restored(Vec::new().try_into().unwrap())
                };
                let mut writer = Writer::new();
                reply.write(&mut writer, frame.header.request_id);
                frames::send(&mut there, writer).unwrap();
            }
            asked
        });
        Later::new(items).run(&link, &parent);
        let late = clock.monotonic() - until;
        let left = parent.waiting.lock().report().len();
        link.end();
        reading.join().unwrap();
        (service.join().unwrap(), late, left)
    }

    #[test]
    fn threat_37_what_aws_does_not_open_for_days_is_tried_each_minute_and_then_opens_at_once() {
        let (asked, late, left) = opened_after(2, 20);
        assert_eq!(left, 0);
        assert!((48..=2 * 2_880 + 40).contains(&asked), "{asked} attempts");
        assert!(late <= Duration::from_secs(60), "{late:?}");
    }
}
