//! `acm eab credentials`: from ACM to KMS without a stop on the way.

use super::options::BindingCredentials;
use super::{AcmError, at};
use crate::acme::eab::{MacKey, Place, Target};

/// The MAC key is asked for when everything else is known to be right: once it is here it must go somewhere.
pub(super) fn credentials(options: &BindingCredentials, json: bool) -> Result<(), AcmError> {
    let place = Place::new(&options.out, options.force)?;
    let acm = at(options.arn.endpoint())?;
    let endpoint = acm.endpoint(options.arn.endpoint().as_str())?;
    let Some(directory) = endpoint.directory else {
        let (arn, status) = (endpoint.arn, endpoint.status);
        return Err(AcmError::NoDirectory { arn, status });
    };
    let credentials = acm.credentials(options.arn.as_str())?;
    let target = Target::new(&credentials.kid, &directory, &options.kms_key)?;
    let mac_key = MacKey::parse(credentials.mac_key.as_bytes())?;
    Ok(target.write(&mac_key, place, json)?)
}
