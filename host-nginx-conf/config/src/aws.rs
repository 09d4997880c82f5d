//! `[aws]`, and what AWS calls things. The service reads ARNs and regions again, more strictly: here a slip of the pen is found.

use enclave_wire::DnsName;
use serde::Deserialize;

use crate::form::{Table, Word};
use crate::reading::{Reading, Refused};

/// How the agent reaches AWS. That there is one means that it finds credentials and lends them to the enclave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Aws {
    /// `kms_host`: a FIPS or VPC endpoint of KMS.
    pub kms_host: Option<DnsName>,
    /// `s3_host`: the same for S3.
    pub s3_host: Option<DnsName>,
    /// `profile`: of the AWS configuration files; none: the SDK's default.
    pub profile: Option<String>,
}

/// The full ARN of a KMS key, never an alias: at most 256 bytes of printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KmsKey(String);

impl KmsKey {
    /// The ARN as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region that the key is in.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }

    /// The standard host of KMS in the key's region.
    #[must_use]
    pub fn standard_host(&self) -> String {
        standard_host("kms", self.region())
    }
}

impl std::fmt::Display for KmsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for KmsKey {
    type Err = InvalidKmsKey;

    fn from_str(text: &str) -> Result<Self, InvalidKmsKey> {
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", "aws" | "aws-cn" | "aws-us-gov", "kms", region, account, resource] = fields.as_slice() else {
            return Err(InvalidKmsKey::Form);
        };
        if resource.starts_with("alias/") {
            return Err(InvalidKmsKey::Alias);
        }
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let is_key = resource.strip_prefix("key/").is_some_and(is_key_id);
        if !is_region(region) || !is_account || !is_key {
            return Err(InvalidKmsKey::Form);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Why a text is not the ARN of a KMS key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidKmsKey {
    /// Not the form of one.
    Form,
    /// An alias.
    Alias,
}

impl std::fmt::Display for InvalidKmsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "write the key's full ARN, arn:aws:kms:REGION:ACCOUNT:key/ID, in lower case",
            Self::Alias => {
                "an alias can be pointed to another key: write the key's own ARN, which `aws kms describe-key` prints as Arn"
            }
        })
    }
}

impl std::error::Error for InvalidKmsKey {}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    kms_host: Option<Word>,
    s3_host: Option<Word>,
    profile: Option<Word>,
}

/// What `[aws]` says, with where its hosts are written: they must be allowed in `[egress]`.
pub(crate) fn read(form: Option<Table<Form>>, reading: &mut Reading) -> Result<Option<Aws>, Refused> {
    let Some(Table(form)) = form else {
        return Ok(None);
    };
    let kms_host = host(form.kms_host, "kms_host", reading);
    let s3_host = host(form.s3_host, "s3_host", reading);
    let profile = form
        .profile
        .map(|profile| reading.word(profile, "profile", profile_name));
    Ok(Some(Aws {
        kms_host: kms_host?,
        s3_host: s3_host?,
        profile: profile.transpose()?,
    }))
}

fn host(given: Option<Word>, key: &'static str, reading: &mut Reading) -> Result<Option<DnsName>, Refused> {
    let Some(given) = given else {
        return Ok(None);
    };
    let at = given.span();
    let host = reading.word(given, key, |text| {
        crate::egress::host(text).ok_or_else(|| HOST.to_owned())
    })?;
    reading.must_be_allowed(at, key, host.as_str());
    Ok(Some(host))
}

fn profile_name(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && !text.contains([']', '[']);
    if text.is_empty() || text.len() > MAX_PROFILE || !printable {
        return Err("write the name of a [profile NAME] of the AWS configuration file".to_owned());
    }
    Ok(text.to_owned())
}

/// The standard host of a service in a region.
pub(crate) fn standard_host(service: &str, region: &str) -> String {
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("{service}.{region}.{suffix}")
}

/// Two words or three, then a number, as `us-gov-west-1`.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    let is_word = |word: &&str| (2..=9).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    (2..=3).contains(&words.len()) && words.iter().all(is_word) && is_number
}

/// A UUID, or `mrk-` and 32 digits.
fn is_key_id(id: &str) -> bool {
    let is_hex =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match id.strip_prefix("mrk-") {
        Some(digits) => is_hex(digits, 32),
        None => {
            let groups: Vec<&str> = id.split('-').collect();
            groups.len() == UUID.len() && groups.iter().zip(UUID).all(|(group, len)| is_hex(group, len))
        }
    }
}

/// What a key says that needs `[aws]`.
pub(crate) const ABSENT: &str = "this needs AWS, and there is no [aws]: add [aws] (an empty one will do), so that the agent finds credentials and lends them";
const HOST: &str = "write a host name in lower case, without a port, as kms-fips.us-east-1.amazonaws.com";

/// A name that someone typed.
const MAX_PROFILE: usize = 128;
/// The groups of a UUID, in digits (RFC 9562).
const UUID: [usize; 5] = [8, 4, 4, 4, 12];
