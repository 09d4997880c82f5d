//! What comes through KMS, and what leaves sealed.

use super::forms::{Listed, Opaque, Secret};
use crate::codec::{Decode, DecodeError, Encode, Reader, Writer, message};
use crate::identity::{DnsName, KeyId, Name, Usage};
use crate::log::Text;

message! {
    /// Short-lived AWS credentials of the parent's role, and where its VPC reaches AWS. It has no `Debug`.
    pub struct InstallAws {
        /// The access key's id.
        access_key_id: Text<128>,
        /// The access key.
        secret_access_key: Secret<256>,
        /// The session token of temporary credentials.
        session_token: Option<Secret<8_192>>,
        /// When they end, in seconds since 1970, UTC; none: not known.
        expires: Option<i64>,
        /// A FIPS or VPC endpoint of KMS; taken only if its name is one that AWS gives to KMS in the key's region.
        kms_host: Option<DnsName>,
        /// The same for S3.
        s3_host: Option<DnsName>,
    }
}

message! {
    /// A certificate and its key, encrypted under a KMS key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Provision {
        /// Its certificate's name.
        name: Name,
        /// What its key may sign.
        usage: Usage,
        /// The names that its certificate carries; none: those of the certificate itself.
        dns_names: Listed<DnsName, 100>,
        /// The clients that may use it.
        clients: Listed<Name, 64>,
        /// The group whose data key its state is sealed under; none: the bundle is given again after a restart.
        sealed: Option<Name>,
        /// The ARN of the KMS key; the policy must allow it.
        kms_key: Text<256>,
        /// Where the bundle is.
        source: BundleSource,
    }
}

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BundleSource {
    /// Here: its JSON.
    Document(Opaque<65_536>),
    /// In S3, from where the service reads it.
    S3(S3Object),
}

message! {
    /// An object in S3.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct S3Object {
        /// The bucket's region; the policy must allow it.
        region: Text<32>,
        /// The bucket.
        bucket: Text<63>,
        /// The object's key.
        key: Text<1024>,
    }
}

impl Decode for BundleSource {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            DOCUMENT => Ok(Self::Document(Opaque::decode(reader)?)),
            S3 => Ok(Self::S3(S3Object::decode(reader)?)),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

impl Encode for BundleSource {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Document(json) => {
                DOCUMENT.encode(writer);
                json.encode(writer);
            }
            Self::S3(object) => {
                S3.encode(writer);
                object.encode(writer);
            }
        }
    }
}

message! {
    /// The state of a name, for the parent to keep.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoreState {
        /// The name.
        name: Name,
        /// Grows with each state of the name.
        number: u64,
        /// The state, sealed: the bytes of [`SealedState`].
        blob: SealedState,
    }
}

/// A name's state as it is stored. The parent cannot read it, nor change it unnoticed; it can keep an older one.
pub type SealedState = Opaque<120_000>;

message! {
    /// Asks for a proof of which keys this enclave holds.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Attest {
        /// Chosen by whoever wants the proof.
        nonce: Opaque<64>,
        /// The keys to name; none: all of them.
        keys: Listed<KeyId, 1000>,
    }
}

message! {
    /// An attestation document and the statement that its `user_data` binds.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Attestation {
        /// The document.
        document: Opaque<16_384>,
        /// The statement.
        statement: Opaque<110_000>,
    }
}

const DOCUMENT: u8 = 0x01;
const S3: u8 = 0x02;
