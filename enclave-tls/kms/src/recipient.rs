//! RSA keys that KMS encrypts its answers to: one a request, made ahead of need, wiped after use.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::{io, thread};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use zeroize::Zeroizing;

use crate::cms::{CmsError, Envelope};

/// A key pair for one request. The library wipes its memory when it is dropped, and [`Recipient::open`] takes it away.
pub(crate) struct Recipient {
    key: OaepPrivateDecryptingKey,
    spki: Vec<u8>,
}

impl Recipient {
    fn generate() -> Result<Self, Unspecified> {
        // The one size that every version of KMS's documentation names.
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048)?;
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der()?;
        Ok(Self {
            spki: spki.as_ref().to_vec(),
            key: OaepPrivateDecryptingKey::new(key)?,
        })
    }

    /// What the attestation document carries.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Decrypts the one answer to the one request.
    pub(crate) fn open(self, ciphertext_for_recipient: &[u8]) -> Result<Zeroizing<Vec<u8>>, CmsError> {
        Envelope::parse(ciphertext_for_recipient)?.open(&self.key)
    }
}

/// Where recipients come from: a thread of its own that gives way to every other, so that no signature waits for it.
pub(crate) struct Recipients {
    ready: Mutex<Receiver<Result<Recipient, Unspecified>>>,
}

impl Recipients {
    /// Starts the thread. It ends with `self`.
    pub(crate) fn start() -> io::Result<Self> {
        // Without room, so that exactly one key waits: in the hand of the thread.
        let (hand_over, ready) = sync_channel(0);
        thread::Builder::new()
            .name("recipient-keys".to_owned())
            .spawn(move || {
                give_way();
                while hand_over.send(Recipient::generate()).is_ok() {}
            })?;
        Ok(Self {
            ready: Mutex::new(ready),
        })
    }

    /// A key that nobody has had. Blocks while it is being made.
    pub(crate) fn take(&self) -> Result<Recipient, Unspecified> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.recv().map_err(|_| Unspecified)?
    }
}

/// On Linux a priority is a thread's, and no process id means the calling one.
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST) {
        tracing::warn!(%error, "recipient keys are made at the priority of signatures");
    }
}

/// The weakest of `nice`'s values.
const LOWEST: i32 = 19;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cms::{ContentForm, seal};

    #[test]
    fn threat_36_a_key_opens_what_was_encrypted_to_it_and_no_other_does() {
        let recipients = Recipients::start().unwrap();
        let (one, other) = (recipients.take().unwrap(), recipients.take().unwrap());
        assert_ne!(one.spki(), other.spki());
        let sealed = seal(one.spki(), b"secret", ContentForm::Pieces(1_000)).unwrap();
        assert_eq!(other.open(&sealed).map(|_| ()), Err(CmsError::Decrypt));
        assert_eq!(one.open(&sealed).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn keys_are_made_on_a_thread_that_gives_way() {
        let recipients = Recipients::start().unwrap();
        drop(recipients.take().unwrap());
        let mine = rustix::process::getpriority_process(None).unwrap();
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let gives_way = |stat: String| {
            let fields = stat.split_once("(recipient-keys) ").map(|(_, fields)| fields);
            fields.and_then(|fields| fields.split(' ').nth(16)) == Some("19")
        };
        let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        assert!(stats.any(gives_way));
        assert!(mine < LOWEST, "this thread's own priority is {mine}");
    }
}
