//! The MAC key of an external account binding (RFC 8555, section 7.3.4), which KMS opens.

use enclave_policy::aws::KeyArn;
use enclave_wire::control::{Binding, ControlError};
use zeroize::Zeroizing;

use super::Calls;

/// Opens it. It was encrypted for this directory and this identifier alone, so one CA's does not reach another.
pub(crate) fn open(
    calls: &Calls<'_>,
    kms_key: &KeyArn,
    directory: &str,
    binding: &Binding,
) -> Result<Zeroizing<Vec<u8>>, ControlError> {
    let context = [
        ("purpose", "eab"),
        ("directory", directory),
        ("kid", binding.kid.as_str()),
    ];
    let context = context.map(|(key, value)| (key.to_owned(), value.to_owned()));
    calls.decrypt(kms_key, binding.ciphertext.items(), &context)
}
