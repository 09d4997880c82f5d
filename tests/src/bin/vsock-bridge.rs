//! Bridges an emulated machine's vsock and a lab's unix sockets, until it is ended.

use std::path::PathBuf;

use clap::Parser;
use e2e::bridge::Bridge;
use enclave_wire::address::Address;

/// Passes connections between a lab's unix sockets and an emulated machine's vsock.
#[derive(Parser)]
struct Arguments {
    /// The socket of vhost-device-vsock (its uds-path)
    #[arg(long, value_name = "PATH")]
    vm: PathBuf,
    /// Where the module connects
    #[arg(long, value_name = "ADDRESS")]
    signing: Address,
    /// Where the agent waits for the guest's control connection
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
    /// Where the agent takes the guest's log
    #[arg(long, value_name = "PATH")]
    logs: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Arguments {
        vm,
        signing,
        control,
        logs,
    } = Arguments::parse();
    Ok(Bridge {
        vm,
        signing,
        control,
        logs,
    }
    .run()?)
}
