//! `nitro-cli` for labs.

fn main() {}
