//! The service on the NSM stand-in.

fn main() {}
