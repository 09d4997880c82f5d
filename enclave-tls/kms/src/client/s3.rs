//! An object of S3. What it holds is not believed: a bundle's private key is KMS's to release.

use std::fmt::Write as _;

use enclave_https::{Method, StatusCode};
use enclave_policy::aws::{Region, Service};
use tokio::time::Instant;

use super::retry::{Attempts, Failure};
use super::{Call, Client, error_reply};
use crate::error::KmsError;

impl Client {
    /// An object of at most [`MAX_OBJECT`] bytes.
    pub async fn get_object(
        &self,
        region: &Region,
        bucket: &str,
        key: &str,
        deadline: Instant,
    ) -> Result<Vec<u8>, KmsError> {
        let call = Call {
            service: Service::S3,
            region,
            method: Method::GET,
            path: path(bucket, key)?,
            headers: Vec::new(),
            max_reply: MAX_OBJECT,
        };
        let mut attempts = Attempts::until(deadline);
        loop {
            let attempt = self.fetch(&call, attempts.offset());
            if let Some(object) = attempts.make(attempt).await? {
                return Ok(object);
            }
        }
    }

    async fn fetch(&self, call: &Call<'_>, offset: i64) -> Result<Vec<u8>, Failure> {
        let reply = self.send(call, Vec::new(), offset).await?;
        if reply.status == StatusCode::OK {
            Ok(reply.body)
        } else {
            Err(error_reply::of_s3(&reply, (self.now_unix)()))
        }
    }
}

/// `/BUCKET/KEY`, as it is sent and as it is signed: S3 encodes a path once.
fn path(bucket: &str, key: &str) -> Result<String, KmsError> {
    let in_bucket = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let is_bucket = (3..=63).contains(&bucket.len()) && bucket.bytes().all(in_bucket) && !bucket.starts_with('.');
    if !is_bucket || !(1..=MAX_KEY).contains(&key.len()) {
        return Err(KmsError::ObjectName);
    }
    let mut path = format!("/{bucket}/");
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => path.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    Ok(path)
}

/// A bundle holds a certificate, its chain and an encrypted key of at most 4,096 bytes.
pub const MAX_OBJECT: usize = 65_536;
/// S3 takes no longer keys.
const MAX_KEY: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_once() {
        for (key, expected) in [
            ("a", "/bucket-1/a"),
            ("a/b", "/bucket-1/a/b"),
            (
                "arn:aws:iam::1:role/r/arn:aws:acm:x",
                "/bucket-1/arn%3Aaws%3Aiam%3A%3A1%3Arole/r/arn%3Aaws%3Aacm%3Ax",
            ),
            ("%2F", "/bucket-1/%252F"),
            ("a b+c?d#e", "/bucket-1/a%20b%2Bc%3Fd%23e"),
            ("é\r\n~-._", "/bucket-1/%C3%A9%0D%0A~-._"),
            ("//..", "/bucket-1///.."),
        ] {
            assert_eq!(path("bucket-1", key).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_s3_cannot_have_is_refused() {
        let (long_bucket, long_key) = ("b".repeat(64), "k".repeat(1_025));
        for (bucket, key) in [
            ("", "k"),
            ("bu", "k"),
            (&long_bucket, "k"),
            ("Bucket", "k"),
            ("../b", "k"),
            ("...", "k"),
            ("b/c/d", "k"),
            ("b%2f", "k"),
            ("bucket", ""),
            ("bucket", &long_key),
        ] {
            assert_eq!(path(bucket, key), Err(KmsError::ObjectName), "{bucket} {key}");
        }
    }
}
