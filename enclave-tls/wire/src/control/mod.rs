//! The control plane: what the parent's agent asks of the enclave, and the enclave of the agent.

mod error;
mod forms;
mod jobs;
mod messages;
mod provision;
mod statistics;

pub use error::ControlError;
pub use forms::{Listed, Opaque, Secret};
pub use jobs::{
    Account, Binding, Caa, CaaFinding, CaaVerdict, Challenge, ChallengeKind, Issued, Job, JobError, JobFailure, JobId,
    JobKind, JobOutcome, JobPhase, JobState, Order, Published, Renewal, RenewalWindow, Revoke, Url,
};
pub use messages::{
    Create, CredentialInfo, Freshness, Import, InstallChain, InstallCredential, KeyInfo, KeyPage, KmsAnswer, Narrow,
    Origin, Phase, Pkcs8, PolicyBytes, RevokeCredential, Sealed, SealingKey, Status, Validity,
};
pub use provision::{Attest, Attestation, BundleSource, InstallAws, Provision, S3Object, SealedState, StoreState};
pub use statistics::{Counters, Histogram, KeyCounters, MechanismTimes, Memory, Queue};

use crate::codec::{Decode, DecodeError, Encode, Reader, Writer};
use crate::frame::{ERROR, FrameError, Header, REPLY, write};
use crate::identity::{CertificateRequest, Chain, KeyId};

