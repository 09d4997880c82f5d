//! What systemd is told: that the agent is ready, how it stands, and that it lives. Outside of systemd nobody listens, which is no fault.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::health::Health;
use crate::log::Event;

/// Says that the agent is ready once it has looked at everything; then, for ever, how it stands, and that it lives for as long as it does.
/// Who is not told so any more restarts the agent, which costs no handshake.
pub(crate) fn run(health: &Arc<Health>) {
    let began = Instant::now();
    while !health.has_looked() && began.elapsed() < READY_WITHIN {
        std::thread::sleep(LOOK);
    }
    let mut said = health.summary();
    tell(&[NotifyState::Ready, NotifyState::Status(&said)]);
    let pause = pause(sd_notify::watchdog_enabled());
    let mut hung = None;
    loop {
        let why = health.hung();
        match &why {
            None => tell(&[NotifyState::Watchdog]),
            Some(why) if hung.is_none() => Event::AgentHung.say(format_args!("{why}; the agent is hung")),
            Some(_) => {}
        }
        hung = why;
        let now = health.summary();
        if now != said {
            tell(&[NotifyState::Status(&now)]);
            said = now;
        }
        std::thread::sleep(pause);
    }
}

/// The configuration is about to be read again.
pub(crate) fn reloading() {
    // Where the clock cannot be read, systemd would wait for a time that never comes.
    if let Ok(since) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, since]);
    }
}

/// It was, or the older one stays.
pub(crate) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    drop(sd_notify::notify(states));
}

/// Half of the time in which systemd wants to hear, or as often as the status is worth a look.
fn pause(watchdog: Option<Duration>) -> Duration {
    let half = watchdog.map_or(BETWEEN_LOOKS, |time| time.div_f64(2.0));
    half.clamp(LOOK, BETWEEN_LOOKS)
}

/// Without its helper or its enclave the agent is ready all the same: what it can do then, it does.
const READY_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_hears_twice_in_its_time() {
        for (watchdog, wait) in [
            (None, 5_000),
            (Some(60_000), 5_000),
            (Some(4_000), 2_000),
            (Some(10), 100),
        ] {
            assert_eq!(pause(watchdog.map(Duration::from_millis)), Duration::from_millis(wait));
        }
    }
}
