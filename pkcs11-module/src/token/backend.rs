//! What the token asks of the service. The client answers it over a socket, tests answer it from memory.

use std::sync::Arc;

use enclave_wire::signing::{Entry, Label};
use enclave_wire::{BootId, Chain, KeyId, KeyType, Mechanism, Objects};

use super::deadline::Deadline;

/// The service, as the token sees it. Every method returns by `deadline`, or soon after.
pub trait Backend: Send + Sync {
    /// The keys that this credential sees, or the word that `known` is still right.
    fn list(&self, known: Option<Snapshot>, deadline: Deadline) -> Result<Listed, Unavailable>;

    /// The key of this id, if this credential sees it.
    fn find_by_id(&self, id: KeyId, deadline: Deadline) -> Result<Option<Entry>, Unavailable>;

    /// The keys of this label that this credential sees.
    fn find_by_label(&self, label: &Label, deadline: Deadline) -> Result<Vec<Entry>, Unavailable>;

    /// A key's chain, empty where none is installed, if this credential sees the key.
    fn chain(&self, id: KeyId, deadline: Deadline) -> Result<Option<Chain>, Unavailable>;

    /// A signature as long as the key's type says.
    fn sign(&self, request: SignRequest<'_>, deadline: Deadline) -> Result<Vec<u8>, SignFailure>;

    /// What the agent wrote down of the service's keys, for when the service cannot be asked or lacks one. The same value again where
    /// nothing new was written; none where nothing ever was.
    fn published(&self) -> Option<Arc<Objects>>;

    /// Each socket that is open now, without waiting for any lock, the allocator's included: a forked child closes its copies of them.
    fn each_socket(&self, each: &mut dyn FnMut(SocketId));
}

/// A signature to make.
#[derive(Debug, Clone, Copy)]
pub struct SignRequest<'a> {
    /// By which key.
    pub key: KeyId,
    /// The type of that key, which says how long the signature is.
    pub key_type: KeyType,
    /// How.
    pub mechanism: Mechanism,
    /// Over what.
    pub input: &'a [u8],
}

/// Names one state of the listing. A version alone would not: each boot of the service counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The boot that counted.
    pub boot: BootId,
    /// Its count of changes.
    pub version: u64,
}

/// An answer to [`Backend::list`].
#[derive(Debug)]
pub enum Listed {
    /// What the caller knows is current.
    Unchanged,
    /// Everything, in the service's order.
    All(Snapshot, Vec<Entry>),
}

/// A socket by its number and its inode. The number alone may have come to mean another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketId {
    /// The file descriptor.
    pub number: i32,
    /// The inode that it had when it was opened.
    pub inode: u64,
}

/// Why the service did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unavailable {
    /// It may have answered: this process has no memory for the answer.
    NoMemory,
    /// Nothing listens, or the connection was lost. A retry may help.
    Unreachable,
    /// The peer broke the protocol: it is at fault, and the connection was closed.
    Protocol,
    /// Too busy until the deadline. A retry may help.
    Busy,
    /// No answer by the deadline, or a deadline was missed just before and nothing was tried, or the time of the call was over.
    Stalled,
    /// The peer does not know this credential, or does not prove that it does.
    Refused,
}

/// Why there is no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignFailure {
    /// The service did not answer.
    Unavailable(Unavailable),
    /// Absent, retired, or another credential's.
    NoSuchKey,
    /// The key's usage refuses this mechanism or this message.
    UsageRefused,
    /// The mechanism takes no input of this length.
    InputLength,
    /// The service tried, and could not sign.
    Failed,
}

impl From<Unavailable> for SignFailure {
    fn from(cause: Unavailable) -> Self {
        Self::Unavailable(cause)
    }
}
