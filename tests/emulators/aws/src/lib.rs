//! What every stand-in of an AWS service begins with: listeners on threads of their own, Signature Version 4 verified strictly, and
//! the ways in which AWS writes the time.

#![deny(missing_docs)]

mod clock;
mod listener;
mod sigv4;
mod stream;

pub use clock::{Clock, amz_date, http_date, parse_amz_date};
pub use listener::{ListenError, Listener, Listening};
pub use sigv4::{Expected, Secret, SignatureError, SignatureFault, Signed};
pub use stream::Stream;

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
