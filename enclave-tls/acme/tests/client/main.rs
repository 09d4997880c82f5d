//! The client against a CA in memory, which says what a test wants on a clock that stands still, and against a real pebble.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod fake;
mod key;
mod pebble;
mod refusals;
mod requests;
mod retries;