/// Declares a set of operations with the bytes, the bodies and the replies of each.
macro_rules! operations {
    (
        $(#[$rmeta:meta])* requests $request:ident;
        $(#[$pmeta:meta])* replies $reply:ident;
        $($(#[$meta:meta])* $byte:literal $variant:ident $(($body:ty))? => $answer:ident $(($result:ty))?;)*
    ) => {
        $(#[$rmeta])*
        pub enum $request { $($(#[$meta])* $variant $(($body))?),* }

        impl $request {
            /// Reads the body of the request that `header` announces.
            pub fn decode(header: &Header, body: &[u8]) -> Result<Self, FrameError> {
                match header.operation {
                    $($byte => whole(body, |_reader| Ok(Self::$variant $((<$body>::decode(_reader)?))?)),)*
                    _ => Err(DecodeError::UnknownTag.into()),
                }
            }

            /// Appends the whole frame of this request.
            pub fn write(&self, writer: &mut Writer, request_id: u64) {
                match self {
                    $(operations!(@pattern $variant body $($body)?) =>
                        write(writer, $byte, request_id, |_writer| { operations!(@encode _writer body $($body)?); }),)*
                }
            }

            /// The byte that stands for it.
            #[must_use]
            pub fn operation(&self) -> u8 {
                match self { $(operations!(@skip $variant $($body)?) => $byte),* }
            }

            /// The operation's name, for logs.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(operations!(@skip $variant $($body)?) => stringify!($variant)),* }
            }
        }

        $(#[$pmeta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $reply {
            $(#[doc = concat!("To `", stringify!($variant), "`.")] $answer $(($result))?,)*
            /// To any request.
            Error(ControlError),
        }

        impl $reply {
            /// Reads the body of the reply that `header` announces.
            pub fn decode(header: &Header, body: &[u8]) -> Result<Self, FrameError> {
                if header.operation == ERROR {
                    return Ok(Self::Error(ControlError::decode_all(body)?));
                }
                if !header.is_reply() {
                    return Err(DecodeError::UnknownTag.into());
                }
                match header.operation ^ REPLY {
                    $($byte => whole(body, |_reader| Ok(Self::$answer $((<$result>::decode(_reader)?))?)),)*
                    _ => Err(DecodeError::UnknownTag.into()),
                }
            }

            /// Appends the whole frame of this reply.
            pub fn write(&self, writer: &mut Writer, request_id: u64) {
                match self {
                    $(operations!(@pattern $answer body $($result)?) =>
                        write(writer, $byte | REPLY, request_id, |_writer| { operations!(@encode _writer body $($result)?); }),)*
                    Self::Error(error) => write(writer, ERROR, request_id, |body| error.encode(body)),
                }
            }
        }
    };
    (@pattern $variant:ident $body:ident) => { Self::$variant };
    (@pattern $variant:ident $body:ident $type:ty) => { Self::$variant($body) };
    (@skip $variant:ident) => { Self::$variant };
    (@skip $variant:ident $type:ty) => { Self::$variant(_) };
    (@encode $writer:ident $body:ident) => {};
    (@encode $writer:ident $body:ident $type:ty) => { $body.encode($writer) };
}

operations! {
    /// What the agent asks. It has no `Debug`: one of them carries a private key.
    requests Request;
    /// What the enclave answers.
    replies Reply;
    /// Nothing but an answer.
    0x01 Ping => Pong;
    /// Where the service stands.
    0x02 Status => Status(Status);
    /// The parent's policy, or none: the first exchange of a boot.
    0x03 Policy(Option<PolicyBytes>) => PolicyTaken;
    /// All has been replayed: open the signing plane.
    0x04 Ready => Serving;
    /// A client's credential.
    0x10 InstallCredential(InstallCredential) => CredentialInstalled;
    /// AWS credentials, and where AWS is reached.
    0x11 InstallAws(InstallAws) => AwsInstalled;
    /// The credentials that are taken, by client, each client's oldest first.
    0x12 Credentials => Credentials(Listed<CredentialInfo, 1024>);
    /// Take a credential away: its connections end. One that is not here is no error, so that this may be said again.
    0x13 RevokeCredential(RevokeCredential) => CredentialRevoked;
    /// Make a key.
    0x20 Create(Create) => Created(KeyInfo);
    /// A certificate request for a key.
    0x21 Csr(KeyId) => Csr(CertificateRequest);
    /// A chain for a key.
    0x22 InstallChain(InstallChain) => ChainInstalled(KeyInfo);
    /// A key from outside, where the policy allows it.
    0x23 Import(Import) => Imported(KeyInfo);
    /// The keys, a page of them from this cursor.
    0x24 List(u32) => Keys(KeyPage);
    /// A newer generation takes this key's place.
    0x25 Supersede(KeyId) => Superseded(KeyInfo);
    /// Wipe this key.
    0x26 Retire(KeyId) => Retired;
    /// Let this key sign less than before.
    0x27 Narrow(Narrow) => Narrowed(KeyInfo);
    /// A certificate whose key KMS opens.
    0x28 Provision(Provision) => Provisioned(KeyInfo);
    /// A name's sealed state: the ids of the keys that it held.
    0x29 Restore(SealedState) => Restored(Listed<KeyId, 64>);
    /// The chain of a key, as it is served: leaf first, without a root; none where none is installed.
    0x2a Chain(KeyId) => Chain(Option<Chain>);
    /// A key that was superseded is to be used again. One that is live stays so.
    0x2b Reinstate(KeyId) => Reinstated(KeyInfo);
    /// The counters.
    0x30 Statistics => Statistics(Counters);
    /// A proof of which keys are here.
    0x31 Attest(Attest) => Attested(Attestation);
    /// Begin a job, or hear how far it is where it runs already.
    0x50 Begin(Job) => Begun(JobState);
    /// How far a job is; none where there was none in this run, or none that is remembered.
    0x51 Job(JobId) => Job(Option<JobState>);
}

operations! {
    /// What the enclave asks of the agent: a closed list. 0x46 is kept.
    #[derive(Debug, Clone, PartialEq, Eq)]
    requests EnclaveRequest;
    /// What the agent answers; nothing in it is trusted.
    replies AgentReply;
    /// Is the agent there?
    0x41 Ping => Pong;
    /// Publish this challenge; asked again until it is to be seen, or cannot be.
    0x42 Publish(Challenge) => Published(Published);
    /// Take this challenge away. One that is not there is no error.
    0x43 Withdraw(Challenge) => Withdrawn;
    /// Keep this state. What it holds is not used before it is kept.
    0x44 StoreState(StoreState) => Stored;
    /// The AWS credentials end soon, or there are none.
    0x45 NeedCredentials => CredentialsNoted;
    /// A job has ended: ask for its state.
    0x47 Ended(JobId) => EndNoted;
}

fn whole<T>(body: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Result<T, DecodeError>) -> Result<T, FrameError> {
    let mut reader = Reader::new(body);
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}
