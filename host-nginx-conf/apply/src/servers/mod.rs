//! Web servers: their tests, their reloads, and the workers that outlive one.

mod master;
mod test;
mod workers;

pub(crate) use master::{Master, MasterError};
pub(crate) use test::test;
#[cfg(test)]
pub(crate) use workers::started;
pub(crate) use workers::{Worker, children};
