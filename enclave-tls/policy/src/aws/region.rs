//! Partitions and regions.

use std::str::FromStr;

/// A part of AWS with accounts, keys and DNS names of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Partition {
    /// `aws`: the public regions.
    Aws,
    /// `aws-cn`: Beijing and Ningxia.
    AwsCn,
    /// `aws-us-gov`: GovCloud.
    AwsUsGov,
}

impl Partition {
    /// What every AWS host name of the partition ends in, without a leading dot.
    #[must_use]
    pub fn dns_suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::AwsUsGov => "amazonaws.com",
            Self::AwsCn => "amazonaws.com.cn",
        }
    }

    /// As an ARN names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
        }
    }

    pub(super) fn named(text: &str) -> Option<Self> {
        [Self::Aws, Self::AwsCn, Self::AwsUsGov]
            .into_iter()
            .find(|partition| partition.as_str() == text)
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A region, as `us-east-1`. One label of a DNS name, and never one that AWS uses for something else (`vpce`, `dualstack`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region {
    name: String,
    partition: Partition,
}

impl Region {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The partition that the region is in.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

impl FromStr for Region {
    type Err = InvalidRegion;

    fn from_str(text: &str) -> Result<Self, InvalidRegion> {
        if !has_form(text) {
            return Err(InvalidRegion::Form);
        }
        let other = OTHER_PARTITIONS.iter().any(|prefix| text.starts_with(prefix));
        if other {
            return Err(InvalidRegion::Partition);
        }
        let partition = match text {
            _ if text.starts_with("cn-") => Partition::AwsCn,
            _ if text.starts_with("us-gov-") => Partition::AwsUsGov,
            _ => Partition::Aws,
        };
        Ok(Self {
            name: text.to_owned(),
            partition,
        })
    }
}

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Why a text is no region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidRegion {
    /// Not words of lower-case letters and a number, with hyphens between.
    Form,
    /// Of a partition whose host names this crate does not know.
    Partition,
}

impl std::fmt::Display for InvalidRegion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "a region is words of lower-case letters and a number, as us-east-1",
            Self::Partition => "a region of the partitions aws, aws-cn and aws-us-gov only",
        })
    }
}

impl std::error::Error for InvalidRegion {}

/// Two words or three, then a number: `us-east-1`, `us-gov-west-1`. At most 53 letters, so it fits a label of a DNS name (63).
fn has_form(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    let is_word = |word: &&str| (2..=16).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase());
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    (2..=3).contains(&words.len()) && words.iter().all(is_word) && is_number
}

/// Regions of the isolated and the European sovereign partitions. Their hosts end in something else, so to take one for a
/// region of `aws` would make a host name that is not theirs.
const OTHER_PARTITIONS: [&str; 7] = [
    "us-iso-", "us-isob-", "us-isof-", "eu-isoe-", "eusc-", "us-isoe-", "eu-iso-",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_knows_its_partition() {
        for (text, partition, suffix) in [
            ("us-east-1", Partition::Aws, "amazonaws.com"),
            ("ap-southeast-12", Partition::Aws, "amazonaws.com"),
            ("mx-central-1", Partition::Aws, "amazonaws.com"),
            ("cn-north-1", Partition::AwsCn, "amazonaws.com.cn"),
            ("cn-northwest-1", Partition::AwsCn, "amazonaws.com.cn"),
            ("us-gov-west-1", Partition::AwsUsGov, "amazonaws.com"),
        ] {
            let region: Region = text.parse().unwrap();
            assert_eq!(region.to_string(), text);
            assert_eq!(region.partition(), partition, "{text}");
            assert_eq!(region.partition().dns_suffix(), suffix);
            assert_eq!(Partition::named(partition.as_str()), Some(partition));
        }
    }

    #[test]
    fn threat_31_what_is_no_region_is_refused() {
        let long = format!("us-{}-1", "a".repeat(40));
        for text in [
            "",
            "-",
            "us",
            "us-east",
            "us-1",
            "useast1",
            "us-east-1-",
            "-us-east-1",
            "us--east-1",
            "us-east-100",
            "us-east-1a",
            "US-EAST-1",
            "us-éast-1",
            "us_east-1",
            "us-east-1 ",
            "us-east-1\n",
            "us-east-1.evil.example",
            "us-east-1/",
            "us-east-1:8443",
            "us-east-1#",
            "evil.example#us-east-1",
            "dualstack",
            "vpce",
            "*",
            "us-a-b-c-1",
            long.as_str(),
        ] {
            assert_eq!(text.parse::<Region>(), Err(InvalidRegion::Form), "{text:?}");
        }
        for text in [
            "us-iso-east-1",
            "us-isob-east-1",
            "us-isof-south-1",
            "eu-isoe-west-1",
            "eusc-de-east-1",
        ] {
            assert_eq!(text.parse::<Region>(), Err(InvalidRegion::Partition), "{text:?}");
        }
    }
}
