//! Which of the policy's KMS keys answer, and what those said that did not.

use std::collections::HashMap;
use std::time::Duration;

use enclave_policy::aws::KeyArn;
use enclave_wire::control::ControlError;
use tokio::time::Instant;

/// What this run knows of KMS keys: with one region away, the others are asked first.
pub(super) struct Answers {
    /// How long a key that did not answer is left alone, at first.
    pause: Duration,
    /// The key that opened something last.
    last: Option<KeyArn>,
    silent: HashMap<KeyArn, Silence>,
}

struct Silence {
    until: Instant,
    pause: Duration,
}

impl Answers {
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            pause,
            last: None,
            silent: HashMap::new(),
        }
    }

    pub(super) fn answered(&mut self, kms_key: &KeyArn) {
        self.silent.remove(kms_key);
        self.last = Some(kms_key.clone());
    }

    /// It is asked again after a while, and each time after twice as long, up to a limit.
    pub(super) fn failed(&mut self, kms_key: &KeyArn) {
        let most = self.pause.saturating_mul(LONGEST);
        let before = self.silent.get(kms_key);
        let pause = before.map_or(self.pause, |silence| silence.pause.saturating_mul(2).min(most));
        let now = Instant::now();
        let until = now.checked_add(pause).unwrap_or(now);
        self.silent.insert(kms_key.clone(), Silence { until, pause });
    }

    pub(super) fn is_due(&self, kms_key: &KeyArn) -> bool {
        self.silent
            .get(kms_key)
            .is_none_or(|silence| silence.until <= Instant::now())
    }

    /// Whether it did not answer when it was asked last.
    pub(super) fn is_silent(&self, kms_key: &KeyArn) -> bool {
        self.silent.contains_key(kms_key)
    }

    /// The order in which keys are asked to open: first the one that answered last, last those that did not answer lately.
    pub(super) fn rank(&self, kms_key: &KeyArn) -> (bool, bool) {
        (!self.is_due(kms_key), self.last.as_ref() != Some(kms_key))
    }
}

/// What each KMS key said that did not do it.
#[derive(Default)]
pub(super) struct Refusals(Vec<(KeyArn, ControlError)>);

impl Refusals {
    /// Whether the next one is worth asking: credentials are missing everywhere at once.
    pub(super) fn note(&mut self, kms_key: &KeyArn, error: ControlError) -> bool {
        self.0.push((kms_key.clone(), error));
        error != ControlError::CredentialsMissing
    }

    /// The one that the agent learns: that it may pass, if any of them may, since one key is enough; else what the first said.
    pub(super) fn error(&self) -> Option<ControlError> {
        let said = |wanted: &ControlError| self.0.iter().any(|(_, error)| error == wanted);
        let passing = MAY_PASS.iter().find(|error| said(error)).copied();
        passing.or_else(|| self.0.first().map(|(_, error)| *error))
    }
}

impl std::fmt::Display for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (kms_key, error)) in self.0.iter().enumerate() {
            let between = if place == 0 { "" } else { "; " };
            write!(f, "{between}{kms_key}: {error:?}")?;
        }
        Ok(())
    }
}

/// What an agent tries again by itself.
const MAY_PASS: [ControlError; 3] = [
    ControlError::AwsUnavailable,
    ControlError::CredentialsMissing,
    ControlError::EgressRefused,
];
/// Some 16 minutes for a first pause of one.
const LONGEST: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(region: &str) -> KeyArn {
        let arn = format!("arn:aws:kms:{region}:111122223333:key/00000000-0000-4000-8000-000000000001");
        arn.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn threat_37_a_silent_key_is_asked_last_and_less_and_less() {
        let mut answers = Answers::new(Duration::from_secs(60));
        let (one, two) = (key("us-east-1"), key("us-west-2"));
        let first = |answers: &Answers| answers.rank(&one) <= answers.rank(&two);
        assert!(first(&answers), "the policy's order");
        answers.answered(&two);
        assert!(!first(&answers));
        answers.answered(&one);
        for minutes in [1, 2, 4, 8, 16, 16, 16] {
            answers.failed(&one);
            assert!(!first(&answers) && !answers.is_due(&one));
            tokio::time::advance(Duration::from_secs(minutes * 60 - 1)).await;
            assert!(!answers.is_due(&one));
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(answers.is_due(&one), "{minutes}");
        }
        answers.answered(&one);
        answers.failed(&one);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(answers.is_due(&one), "an answer ends the count");
    }

    #[test]
    fn what_may_pass_at_one_key_may_pass() {
        let of = |errors: &[ControlError]| {
            let mut refusals = Refusals::default();
            for error in errors {
                refusals.note(&key("us-east-1"), *error);
            }
            refusals.error()
        };
        let (denied, away) = (ControlError::AwsDenied, ControlError::AwsUnavailable);
        assert_eq!(of(&[denied, away]), Some(away));
        assert_eq!(of(&[away, denied]), Some(away));
        assert_eq!(of(&[denied, ControlError::CiphertextInvalid]), Some(denied));
        assert_eq!(of(&[]), None);
        let mut refusals = Refusals::default();
        assert!(refusals.note(&key("us-east-1"), denied) && refusals.note(&key("us-west-2"), away));
        let arn = |region| format!("arn:aws:kms:{region}:111122223333:key/00000000-0000-4000-8000-000000000001");
        let said = format!("{}: AwsDenied; {}: AwsUnavailable", arn("us-east-1"), arn("us-west-2"));
        assert_eq!(refusals.to_string(), said);
        assert!(!refusals.note(&key("us-east-1"), ControlError::CredentialsMissing));
    }
}
