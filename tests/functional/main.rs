//! What web servers and PKCS#11 programs get, each asked through the real program.

mod acme;
mod acme_bound;
mod acme_paths;
mod agent;
mod agent_commands;
mod agent_troubles;
mod associated;
mod calls;
mod control_faults;
mod differential;
mod exhaustion;
mod faults;
mod handshakes;
mod haproxy;
mod httpd;
mod lifecycle;
mod openssl_tool;
mod outage;
mod p11tool;
mod pairs;
mod pkcs11_tool;
mod rotation;
mod round_trips;
mod rsa_key_exchange;
mod server_faults;
mod signatures;
mod store;
mod workers;

use std::process::ExitCode;

use e2e::lab::suite::{self, Needs};

fn main() -> ExitCode {
    suite::main(
        Needs::BornKeys,
        &[
            pkcs11_tool::TESTS,
            signatures::TESTS,
            p11tool::TESTS,
            openssl_tool::TESTS,
            calls::TESTS,
            faults::TESTS,
            server_faults::TESTS,
            exhaustion::TESTS,
            control_faults::TESTS,
            differential::TESTS,
            lifecycle::TESTS,
            handshakes::TESTS,
            rsa_key_exchange::TESTS,
            round_trips::TESTS,
            workers::TESTS,
            httpd::TESTS,
            haproxy::TESTS,
            store::TESTS,
            acme::TESTS,
            acme_bound::TESTS,
            acme_paths::TESTS,
            associated::TESTS,
            agent::TESTS,
            agent_commands::TESTS,
            agent_troubles::TESTS,
            rotation::TESTS,
            outage::TESTS,
        ],
    )
}
