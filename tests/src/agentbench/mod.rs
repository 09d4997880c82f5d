//! Measures the parent's agent: what it takes at rest ([`rest`]), how long a thousand certificates take from nothing to being served
//! ([`fill`]), what a command costs ([`commands`]), what the same server's start costs with keys in files and with keys elsewhere
//! ([`starts`]), and when the agent's own schedule renews certificates that came together ([`spread`]).
//!
//! Processor time comes before wall clock time: it moves less with what else the machine does.
//!
//! | file | |
//! |---|---|
//! | [`plan`] | what to measure, as read from JSON |
//! | `usage` | processor time and memory of a process |
//! | `ended` | a program run to its end, and what it took |
//! | `inventory` | the agent's certificates, by its admin socket |
//! | `files` | the same certificates with keys in files |

pub mod plan;

mod commands;
pub(crate) mod ended;
mod files;
mod fill;
mod inventory;
mod rest;
mod spread;
mod starts;
pub(crate) mod usage;

pub use self::commands::{Command, commands};
pub use self::files::files;
pub use self::fill::{Filled, Step, fill};
pub use self::rest::{Rest, rest};
pub use self::spread::{Spreading, spread};
pub use self::starts::{Compared, Starts, starts};
pub use self::usage::{Memory, Spent};
