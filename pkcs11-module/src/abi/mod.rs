//! The C functions. The only unsafe code of the module: each block does one thing, and says what makes it sound.
//!
//! A function here checks its pointers, calls the token with slices, and writes the answer. It holds no borrow of the caller's memory
//! while it writes to it: a caller may pass one buffer for input and output.

#![expect(
    unsafe_code,
    reason = "Cryptoki is a C interface: callers pass pointers, and get them"
)]
#![expect(non_snake_case, reason = "the names are Cryptoki's")]
#![deny(clippy::ptr_as_ptr, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod call;
mod general;
mod inherited;
mod interface;
mod list;
mod memory;
mod object;
mod process;
mod session;
mod sign;
#[cfg(test)]
mod tests;
mod unload;
mod unsupported;
