//! Where an object of S3 is, as the AWS command line writes it.

use enclave_wire::log::Text;

use crate::printable;

/// `s3://BUCKET/KEY`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub bucket: Text<63>,
    pub key: Text<1024>,
}

impl std::str::FromStr for Location {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (bucket, key) = text
            .strip_prefix("s3://")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(EXPECTED)?;
        let is_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        if bucket.len() < 3 || !bucket.bytes().all(is_bucket) {
            return Err(EXPECTED);
        }
        Ok(Self {
            bucket: printable::exact(bucket).ok_or(EXPECTED)?,
            key: printable::exact(key).ok_or(EXPECTED)?,
        })
    }
}

const EXPECTED: &str = "an object of S3 is given as s3://BUCKET/KEY, of printable ASCII";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_bucket_and_a_key_and_no_other_is_made_of_it() {
        let read: Location = "s3://my-bucket/a/b \"c\".json".parse().unwrap();
        assert_eq!(
            (read.bucket.as_str(), read.key.as_str()),
            ("my-bucket", "a/b \"c\".json")
        );
        let long = format!("s3://{}/k", "b".repeat(64));
        for bad in [
            "my-bucket/a",
            "s3://my-bucket",
            "s3://my-bucket/",
            "s3:///a",
            "s3://My-Bucket/a",
            "s3://bucket/\u{e9}",
            &long,
        ] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}
