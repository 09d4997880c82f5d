//! What takes longer than a request may: the enclave speaks to a CA, or to a resolver, and says how far it is.

use super::error::ControlError;
use super::forms::Listed;
use super::messages::Validity;
use crate::codec::{Decode, DecodeError, Encode, Reader, Writer, byte_enum, message};
use crate::identity::{DnsName, KeyId};
use crate::log::Text;

/// Work to begin. One of each kind runs for a key at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Register the account, or find it again.
    Account(Account),
    /// Have a certificate made for a key.
    Order(Order),
    /// Ask the CA when to renew the certificate of a key (RFC 9773).
    Renewal(Renewal),
    /// Revoke the certificate of a key (RFC 8555, section 7.6).
    Revoke(Revoke),
    /// Look the CAA records of names up, over DNS over HTTPS (RFC 8659, RFC 8657). A diagnosis: the CA looks for itself.
    Caa(Caa),
}

byte_enum! {
    /// The kinds of jobs.
    pub enum JobKind {
        /// [`Job::Account`].
        Account = 0x01,
        /// [`Job::Order`].
        Order = 0x02,
        /// [`Job::Renewal`].
        Renewal = 0x03,
        /// [`Job::Revoke`].
        Revoke = 0x04,
        /// [`Job::Caa`].
        Caa = 0x05,
    }
}

message! {
    /// Which job: its kind, and the key that it is for. That of an account, and of CAA, is the account's own.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct JobId {
        /// The kind.
        kind: JobKind,
        /// The key.
        key: KeyId,
    }
}

message! {
    /// An account at an ACME server (RFC 8555, section 7.1.2). Its key is one of this enclave's, of usage `acme-account`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Account {
        /// The account's key.
        key: KeyId,
        /// The server's directory; the policy must allow it.
        directory: Url,
        /// `mailto:` addresses.
        contacts: Listed<Text<256>, 8>,
        /// Whether the administrator agrees to the server's terms of service.
        terms_agreed: bool,
        /// What binds it to an account elsewhere (RFC 8555, section 7.3.4).
        binding: Option<Binding>,
    }
}

message! {
    /// An external account binding. Its MAC key is under a KMS key, with the encryption context
    /// `{purpose: "eab", directory, kid}`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Binding {
        /// The key identifier that the CA gave.
        kid: Text<256>,
        /// The ARN of the KMS key; the policy must allow it for bundles.
        kms_key: Text<256>,
        /// The MAC key, encrypted.
        ciphertext: Listed<u8, 6144>,
    }
}

message! {
    /// A certificate to order. What it is for, names and usage, the key says.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Order {
        /// The certificate's key.
        key: KeyId,
        /// The account that orders it.
        account: Account,
        /// How the names are proven, where the CA asks for a proof.
        challenge: ChallengeKind,
        /// The CA's profile, if not its default.
        profile: Option<Text<64>>,
        /// The common name of the issuer at the end of the chain that is wanted, where the CA offers several.
        preferred_chain: Option<Text<128>>,
        /// The order's URL, where it was begun before.
        resume: Option<Url>,
    }
}

byte_enum! {
    /// How a name is proven.
    pub enum ChallengeKind {
        /// By a resource of the name's web server (RFC 8555, section 8.3).
        Http01 = 0x01,
        /// By a TXT record (RFC 8555, section 8.4).
        Dns01 = 0x02,
    }
}

message! {
    /// Asks when to renew.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Renewal {
        /// The key whose certificate it is.
        key: KeyId,
        /// The CA's directory; the policy must allow it.
        directory: Url,
    }
}

message! {
    /// A certificate to revoke.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Revoke {
        /// The key whose certificate it is.
        key: KeyId,
        /// The account that ordered it.
        account: Account,
        /// RFC 5280, section 5.3.1: 0 unspecified, 1 key compromise, 3 affiliation changed, 4 superseded, 5 cessation of operation.
        reason: u8,
    }
}

message! {
    /// Names whose CAA records to look up.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Caa {
        /// The account that the records shall pin; it is registered already.
        account: Account,
        /// The names.
        names: Listed<DnsName, 100>,
    }
}

message! {
    /// How far a job is.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct JobState {
        /// Which job.
        id: JobId,
        /// Where it stands.
        phase: JobPhase,
        /// The order's URL, once there is one. To be given back as [`Order::resume`].
        order: Option<Url>,
    }
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobPhase {
    /// Others are before it.
    Waiting,
    /// It is at work: at what, for people.
    Running(Text<256>),
    /// It is done.
    Done(JobOutcome),
    /// It ended without a result.
    Failed(JobFailure),
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// The account's URL, which a CAA record names.
    Account(Url),
    /// The certificate is installed.
    Certificate(Issued),
    /// When to renew.
    Renewal(RenewalWindow),
    /// It is revoked.
    Revoked,
    /// What the names' records say.
    Caa(Listed<CaaFinding, 100>),
}

message! {
    /// A certificate that came.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Issued {
        /// When it is valid.
        validity: Validity,
        /// The common name of the issuer at the end of its chain.
        issuer: Text<128>,
        /// The account's URL.
        account: Url,
    }
}

message! {
    /// When the CA would have a certificate renewed (RFC 9773, section 4.2).
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RenewalWindow {
        /// From then on, in seconds since 1970, UTC; none: the CA does not say (it has no ARI).
        window: Option<Validity>,
        /// A page about why.
        explanation: Option<Url>,
        /// Seconds after which to ask again.
        ask_again_s: u32,
    }
}

