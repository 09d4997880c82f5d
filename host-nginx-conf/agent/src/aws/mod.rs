//! AWS credentials for the enclave: found here, given to it, and given again well before they end.
//!
//! The enclave has no role of its own and no way to IMDS, so the parent lends it short-lived credentials of its role. They are worth
//! to it what they are worth to the parent: who opens a key with them is for KMS to decide, by the attestation document.
//!
//! A source that is away costs nothing but its own line of the log: what was found last stays in use until it ends, and keys that the
//! enclave holds go on signing without any.

mod source;
pub(crate) mod versions;

use std::sync::{Arc, Condvar, PoisonError, Weak};
use std::time::Duration;

use enclave_wire::DnsName;
use enclave_wire::control::{InstallAws, Reply, Request};
use enclave_wire::log::Text;

use crate::Shared;
use crate::backoff::Backoff;
use crate::clock::{Bell, Clock};
use crate::control::Control;
use crate::keeper::troubles;
use crate::link::{CallError, Link};
use crate::log::Event;
use enclave_tls_admin::deadline::Deadline;
use enclave_tls_admin::{advice, protocol};
use source::AwsCredentials;

/// The newest credentials, and whether newer are wanted.
pub(crate) struct Aws {
    clock: Arc<dyn Clock>,
    /// Rung when the service wants newer ones.
    wanted: Bell,
    kms_host: Option<DnsName>,
    s3_host: Option<DnsName>,
    profile: Option<String>,
    state: Shared<State>,
    changed: Condvar,
    /// The connection that was given credentials last, and which. Held while it is given some: older ones never come after newer.
    given: Shared<(Weak<Link>, u64)>,
}

#[derive(Default)]
struct State {
    newest: Option<AwsCredentials>,
    /// Counts the credentials that were found; 0: none yet.
    version: u64,
    /// Counts the attempts to find some.
    attempts: u64,
    installed: u64,
    failure: Option<String>,
}

