//! Attempts of one step and looks at what a server works at: with pauses, inside the run's deadline.

use std::time::Duration;

use enclave_https::date::http_date;
use enclave_https::header::RETRY_AFTER;
use enclave_https::{Clock, HttpError, Pauses, Reply};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{AcmeError, Cause, ProtocolError, Step, Unavailable};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Asking again would not help.
    Final(Cause),
    /// It may pass; and how long the server says to wait.
    Passing(Unavailable, Option<Duration>),
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        Self::Final(Cause::Protocol(error))
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::EgressRefused => Self::Final(Cause::EgressRefused),
            HttpError::Untrusted => Self::Final(Cause::Untrusted),
            HttpError::Malformed | HttpError::TooLong | HttpError::Request => ProtocolError::Http.into(),
            HttpError::Unreachable => Self::Passing(Unavailable::Unreachable, None),
            HttpError::Interrupted => Self::Passing(Unavailable::Interrupted, None),
            HttpError::Timeout => Self::Passing(Unavailable::Timeout, None),
        }
    }
}

/// A run's time.
#[derive(Clone)]
pub(crate) struct Time {
    pub(crate) clock: Clock,
    pub(crate) deadline: Instant,
}

impl Time {
    /// The moment that a server means, in seconds since 1970, UTC.
    pub(crate) fn at(&self, after: Duration) -> i64 {
        let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        (self.clock)().saturating_add(seconds)
    }

    /// How long the server says to wait: seconds, or a date by our own clock. At most [`MAX_RETRY_AFTER`].
    pub(crate) fn retry_after(&self, reply: &Reply) -> Option<Duration> {
        let text = reply.headers.get(RETRY_AFTER)?.to_str().ok()?;
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => seconds,
            Err(_) => {
                let left = http_date(text)?.saturating_sub((self.clock)());
                u64::try_from(left).unwrap_or(0)
            }
        };
        Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The attempts of one step.
pub(crate) struct Attempts<'a> {
    time: &'a Time,
    step: Step,
    failed: u32,
}

impl<'a> Attempts<'a> {
    pub(crate) fn of(step: Step, time: &'a Time) -> Self {
        Self { time, step, failed: 0 }
    }

    /// Makes an attempt. `None`: it failed, and another one may be made now.
    pub(crate) async fn make<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, AcmeError> {
        let failure = match timeout_at(self.time.deadline, attempt).await {
            Ok(Ok(value)) => return Ok(Some(value)),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Final(Cause::Deadline { retry_at: None }),
        };
        match failure {
            Failure::Final(cause) => Err(self.error(cause)),
            Failure::Passing(why, asked) => self.back_off(why, asked).await.map(|()| None),
        }
    }

    /// Waits for as long as the server says, and for a pause of our own beside.
    async fn back_off(&mut self, why: Unavailable, asked: Option<Duration>) -> Result<(), AcmeError> {
        self.failed = self.failed.saturating_add(1);
        let pause = BACK_OFF.after(self.failed).saturating_add(asked.unwrap_or_default());
        if self.failed >= MAX_ATTEMPTS || pause >= self.time.left() {
            let retry_at = asked.map(|asked| self.time.at(asked));
            return Err(self.error(Cause::Unavailable { why, retry_at }));
        }
        tracing::debug!(step = %self.step, %why, failed = self.failed, "trying again");
        sleep(pause).await;
        Ok(())
    }

    fn error(&self, cause: Cause) -> AcmeError {
        AcmeError { step: self.step, cause }
    }
}

/// Looks at what the server works at.
pub(crate) struct Looks<'a> {
    time: &'a Time,
    step: Step,
    pause: Duration,
}

impl<'a> Looks<'a> {
    pub(crate) fn at(step: Step, time: &'a Time) -> Self {
        Self {
            time,
            step,
            pause: FIRST_LOOK,
        }
    }

