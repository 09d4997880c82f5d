//! The agent, for the tests of this crate's program, which speak to a real one.
//!
//! Cargo tells a test where the programs of its own package are, and of no other; so the agent's own program cannot be named there.
//! An example is the one thing besides that `cargo test` builds before it runs the tests. This one is the agent's library with the
//! machine's clock, and nothing else: the agent's own program adds signals and the supervisor, which its own tests see.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use enclave_tls_agent::Agent;
use enclave_tls_agent::clock::System;

fn main() -> ExitCode {
    let Some(config) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: agent CONFIG");
        return ExitCode::from(2);
    };
    match Agent::start(&config, Arc::new(System::default())) {
        // Its threads run until whoever started this process ends it.
        Ok(_agent) => loop {
            std::thread::park();
        },
        Err(error) => {
            eprintln!("enclave-tls-agent: {error}");
            ExitCode::FAILURE
        }
    }
}
