//! What AWS calls things: partitions, regions, KMS keys by ARN, and the host names that follow from them.
//!
//! Nobody configures an endpoint: a host name is derived from a region and a service, so whoever runs the parent cannot
//! send the enclave to a KMS of their own.

mod arn;
mod host;
mod region;

pub use arn::{InvalidArn, KeyArn};
pub use host::{Service, accepts_host, host};
pub use region::{InvalidRegion, Partition, Region};