    /// Waits until it is worth looking again: for as long as the server says, else for longer each time.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> Result<(), AcmeError> {
        let pause = asked.unwrap_or(self.pause).max(FIRST_LOOK);
        if pause >= self.time.left() {
            let retry_at = asked.map(|asked| self.time.at(asked));
            let (step, cause) = (self.step, Cause::Deadline { retry_at });
            return Err(AcmeError { step, cause });
        }
        self.pause = self.pause.saturating_mul(2).min(LONGEST_LOOK);
        sleep(pause).await;
        Ok(())
    }
}

/// A step that needs more is not helped by asking: its caller decides what then.
const MAX_ATTEMPTS: u32 = 10;
const BACK_OFF: Pauses = Pauses {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(30),
};
/// A validation takes a second or two where all is well. A server's zero is no reason to ask without a pause.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const LONGEST_LOOK: Duration = Duration::from_secs(15);
/// The longest limits of public CAs are over a week. Who says more would have us never ask again.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(14 * 86_400);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use enclave_https::{HeaderMap, StatusCode};

    use super::*;

    const NOW: i64 = 784_111_777;
    const WHY: Unavailable = Unavailable::Failed(503);

    fn until(deadline: Instant) -> Time {
        Time {
            clock: Arc::new(|| NOW),
            deadline,
        }
    }

    async fn fail(time: &Time, asked: Option<Duration>) -> (u32, Cause) {
        let mut attempts = Attempts::of(Step::Order, time);
        loop {
            if let Err(error) = attempts
                .make(async { Err::<(), _>(Failure::Passing(WHY, asked)) })
                .await
            {
                return (attempts.failed, error.cause);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_are_bounded() {
        let time = until(Instant::now() + Duration::from_secs(86_400));
        let unavailable = |retry_at| Cause::Unavailable { why: WHY, retry_at };
        assert_eq!(fail(&time, None).await, (MAX_ATTEMPTS, unavailable(None)));
        let begin = Instant::now();
        let minute = Some(Duration::from_secs(60));
        assert_eq!(fail(&time, minute).await, (MAX_ATTEMPTS, unavailable(Some(NOW + 60))));
        assert!(
            begin.elapsed() >= Duration::from_secs(9 * 60),
            "the server's word is kept"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_outlasts_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(90);
        let time = until(deadline);
        let (failed, _) = fail(&time, Some(Duration::from_secs(50))).await;
        assert_eq!(failed, 2);
        assert!(Instant::now() < deadline);
        let mut attempts = Attempts::of(Step::Order, &time);
        let error = attempts.make(std::future::pending::<Result<(), Failure>>()).await;
        assert_eq!(error.unwrap_err().cause, Cause::Deadline { retry_at: None });
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn looks_come_less_and_less_often() {
        let begin = Instant::now();
        let time = until(begin + Duration::from_secs(100));
        let mut looks = Looks::at(Step::Order, &time);
        for _ in 0..5 {
            looks.wait(None).await.unwrap();
        }
        assert_eq!(
            begin.elapsed(),
            Duration::from_millis(250 + 500 + 1_000 + 2_000 + 4_000)
        );
        looks.wait(Some(Duration::ZERO)).await.unwrap();
        assert_eq!(begin.elapsed(), Duration::from_millis(8_000));
        let error = looks.wait(Some(Duration::from_secs(200))).await.unwrap_err();
        let retry_at = Some(NOW + 200);
        assert_eq!(error.cause, Cause::Deadline { retry_at });
    }

    #[tokio::test]
    async fn retry_after_is_seconds_or_a_date_and_bounded() {
        let time = until(Instant::now());
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("99999999999", Some(14 * 86_400)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(14 * 86_400)),
            ("-1", None),
            ("soon", None),
            ("1.5", None),
            ("99999999999999999999999", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let reply = Reply {
                status: StatusCode::OK,
                headers,
                body: Vec::new(),
            };
            assert_eq!(time.retry_after(&reply), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
