//! KMS and S3, as provisioning asks them: with the parent's credentials, inside a deadline, and only while the agent is there.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enclave_kms::{Client, Credentials, DataKey, Hosts, KmsError};
use enclave_policy::aws::{KeyArn, Region};
use enclave_wire::Name;
use enclave_wire::control::{ControlError, InstallAws, S3Object};
use tokio::runtime::Handle;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::serve::Agent;

/// The way to AWS, where there is one.
pub(crate) struct Aws {
    client: Result<Client, NoAws>,
    held: Mutex<Held>,
    changed: Condvar,
}

/// Why AWS is never spoken to in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAws {
    /// The policy names no root for AWS's hosts, or one that is none.
    Roots,
    /// The policy names no root for the NSM.
    Attestation,
    /// The service was started without an egress plane.
    Egress,
    /// The system did not start a thread.
    Thread,
}

/// What is known of the credentials that the client holds.
#[derive(Default)]
struct Held {
    /// How often credentials came.
    count: u64,
    /// When they end, in seconds since 1970, UTC.
    expires: Option<i64>,
    /// When the agent was last told that they end.
    asked: Option<Instant>,
}

impl Aws {
    pub(crate) fn new(client: Result<Client, NoAws>) -> Self {
        if let Err(why) = &client {
            tracing::info!(%why, "AWS is not spoken to in this run");
        }
        Self {
            client,
            held: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Takes credentials and hosts. Nothing of them is logged or sealed.
    pub(crate) fn install(&self, install: InstallAws) -> Result<(), ControlError> {
        let client = self.client()?;
        let expires = install.expires;
        client.set_credentials(credentials(&install)?);
        client.set_hosts(Hosts {
            kms: install.kms_host,
            s3: install.s3_host,
        });
        let mut held = self.held();
        held.count = held.count.saturating_add(1);
        held.expires = expires;
        held.asked = None;
        drop(held);
        self.changed.notify_all();
        tracing::info!(expires, "AWS credentials installed");
        Ok(())
    }

    /// Whether the agent is to be told now that the credentials end. It is told again after a while.
    pub(crate) fn wants_credentials(&self, now_unix: impl FnOnce() -> i64) -> bool {
        let mut held = self.held();
        let ends = held.expires.is_some_and(|end| end.saturating_sub(now_unix()) <= AHEAD);
        let asked = held.asked.is_some_and(|asked| asked.elapsed() < ASK_AGAIN);
        if ends && !asked {
            held.asked = Some(Instant::now());
        }
        ends && !asked
    }

    /// What one request may ask of AWS, while the agent that sent it is there.
    pub(crate) fn calls<'a>(&'a self, agent: &'a Agent) -> Calls<'a> {
        self.calls_for(REQUEST, agent)
    }

    /// What may be asked of AWS between two requests: the next one waits for it.
    pub(crate) fn few_calls<'a>(&'a self, agent: &'a Agent) -> Calls<'a> {
        self.calls_for(BETWEEN, agent)
    }

    fn calls_for<'a>(&'a self, time: Duration, agent: &'a Agent) -> Calls<'a> {
        let now = Instant::now();
        Calls {
            aws: self,
            agent,
            until: now.checked_add(time).unwrap_or(now),
        }
    }

    fn client(&self) -> Result<&Client, ControlError> {
        self.client.as_ref().map_err(|why| {
            tracing::warn!(%why, "AWS is not spoken to");
            match why {
                NoAws::Attestation => ControlError::AttestationFailed,
                NoAws::Egress => ControlError::EgressRefused,
                NoAws::Roots => ControlError::KmsKeyRefused,
                NoAws::Thread => ControlError::Failed,
            }
        })
    }

    // A panic while the lock was held leaves numbers that are true.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls for one request.
#[derive(Clone, Copy)]
pub(crate) struct Calls<'a> {
    aws: &'a Aws,
    agent: &'a Agent,
    until: Instant,
}

impl Calls<'_> {
    /// Decrypts what was encrypted under a KMS key with this context.
    pub(super) fn decrypt(
        &self,
        key: &KeyArn,
        ciphertext: &[u8],
        context: &[(String, String)],
    ) -> Result<Zeroizing<Vec<u8>>, ControlError> {
        let plaintext = self.call(async |client, deadline| client.decrypt(key, ciphertext, context, deadline).await);
        plaintext.map_err(|error| failed("decrypt", key, error, ControlError::AwsDenied))
    }

    /// A new data key for a group of names.
    pub(super) fn generate_data_key(&self, key: &KeyArn, group: &Name) -> Result<DataKey, ControlError> {
        let context = group_context(group);
        let made = self.call(async |client, deadline| client.generate_data_key(key, &context, deadline).await);
        made.map_err(|error| failed("make a data key", key, error, ControlError::AwsDenied))
    }

    /// The same, for the next one of so many KMS keys that may be asked in its place: none takes the time of those after it.
    pub(super) fn one_of(&self, count: usize) -> Self {
        let now = Instant::now();
        let parts = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let left = self.until.saturating_duration_since(now);
        let share = left.checked_div(parts).unwrap_or(left);
        Self {
            until: now.checked_add(share).map_or(self.until, |then| then.min(self.until)),
            ..*self
        }
    }

    /// Whether there is time for another call: one that has too little would say of its KMS key that it does not answer.
    pub(super) fn have_time(&self) -> bool {
        self.until.saturating_duration_since(Instant::now()) >= LEAST
    }

    /// An object of S3.
    pub(super) fn get_object(&self, region: &Region, object: &S3Object) -> Result<Vec<u8>, ControlError> {
        let (bucket, key) = (object.bucket.as_str(), object.key.as_str());
        let read = self.call(async |client, deadline| client.get_object(region, bucket, key, deadline).await);
        read.map_err(|error| failed("read an object", region, error, ControlError::NoSuchObject))
    }

    /// Makes a call; where it found no credentials or old ones, once more with those that the agent then brings.
    fn call<T>(&self, call: impl AsyncFn(&Client, Instant) -> Result<T, KmsError>) -> Result<T, Failed> {
        let client = self.aws.client().map_err(Failed::Never)?;
        let once = || {
            Handle::current().block_on(async {
                tokio::select! {
                    result = call(client, self.within(CALL)) => result.map_err(Failed::Kms),
                    () = self.agent.gone() => Err(Failed::Gone),
                }
            })
        };
        let before = self.aws.held().count;
        match once() {
            Err(Failed::Kms(KmsError::CredentialsMissing | KmsError::CredentialsExpired))
                if self.agent.need_credentials() && self.came_since(before) =>
            {
                once()
            }
            result => result,
        }
    }

    /// Waits a moment for other credentials than those of `before`.
    fn came_since(&self, before: u64) -> bool {
        let time = self.within(WAIT).saturating_duration_since(Instant::now());
        let same = |held: &mut Held| held.count == before;
        let waited = self.aws.changed.wait_timeout_while(self.aws.held(), time, same);
        waited.unwrap_or_else(PoisonError::into_inner).0.count != before
    }

    fn within(&self, time: Duration) -> Instant {
        Instant::now()
            .checked_add(time)
            .map_or(self.until, |then| then.min(self.until))
    }
}

impl std::fmt::Display for NoAws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Roots => "the policy names no root for its hosts",
            Self::Attestation => "the policy names no root for attestation",
            Self::Egress => "there is no egress plane",
            Self::Thread => "a thread did not start",
        })
    }
}