impl Aws {
    /// With the names of AWS hosts that the enclave shall use in place of the standard ones.
    pub(crate) fn new(config: &enclave_tls_config::Aws, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            wanted: Bell::default(),
            kms_host: config.kms_host.clone(),
            s3_host: config.s3_host.clone(),
            profile: config.profile.clone(),
            state: Shared::default(),
            changed: Condvar::new(),
            given: Shared::default(),
        }
    }

    /// Finds credentials again and again, for ever, and gives each to the service. A failure is said and tried again.
    pub(crate) fn run(&self, control: &Control) {
        let mut backoff = Backoff::default();
        let find = || source::load(self.profile.as_deref()).map_err(|error| error.to_string());
        loop {
            self.attempt(&mut backoff, find, || control.open());
        }
    }

    /// Finds credentials once, gives them to the service, and waits until it is time for others.
    fn attempt(
        &self,
        backoff: &mut Backoff,
        find: impl FnOnce() -> Result<AwsCredentials, String>,
        service: impl FnOnce() -> Option<Arc<Link>>,
    ) {
        match find() {
            Ok(found) => {
                let left = found.expires_unix.map(|end| end.saturating_sub(self.clock.now()));
                let is_newer = self.found(found);
                if let Some(link) = service().filter(|_| is_newer) {
                    let _ended = self.install(&link).is_err(); // Then the next connection's greeting gives them.
                }
                if is_newer && left.is_none_or(|left| left > 0) {
                    backoff.reset();
                    self.pause(ONCE_NEWER, renew_in(left));
                } else {
                    // IMDS gives what it has, though it be at its end: asking again at once gives the same.
                    let wait = backoff.after_failure();
                    self.pause(wait, renew_in(left));
                }
            }
            Err(why) => {
                self.failed(why);
                let wait = backoff.after_failure();
                self.pause(wait, wait);
            }
        }
    }

    /// The service wants newer ones.
    pub(crate) fn need(&self) {
        self.wanted.ring();
    }

    /// Gives a service that has just come the newest, once there are some or the first attempt has failed.
    pub(crate) fn greet(&self, link: &Arc<Link>) -> Result<(), CallError> {
        let deadline = Deadline::after(FIRST_WITHIN);
        let mut state = self.state.lock();
        while state.attempts == 0
            && let Some(left) = deadline.left()
        {
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.install(link)
    }

    /// Changes when credentials are found.
    pub(crate) fn version(&self) -> u64 {
        self.state.lock().version
    }

    /// What commands may know of this.
    pub(crate) fn report(&self) -> protocol::Aws {
        let state = self.state.lock();
        protocol::Aws {
            loaded: state.newest.is_some(),
            expires: state.newest.as_ref().and_then(|newest| newest.expires_unix),
            installed: state.installed,
            failure: state.failure.as_deref().map(Text::lossy),
        }
    }

    /// Gives the newest, unless this connection has them.
    pub(crate) fn install(&self, link: &Arc<Link>) -> Result<(), CallError> {
        let mut given = self.given.lock();
        let (request, version) = {
            let state = self.state.lock();
            match &state.newest {
                None => return Ok(()),
                Some(newest) => (self.request(newest), state.version),
            }
        };
        if given.1 == version && std::ptr::eq(given.0.as_ptr(), Arc::as_ptr(link)) {
            return Ok(());
        }
        *given = (Arc::downgrade(link), version);
        let Some(request) = request else {
            Event::AwsRefused.say(
                "the AWS credentials that were found are longer than AWS makes them; they were not given to the service",
            );
            return Ok(());
        };
        match link.call(&request)? {
            Reply::AwsInstalled => {
                let mut state = self.state.lock();
                state.installed = state.installed.saturating_add(1);
            }
            Reply::Error(error) => Event::AwsRefused.say(format_args!(
                "the service refused the AWS credentials: {}",
                advice::refused(error)
            )),
            _ => Event::AwsRefused.say("the service's answer to the AWS credentials fits no such request"),
        }
        Ok(())
    }

    fn request(&self, found: &AwsCredentials) -> Option<Request> {
        let token = found.session_token.as_ref();
        let token = token.map(|token| token.as_bytes().to_vec().try_into()).transpose();
        Some(Request::InstallAws(InstallAws {
            access_key_id: Text::lossy(&found.access_key_id),
            secret_access_key: found.secret.as_bytes().to_vec().try_into().ok()?,
            session_token: token.ok()?,
            expires: found.expires_unix,
            kms_host: self.kms_host.clone(),
            s3_host: self.s3_host.clone(),
        }))
    }

    /// Whether they are others than before.
    fn found(&self, found: AwsCredentials) -> bool {
        let mut state = self.state.lock();
        if state.failure.take().is_some() {
            Event::AwsFound.say("AWS credentials are found again");
        }
        let is_newer = state.newest.as_ref() != Some(&found);
        if is_newer {
            state.newest = Some(found);
            state.version = state.version.saturating_add(1);
        }
        state.attempts = state.attempts.saturating_add(1);
        self.changed.notify_all();
        is_newer
    }

    /// Says a failure when it begins, and when it becomes another.
    fn failed(&self, why: String) {
        let mut state = self.state.lock();
        if state.failure.as_ref().is_none_or(|known| troubles::differ(known, &why)) {
            Event::AwsFailed.say(format_args!("{why}; tried again until there are some"));
        }
        state.failure = Some(why);
        state.attempts = state.attempts.saturating_add(1);
        self.changed.notify_all();
    }

    /// Waits, after `least` only until the service wants newer ones: one that always does keeps nobody busy.
    fn pause(&self, least: Duration, time: Duration) {
        self.clock.wait(&Bell::default(), least);
        self.clock.wait(&self.wanted, time.saturating_sub(least));
    }
}

/// When to look for new ones, by the seconds that these are still good for: after half of them, or ten minutes before the end.
fn renew_in(left: Option<i64>) -> Duration {
    let Some(left) = left else { return UNKNOWN };
    let left = Duration::from_secs(left.try_into().unwrap_or(0));
    let half = left.div_f64(2.0);
    let wait = match left.checked_sub(AHEAD) {
        Some(until_then) if !until_then.is_zero() => half.min(until_then),
        // The source gives no newer ones yet, and will before the end.
        _ => half,
    };
    wait.clamp(AT_LEAST, AT_MOST)
}

