//! Web servers: their tests and their reloads.

mod master;
mod test;

pub(crate) use master::{Master, MasterError};
pub(crate) use test::test;
