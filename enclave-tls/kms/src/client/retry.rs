//! Attempts of one call: with exponential backoff and full jitter, inside its deadline.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use enclave_https::{HttpError, Pauses};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{KmsError, ReplyError, Unavailable};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Asking again would not help.
    Final(KmsError),
    /// It may pass.
    Passing(Unavailable),
    /// The service's clock differs from ours by this many seconds, and it refused the signature: with this error, if that does not
    /// help.
    Skewed(i64, KmsError),
}

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        Self::Final(error)
    }
}

impl From<Unspecified> for Failure {
    fn from(_: Unspecified) -> Self {
        Self::Passing(Unavailable::Library)
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::EgressRefused => Self::Final(KmsError::EgressRefused),
            HttpError::Untrusted => Self::Final(KmsError::Untrusted),
            HttpError::Malformed => Self::Final(KmsError::ReplyInvalid(ReplyError::Http)),
            HttpError::TooLong => Self::Final(KmsError::ReplyInvalid(ReplyError::TooLong)),
            HttpError::Request => Self::Final(KmsError::ObjectName),
            HttpError::Unreachable => Self::Passing(Unavailable::Unreachable),
            HttpError::Interrupted => Self::Passing(Unavailable::Interrupted),
            HttpError::Timeout => Self::Passing(Unavailable::Timeout),
        }
    }
}

/// The attempts of one call.
pub(super) struct Attempts {
    deadline: Instant,
    made: u32,
    offset: Option<i64>,
}

impl Attempts {
    pub(super) fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            made: 0,
            offset: None,
        }
    }

    /// What to add to our time in a signature. It never becomes the time of anything else: the parent could not set it, but who
    /// holds the service's key could.
    pub(super) fn offset(&self) -> i64 {
        self.offset.unwrap_or(0)
    }

    /// Makes an attempt. `None`: it failed, and another one may be made now.
    pub(super) async fn make<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Option<T>, KmsError> {
        self.made = self.made.saturating_add(1);
        let failure = match timeout_at(self.deadline, attempt).await {
            Ok(Ok(value)) => return Ok(Some(value)),
            Ok(Err(failure)) => failure,
            Err(_) => return Err(KmsError::Unavailable(Unavailable::Timeout)),
        };
        match failure {
            Failure::Final(error) => Err(error),
            Failure::Skewed(offset, _) if self.offset.is_none() => {
                tracing::warn!(seconds = offset, "the service's clock differs: signed again by it");
                self.offset = Some(offset);
                Ok(None)
            }
            Failure::Skewed(_, error) => Err(error),
            Failure::Passing(why) => self.back_off(why).await.map(|()| None),
        }
    }

    async fn back_off(&self, why: Unavailable) -> Result<(), KmsError> {
        let pause = PAUSES.after(self.made);
        let left = self.deadline.saturating_duration_since(Instant::now());
        if self.made >= MAX_ATTEMPTS || pause >= left {
            return Err(KmsError::Unavailable(why));
        }
        tracing::debug!(%why, attempt = self.made, "trying again");
        sleep(pause).await;
        Ok(())
    }
}

/// A call that needs more is not helped by asking: its caller decides what then.
const MAX_ATTEMPTS: u32 = 10;
const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(5),
};

#[cfg(test)]
mod tests {
    use super::*;

    const WHY: Unavailable = Unavailable::Failed(503);

    async fn fail_until(deadline: Instant) -> (u32, KmsError) {
        let mut attempts = Attempts::until(deadline);
        loop {
            if let Err(error) = attempts.make(async { Err::<(), _>(Failure::Passing(WHY)) }).await {
                return (attempts.made, error);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn threat_37_attempts_are_bounded() {
        let days = Instant::now() + Duration::from_secs(3 * 86_400);
        assert_eq!(fail_until(days).await, (MAX_ATTEMPTS, KmsError::Unavailable(WHY)));
        assert!(Instant::now() < days - Duration::from_secs(86_400));
    }

    #[tokio::test(start_paused = true)]
    async fn threat_37_attempts_end_with_the_deadline() {
        for _ in 0..50 {
            let deadline = Instant::now() + Duration::from_millis(700);
            let (made, error) = fail_until(deadline).await;
            assert!(made < MAX_ATTEMPTS && error == KmsError::Unavailable(WHY));
            assert!(Instant::now() <= deadline);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn threat_37_an_attempt_without_end_ends_with_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut attempts = Attempts::until(deadline);
        let forever = std::future::pending::<Result<(), Failure>>();
        let timeout = KmsError::Unavailable(Unavailable::Timeout);
        assert_eq!(attempts.make(forever).await, Err(timeout));
        assert_eq!(Instant::now(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn threat_18_a_signature_is_made_again_once() {
        let error = KmsError::Denied;
        let skewed = || async { Err::<(), _>(Failure::Skewed(-400, KmsError::Denied)) };
        let start = Instant::now();
        let mut attempts = Attempts::until(start + Duration::from_secs(60));
        assert_eq!(attempts.offset(), 0);
        assert_eq!(attempts.make(skewed()).await, Ok(None));
        assert_eq!((attempts.offset(), Instant::now()), (-400, start));
        assert_eq!(attempts.make(skewed()).await, Err(error));
    }
}
