//! In place of the SDK, where it was left out.

use super::{AwsError, KeyDescription, Simulated};

pub(crate) fn encrypt(
    _arn: &str,
    _region: &str,
    _context: &[(&str, &str)],
    _plaintext: &[u8],
) -> Result<Vec<u8>, AwsError> {
    Err(AwsError::NotBuilt)
}

pub(crate) fn describe(_arn: &str, _region: &str) -> Result<KeyDescription, AwsError> {
    Err(AwsError::NotBuilt)
}

pub(crate) fn credentials(_: Option<&str>) -> Result<Option<i64>, AwsError> {
    Err(AwsError::NotBuilt)
}

pub(crate) fn role_arn(_: &str) -> Result<String, AwsError> {
    Err(AwsError::NotBuilt)
}

pub(crate) fn role_policies(_: &str) -> Result<Vec<(String, String)>, AwsError> {
    Err(AwsError::NotBuilt)
}

pub(crate) fn simulate(_: &str, _: &[&str], _: &[String]) -> Result<Vec<Simulated>, AwsError> {
    Err(AwsError::NotBuilt)
}