/// Where nobody says when they end.
const UNKNOWN: Duration = Duration::from_secs(300);
const AHEAD: Duration = Duration::from_secs(600);
const AT_LEAST: Duration = Duration::from_secs(1);
/// A service that asks for newer ones at once has not tried these.
const ONCE_NEWER: Duration = Duration::from_secs(10);
/// A clock that was set meanwhile makes the plan wrong.
const AT_MOST: Duration = Duration::from_secs(3_600);
/// IMDS answers in milliseconds. Without it the service is greeted all the same.
const FIRST_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    use crate::clock::tests::Simulated;

    const DAY: Duration = Duration::from_secs(86_400);

    fn aws(clock: Arc<Simulated>) -> Aws {
        Aws::new(&crate::keeper::tests::config("").aws.unwrap(), clock)
    }

    fn credentials(number: u32, expires_unix: Option<i64>) -> AwsCredentials {
        AwsCredentials {
            access_key_id: format!("AKIA{number}"),
            secret: "secret".to_owned().into(),
            session_token: None,
            expires_unix,
        }
    }

    /// Attempts for so long, with a service that wants newer ones when an attempt begins. How many these were, and the longest wait between two.
    fn run(
        aws: &Aws,
        clock: &Simulated,
        time: Duration,
        mut find: impl FnMut() -> Result<AwsCredentials, String>,
    ) -> (u32, Duration) {
        let (mut backoff, mut attempts, mut longest) = (Backoff::default(), 0, Duration::ZERO);
        let until = clock.monotonic() + time;
        while clock.monotonic() < until {
            aws.need();
            let began = clock.monotonic();
            aws.attempt(&mut backoff, &mut find, || None);
            attempts += 1;
            longest = longest.max(clock.monotonic() - began);
        }
        (attempts, longest)
    }

    #[test]
    fn threat_37_a_source_that_is_away_for_days_is_asked_each_minute_and_what_was_found_stays() {
        let clock = Simulated::new();
        let aws = aws(clock.clone());
        let expires = Some(clock.now() + 3_600);
        run(&aws, &clock, Duration::from_secs(1), || Ok(credentials(1, expires)));
        let mut count = 0;
        let (attempts, longest) = run(&aws, &clock, DAY * 3, || {
            count += 1;
            Err(format!("IMDS did not answer within {count} ms"))
        });
        assert!((72..=3 * 2_880 + 10).contains(&attempts), "{attempts}");
        assert!(longest <= Duration::from_secs(60), "{longest:?}");
        let report = aws.report();
        assert!(report.loaded && report.expires == expires && report.failure.is_some());
        assert_eq!(aws.version(), 1);
        let expires = Some(clock.now() + 21_600);
        run(&aws, &clock, Duration::from_secs(1), || Ok(credentials(2, expires)));
        assert_eq!(
            (aws.version(), aws.report().expires, aws.report().failure),
            (2, expires, None)
        );
    }

    #[test]
    fn threat_37_credentials_at_their_end_that_come_again_and_again_are_no_storm_and_no_news() {
        let clock = Simulated::new();
        let aws = aws(clock.clone());
        let ended = Some(clock.now() - 5);
        let (attempts, longest) = run(&aws, &clock, DAY, || Ok(credentials(1, ended)));
        assert!((24..=2_900).contains(&attempts), "{attempts}");
        assert!(longest <= Duration::from_secs(60), "{longest:?}");
        assert_eq!(aws.version(), 1, "given once");
    }

    #[test]
    fn threat_18_a_clock_that_jumps_ten_years_neither_stops_nor_hurries_the_search() {
        let clock = Simulated::new();
        let aws = aws(clock.clone());
        for (number, step) in [(1, 10), (2, -20), (3, 20), (4, -10)] {
            clock.set(step * 365 * 86_400);
            let expires = Some(clock.now() + 21_600);
            let (attempts, longest) = run(&aws, &clock, DAY, || Ok(credentials(number, expires)));
            assert!((23..=3_000).contains(&attempts), "{attempts}");
            assert!(longest <= Duration::from_secs(3_600), "{longest:?}");
        }
    }

    #[test]
    fn credentials_are_renewed_at_half_of_their_time_or_ten_minutes_ahead() {
        for (left, wait) in [
            (None, 300),
            (Some(21_600), 3_600),
            (Some(3_600), 1_800),
            (Some(1_200), 600),
            (Some(900), 300),
            (Some(601), 1),
            (Some(600), 300),
            (Some(60), 30),
            (Some(1), 1),
            (Some(0), 1),
            (Some(-5), 1),
            (Some(i64::MAX), 3_600),
        ] {
            assert_eq!(renew_in(left), Duration::from_secs(wait), "{left:?}");
        }
    }
}
