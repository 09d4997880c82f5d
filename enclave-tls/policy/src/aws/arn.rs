//! A KMS key by its full ARN.
//!
//! An ARN is `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE` ("Amazon Resource Names" in the AWS General Reference); the
//! resource of a KMS key is `key/ID` ("Resource types" of KMS in the Service Authorization Reference).

use std::str::FromStr;

use super::region::{InvalidRegion, Partition, Region};

/// The full ARN of a KMS key: in one account, one region, by id.
///
/// Never an alias: an alias is whatever it points to at the moment, so it names no key. There is one way to write an ARN,
/// so two are the same key if and only if they are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyArn {
    region: Region,
    account: String,
    key: String,
}

impl KeyArn {
    /// The partition, which is the region's.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.region.partition()
    }

    /// The region that the key is in.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The account: 12 digits.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The key's id: a UUID, or `mrk-` and 32 hexadecimal digits for a multi-region key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl FromStr for KeyArn {
    type Err = InvalidArn;

    fn from_str(text: &str) -> Result<Self, InvalidArn> {
        let fields: Vec<&str> = text.splitn(MAX_FIELDS, ':').collect();
        let ["arn", partition, service, region, account, resource] = fields.as_slice() else {
            return Err(InvalidArn::Form);
        };
        let partition = Partition::named(partition).ok_or(InvalidArn::Partition)?;
        if *service != "kms" {
            return Err(InvalidArn::Service);
        }
        let region: Region = region.parse().map_err(InvalidArn::Region)?;
        if region.partition() != partition {
            return Err(InvalidArn::RegionOfAnotherPartition);
        }
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidArn::Account);
        }
        Ok(Self {
            region,
            account: (*account).to_owned(),
            key: key_id(resource)?.to_owned(),
        })
    }
}

impl std::fmt::Display for KeyArn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { region, account, key } = self;
        write!(f, "arn:{}:kms:{region}:{account}:key/{key}", self.partition())
    }
}

/// Why a text is not the ARN of a KMS key: one rule each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidArn {
    /// Not `arn:` and five fields more.
    Form,
    /// A partition that is not known.
    Partition,
    /// A service that is not KMS.
    Service,
    /// The region is none.
    Region(InvalidRegion),
    /// The region is in another partition than the ARN says.
    RegionOfAnotherPartition,
    /// The account is not 12 digits.
    Account,
    /// An alias, which can be pointed to another key.
    Alias,
    /// Not `key/` and an id, lower-case.
    Key,
}

impl std::fmt::Display for InvalidArn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "not an ARN: arn:PARTITION:kms:REGION:ACCOUNT:key/ID",
            Self::Partition => "an ARN of the partitions aws, aws-cn and aws-us-gov only",
            Self::Service => "not the ARN of a KMS key",
            Self::Region(why) => return why.fmt(f),
            Self::RegionOfAnotherPartition => "the ARN's region is in another partition",
            Self::Account => "an account is 12 digits",
            Self::Alias => "an alias is not a key: it can be pointed to another; write the key's own ARN",
            Self::Key => "a KMS key is key/ and a UUID, or key/mrk- and 32 hexadecimal digits, lower-case",
        })
    }
}

impl std::error::Error for InvalidArn {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Region(why) => Some(why),
            Self::Form
            | Self::Partition
            | Self::Service
            | Self::RegionOfAnotherPartition
            | Self::Account
            | Self::Alias
            | Self::Key => None,
        }
    }
}

fn key_id(resource: &str) -> Result<&str, InvalidArn> {
    if resource.starts_with("alias/") {
        return Err(InvalidArn::Alias);
    }
    let id = resource.strip_prefix("key/").ok_or(InvalidArn::Key)?;
    let valid = match id.strip_prefix("mrk-") {
        Some(digits) => is_hex(digits, 32),
        None => {
            let groups: Vec<&str> = id.split('-').collect();
            groups.len() == UUID.len() && groups.iter().zip(UUID).all(|(digits, len)| is_hex(digits, len))
        }
    };
    if valid { Ok(id) } else { Err(InvalidArn::Key) }
}

