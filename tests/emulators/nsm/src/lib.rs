//! A strict stand-in for the Nitro Secure Module: registers as the real one has them, documents as the real one writes them, signed
//! under a root of its own. A policy trusts that root only by naming it, and no release build contains any of this.

mod file;
mod pki;
mod registers;
mod stand_in;

pub use file::FileError;
pub use pki::{MARKER, Pki, ROOT_FILE};
pub use stand_in::{Clock, Options, StandIn, StartError, system_clock};