message! {
    /// What the CAA records of a name say.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CaaFinding {
        /// The name.
        name: DnsName,
        /// What the records come to.
        verdict: CaaVerdict,
        /// The name whose records count, and the records, or why there are none.
        records: Text<1024>,
    }
}

byte_enum! {
    /// What the CAA records of a name come to, for an account.
    pub enum CaaVerdict {
        /// This account alone, or it and others that are named.
        Pinned = 0x01,
        /// This CA, any account.
        NotPinned = 0x02,
        /// Any CA.
        Open = 0x03,
        /// Not this account, or not this CA.
        Refused = 0x04,
        /// The resolver did not say.
        Unknown = 0x05,
    }
}

message! {
    /// Why a job ended without a result.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct JobFailure {
        /// What failed.
        error: JobError,
        /// The rule that was broken, where it is one of the control plane's.
        rule: Option<ControlError>,
        /// What the CA says of it, as it is: for people, and not to be believed.
        detail: Text<1024>,
        /// Not before then, in seconds since 1970, UTC: the CA's own words.
        retry_at: Option<i64>,
    }
}

byte_enum! {
    /// What failed.
    pub enum JobError {
        /// The parent's allow-list has not the host.
        EgressRefused = 0x01,
        /// The server could not be reached, or it failed itself.
        Unavailable = 0x02,
        /// The server is not the one of the policy's roots.
        Untrusted = 0x03,
        /// The server answers what RFC 8555 does not have.
        Protocol = 0x04,
        /// Too many requests of this account or for these names.
        RateLimited = 0x05,
        /// The server refuses the account, its terms or its binding.
        Account = 0x06,
        /// The server refuses the order: names, profile, CAA.
        Order = 0x07,
        /// The server offers no challenge of the kind that is asked for.
        NoChallenge = 0x08,
        /// The parent did not publish the challenge.
        Unpublished = 0x09,
        /// The server looked, and did not find the proof.
        Challenge = 0x0a,
        /// The time for the job has passed.
        Deadline = 0x0b,
        /// What came does not fit the key: `rule` says why.
        Certificate = 0x0c,
        /// The service itself failed, or KMS or the parent did not do their part: `rule` says which.
        Service = 0x0d,
    }
}

message! {
    /// A challenge, for the parent to publish or to withdraw.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Challenge {
        /// How the name is proven.
        kind: ChallengeKind,
        /// The name, without a `*.` before it.
        name: DnsName,
        /// HTTP-01: the last part of the path. DNS-01: the same, and of no use.
        token: Text<128>,
        /// HTTP-01: the resource. DNS-01: the text of the record `_acme-challenge.NAME`.
        value: Text<256>,
    }
}

/// How far the parent is with a challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// Everybody can see it.
    Yes,
    /// Not yet: ask again.
    NotYet,
    /// It cannot be: why.
    No(Text<512>),
}

/// A URL, `https://…`; who uses it parses it.
pub type Url = Text<1024>;

impl JobError {
    /// Whether an order that ended so may still come to something: then it is gone on with, and its proofs are wanted.
    #[must_use]
    pub const fn leaves_the_order(self) -> bool {
        match self {
            Self::EgressRefused
            | Self::Unavailable
            | Self::Untrusted
            | Self::RateLimited
            | Self::Deadline
            | Self::Service => true,
            Self::Protocol
            | Self::Account
            | Self::Order
            | Self::NoChallenge
            | Self::Unpublished
            | Self::Challenge
            | Self::Certificate => false,
        }
    }
}

impl Job {
    /// Which job it is.
    #[must_use]
    pub fn id(&self) -> JobId {
        let (kind, key) = match self {
            Self::Account(account) => (JobKind::Account, account.key),
            Self::Order(order) => (JobKind::Order, order.key),
            Self::Renewal(renewal) => (JobKind::Renewal, renewal.key),
            Self::Revoke(revoke) => (JobKind::Revoke, revoke.key),
            Self::Caa(caa) => (JobKind::Caa, caa.account.key),
        };
        JobId { kind, key }
    }
}

/// Declares how an enum with bodies is read and written: a byte, then the body.
macro_rules! tagged {
    ($name:ident { $($tag:literal $variant:ident $(($body:ty))?),* $(,)? }) => {
        impl Decode for $name {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match u8::decode(reader)? {
                    $($tag => Ok(Self::$variant $((<$body>::decode(reader)?))?),)*
                    _ => Err(DecodeError::UnknownTag),
                }
            }
        }

        impl Encode for $name {
            fn encode(&self, writer: &mut Writer) {
                match self {
                    $(tagged!(@pattern $variant body $($body)?) => {
                        u8::encode(&$tag, writer);
                        tagged!(@encode writer body $($body)?);
                    })*
                }
            }
        }
    };
    (@pattern $variant:ident $body:ident) => { Self::$variant };
    (@pattern $variant:ident $body:ident $type:ty) => { Self::$variant($body) };
    (@encode $writer:ident $body:ident) => {};
    (@encode $writer:ident $body:ident $type:ty) => { $body.encode($writer) };
}

tagged!(Job { 0x01 Account(Account), 0x02 Order(Order), 0x03 Renewal(Renewal), 0x04 Revoke(Revoke), 0x05 Caa(Caa) });
tagged!(JobPhase { 0x01 Waiting, 0x02 Running(Text<256>), 0x03 Done(JobOutcome), 0x04 Failed(JobFailure) });
tagged!(JobOutcome {
    0x01 Account(Url),
    0x02 Certificate(Issued),
    0x03 Renewal(RenewalWindow),
    0x04 Revoked,
    0x05 Caa(Listed<CaaFinding, 100>),
});
tagged!(Published { 0x01 Yes, 0x02 NotYet, 0x03 No(Text<512>) });
