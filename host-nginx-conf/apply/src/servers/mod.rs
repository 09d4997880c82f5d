//! Web servers: their tests, their reloads, and the workers that outlive one.

mod master;
mod test;
mod workers;

pub(crate) use master::{Master, MasterError};
pub(crate) use test::test;
pub(crate) use workers::{Worker, children};
