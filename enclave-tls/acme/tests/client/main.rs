//! The client against a CA in memory, which says what a test wants on a clock that stands still, and against a real pebble.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod key;
mod pebble;
