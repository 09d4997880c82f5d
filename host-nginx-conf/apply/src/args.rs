//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// The root helper of enclave-tls-agent: installs credentials and web servers' files, tests their configuration, reloads them.
///
/// systemd starts it when the agent connects (enclave-tls-apply.socket), and it ends when nobody asked for 30 seconds.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Listen on this path, where there is no systemd. Made with mode 0660, of the group that this runs as
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// The configuration file, which only root may be able to change
    #[arg(long, value_name = "PATH", default_value = enclave_tls_config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,

    /// Where to write: clients/, generations/ and live/
    #[arg(long, value_name = "DIR", default_value = enclave_tls_config::DEFAULT_DIRECTORY)]
    pub(crate) base: PathBuf,

    /// The PKCS#11 module that servers load [default: the one that is installed]
    #[arg(long, value_name = "PATH")]
    pub(crate) module: Option<PathBuf>,
}