/// The encryption context of a group's data key.
pub(crate) fn group_context(group: &Name) -> Vec<(String, String)> {
    context("sealed", "group", group)
}

/// The encryption context of a bundle that was made for a name.
pub(crate) fn bundle_context(name: &Name) -> Vec<(String, String)> {
    context("bundle", "name", name)
}

fn context(purpose: &str, what: &str, name: &Name) -> Vec<(String, String)> {
    [("purpose", purpose), (what, name.as_str())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Why a call gave nothing.
enum Failed {
    /// There is no client.
    Never(ControlError),
    /// The control connection ended, and nobody waits for the result.
    Gone,
    Kms(KmsError),
}

/// Says in the log why, and where; the agent gets the rule's code. `absent`: what was asked for is not there.
fn failed(what: &'static str, place: &impl std::fmt::Display, failed: Failed, absent: ControlError) -> ControlError {
    let error = match failed {
        Failed::Never(error) => return error,
        Failed::Gone => return ControlError::AwsUnavailable,
        Failed::Kms(error) => error,
    };
    tracing::warn!(%place, %error, "AWS did not {what}");
    match error {
        KmsError::CredentialsMissing | KmsError::CredentialsExpired => ControlError::CredentialsMissing,
        KmsError::EgressRefused => ControlError::EgressRefused,
        KmsError::Unavailable(_) => ControlError::AwsUnavailable,
        KmsError::CredentialsRefused(_) | KmsError::Denied | KmsError::Refused(_) => ControlError::AwsDenied,
        KmsError::CiphertextInvalid => ControlError::CiphertextInvalid,
        KmsError::NotFound | KmsError::ObjectName => absent,
        KmsError::Untrusted | KmsError::ReplyInvalid(_) => ControlError::AwsReplyInvalid,
        KmsError::Attestation(_) => ControlError::AttestationFailed,
    }
}

fn credentials(install: &InstallAws) -> Result<Credentials, ControlError> {
    let secret = |bytes: &[u8]| std::str::from_utf8(bytes).map(|text| Zeroizing::new(text.to_owned()));
    let token = install.session_token.as_ref().map(|token| token.as_bytes());
    let parts = secret(install.secret_access_key.as_bytes()).and_then(|key| Ok((key, token.map(secret).transpose()?)));
    let made = parts.ok().and_then(|(key, token)| {
        let id = install.access_key_id.as_str().to_owned();
        // Credentials of a user do not end; those of a role say when they do.
        Credentials::new(id, key, token, install.expires.unwrap_or(i64::MAX)).ok()
    });
    made.ok_or_else(|| {
        tracing::warn!("the AWS credentials cannot be in a request");
        ControlError::CredentialsMissing
    })
}

/// For one call with all its attempts.
const CALL: Duration = Duration::from_secs(8);
/// For all calls of a request: what it makes is stored after that, before the agent gives the request up.
const REQUEST: Duration = Duration::from_secs(20);
/// For one call that is worth beginning, where it can wait.
const LEAST: Duration = Duration::from_secs(2);
/// For all calls between two requests.
const BETWEEN: Duration = Duration::from_secs(4);
/// For credentials that the agent was asked for.
const WAIT: Duration = Duration::from_secs(5);
/// How long before their end new credentials are asked for, in seconds: as the SDK does, which brings them.
const AHEAD: i64 = 300;
/// An agent that has none better now may have some soon.
const ASK_AGAIN: Duration = Duration::from_secs(60);
