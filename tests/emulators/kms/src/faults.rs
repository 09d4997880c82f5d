//! Switches that make the emulator misbehave, for the tests of whoever must stand it.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// How the emulator misbehaves. `Default` is: not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Only these operations; empty: every one.
    pub operations: Vec<String>,
    /// Only so many requests, then all faults are cleared; absent: until they are cleared.
    pub times: Option<u32>,
    /// A reply to a recipient carries the plaintext.
    pub plaintext: Option<PlaintextFault>,
    /// What stands as `KeyId` in a reply instead of the key's ARN.
    pub reply_key_id: Option<String>,
    /// The form of the encrypted content. No fault: KMS sends both.
    pub cms_form: CmsForm,
    /// What is wrong with `CiphertextForRecipient`.
    pub cms: Option<CmsFault>,
    /// The request is answered with this error.
    pub error: Option<ErrorFault>,
    /// The reply comes so much later.
    pub delay_ms: u64,
    /// The connection is closed.
    pub close: Option<Close>,
    /// Signatures are judged, and `Date` is written, by a clock that is so far off.
    pub clock_offset_seconds: i64,
}

/// A reply that carries the plaintext though there is a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaintextFault {
    /// Beside `CiphertextForRecipient`.
    Beside,
    /// Instead of it, as from a KMS that does not know recipients.
    Instead,
}

/// How the encrypted content stands in the CMS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CmsForm {
    /// Constructed and primitive in turn; the reply's `Plaintext` is absent and null in turn.
    #[default]
    Alternating,
    /// `[0]` primitive.
    Primitive,
    /// `[0]` constructed, with one octet string.
    Constructed,
    /// `[0]` constructed, with octet strings of at most 20 bytes.
    Chunked,
}

/// What is wrong with a CMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CmsFault {
    /// The content is said to be AES-128-CBC.
    ContentAlgorithm,
    /// The key is said to be wrapped by PKCS #1 v1.5.
    KeyAlgorithm,
    /// The key is said to be wrapped by OAEP with SHA-1.
    OaepDigest,
    /// Definite lengths, which KMS never sends.
    DefiniteLengths,
    /// EnvelopedData of version 0.
    Version,
    /// Two recipients.
    TwoRecipients,
    /// The end is missing.
    Truncated,
    /// Bytes follow.
    Trailing,
    /// Random bytes.
    Garbage,
    /// Well-formed, but for another recipient's key.
    AnotherKey,
    /// Well-formed, but what is in it is random.
    AnotherPlaintext,
    /// The wrapped content key has 16 bytes.
    ShortContentKey,
    /// The content's last block is damaged.
    Padding,
}

/// An error that KMS answers of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorFault {
    /// HTTP 500, `KMSInternalException`.
    Internal,
    /// HTTP 503, `ServiceUnavailableException`.
    Unavailable,
    /// HTTP 400, `ThrottlingException`.
    Throttling,
    /// HTTP 502 with HTML, as from a load balancer.
    BadGateway,
    /// HTTP 400, `ExpiredTokenException`.
    ExpiredToken,
}

/// When a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Close {
    /// After the request, without a byte of a reply. The operation was done.
    BeforeReply,
    /// In the middle of the reply's body.
    MidReply,
}

/// Sets and clears faults while the emulator runs.
#[derive(Debug, Clone, Default)]
pub struct FaultSwitches {
    current: Arc<Mutex<Faults>>,
}

impl FaultSwitches {
    /// From now on the emulator misbehaves so, and in no other way.
    pub fn set(&self, faults: Faults) {
        *self.lock() = faults;
    }

    /// From now on it behaves.
    pub fn clear(&self) {
        self.set(Faults::default());
    }

    /// What is set, with the times that are left.
    #[must_use]
    pub fn current(&self) -> Faults {
        self.lock().clone()
    }

    /// The faults of one request of this operation, which is counted.
    pub(crate) fn of_request(&self, operation: &str) -> Faults {
        let mut current = self.lock();
        if !current.operations.is_empty() && !current.operations.iter().any(|name| name == operation) {
            return Faults::default();
        }
        match current.times {
            Some(0) => *current = Faults::default(),
            Some(times) => current.times = times.checked_sub(1),
            None => {}
        }
        current.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Faults> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_count_only_the_requests_that_they_concern() {
        let switches = FaultSwitches::default();
        let faults = Faults {
            operations: vec!["Decrypt".to_owned()],
            times: Some(1),
            delay_ms: 7,
            ..Faults::default()
        };
        switches.set(faults);
        assert_eq!(switches.of_request("Encrypt").delay_ms, 0);
        assert_eq!(switches.of_request("Decrypt").delay_ms, 7);
        assert_eq!(switches.of_request("Decrypt").delay_ms, 0);
        assert_eq!(switches.current(), Faults::default());
    }
}