fn is_hex(digits: &str, len: usize) -> bool {
    digits.len() == len && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What follows the sixth field is in it, and no key's id has a colon.
const MAX_FIELDS: usize = 6;
/// The groups of a UUID, in digits (RFC 9562).
const UUID: [usize; 5] = [8, 4, 4, 4, 12];

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn an_arn_is_read_and_written_alike() {
        let multi = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab";
        let cn = "arn:aws-cn:kms:cn-north-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        let gov = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        for text in [KEY, multi, cn, gov] {
            assert_eq!(text.parse::<KeyArn>().unwrap().to_string(), text);
        }
        let arn: KeyArn = cn.parse().unwrap();
        assert_eq!(arn.partition(), Partition::AwsCn);
        assert_eq!(arn.region().as_str(), "cn-north-1");
        assert_eq!(arn.account(), "000000000000");
        assert_eq!(arn.key(), "1234abcd-12ab-34cd-56ef-1234567890ab");
        assert_eq!(
            multi.parse::<KeyArn>().unwrap().key(),
            "mrk-1234abcd12ab34cd56ef1234567890ab"
        );
    }

    #[test]
    fn threat_33_what_is_not_the_full_arn_of_a_key_is_refused() {
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        for (from, to, error) in [
            (KEY, "", InvalidArn::Form),
            (KEY, id, InvalidArn::Form),
            (KEY, "alias/production", InvalidArn::Form),
            ("arn:", "ARN:", InvalidArn::Form),
            ("arn:", " arn:", InvalidArn::Form),
            (":111122223333", "", InvalidArn::Form),
            ("arn:aws:", "arn:aws-iso:", InvalidArn::Partition),
            ("arn:aws:", "arn::", InvalidArn::Partition),
            ("arn:aws:", "arn:AWS:", InvalidArn::Partition),
            (":kms:", ":s3:", InvalidArn::Service),
            (":kms:", ":KMS:", InvalidArn::Service),
            ("us-east-1", "", InvalidArn::Region(InvalidRegion::Form)),
            ("us-east-1", "*", InvalidArn::Region(InvalidRegion::Form)),
            (
                "us-east-1",
                "us-iso-east-1",
                InvalidArn::Region(InvalidRegion::Partition),
            ),
            ("us-east-1", "cn-north-1", InvalidArn::RegionOfAnotherPartition),
            ("us-east-1", "us-gov-west-1", InvalidArn::RegionOfAnotherPartition),
            ("arn:aws:", "arn:aws-cn:", InvalidArn::RegionOfAnotherPartition),
            ("111122223333", "", InvalidArn::Account),
            ("111122223333", "11112222333", InvalidArn::Account),
            ("111122223333", "1111222233334", InvalidArn::Account),
            ("111122223333", "11112222333x", InvalidArn::Account),
            ("111122223333", "1111222233３", InvalidArn::Account),
            ("111122223333", "*", InvalidArn::Account),
            (&format!("key/{id}"), "alias/production", InvalidArn::Alias),
            (&format!("key/{id}"), "alias/aws/acm", InvalidArn::Alias),
            ("key/", "", InvalidArn::Key),
            ("key/", "KEY/", InvalidArn::Key),
            ("key/", "key/key/", InvalidArn::Key),
            (id, "", InvalidArn::Key),
            (id, "*", InvalidArn::Key),
            (id, "1234ABCD-12ab-34cd-56ef-1234567890ab", InvalidArn::Key),
            (id, "1234abcd12ab34cd56ef1234567890ab", InvalidArn::Key),
            (id, "1234abcd-12ab-34cd-56ef-1234567890ab-", InvalidArn::Key),
            (id, "1234abcd-12ab-34cd-56ef-1234567890abc", InvalidArn::Key),
            (id, "1234abcd-12ab-34cd-56ef-1234567890ag", InvalidArn::Key),
            (id, "1234abcd-12ab-34cd-56ef-1234567890ab\n", InvalidArn::Key),
            (id, "1234abcd-12ab-34cd-56ef-1234567890ab:x", InvalidArn::Key),
            (id, "1234abcd-12ab-34cd-56ef-1234567890ab/..", InvalidArn::Key),
            (id, "mrk-1234abcd-12ab-34cd-56ef-1234567890ab", InvalidArn::Key),
            (id, "mrk-1234abcd12ab34cd56ef1234567890a", InvalidArn::Key),
            (id, "mrk-mrk-1234abcd12ab34cd56ef1234567890ab", InvalidArn::Key),
        ] {
            let text = KEY.replacen(from, to, 1);
            assert_eq!(text.parse::<KeyArn>(), Err(error), "{text:?}");
        }
    }
}
