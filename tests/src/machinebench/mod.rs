//! Measures the image that an emulated machine boots: how soon it signs ([`boot`]), how many certificates its memory holds ([`fill`]), and
//! what a signature of a lab's costs beside an empty exchange ([`sign`]).
//!
//! In the first two this is the parent by itself: it starts the machine, takes the guest's log and its control connection, and signs over
//! vsock. So no time of another program's start is in the figures.
//!
//! | file | |
//! |---|---|
//! | [`plan`] | what to measure, as read from JSON |
//! | `guest` | the machine: started, watched from outside, ended |
//! | `memory` | how much of its memory a guest uses |
//! | `logs` | what the guest says, and when it first did |
//! | `agent` | the parent's end of the control plane |
//! | `client` | the signing plane, over vsock |
//! | `crowd` | many connections at once |
//! | `authority` | real chains for the guest's keys |

pub mod plan;

pub(crate) mod agent;
pub(crate) mod authority;
mod boot;
pub(crate) mod client;
mod crowd;
mod fill;
mod guest;
mod logs;
mod memory;
mod sign;

pub use self::boot::{Boot, boot};
pub use self::crowd::Crowd;
pub use self::fill::{Fill, Mark, Outcome, fill};
pub use self::guest::Cpu;
pub use self::sign::{Sign, sign};
