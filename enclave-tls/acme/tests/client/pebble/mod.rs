//! Against a real pebble.

mod accounts;
mod issuance;
mod lifetime;
mod run;
mod troubles;
