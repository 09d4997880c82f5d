//! What to measure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// A process that has nothing to do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestPlan {
    /// The process.
    pub pid: u32,
    /// How long to look at it.
    pub seconds: u64,
}

/// Certificates for an agent that was just started.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillPlan {
    /// The agent's admin socket.
    pub socket: PathBuf,
    /// Its process.
    pub agent: u32,
    /// Its root helper's.
    pub helper: u32,
    /// How many certificates its configuration has, all born and none sealed.
    pub certificates: usize,
    /// How long each step may take.
    pub patience_s: u64,
}

/// Certificates with keys in files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesPlan {
    /// Where each name has a directory, as it has one below the helper's `live`.
    pub dir: PathBuf,
    /// The names.
    pub names: Vec<String>,
}

/// A program to run to its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandPlan {
    /// Program and arguments.
    pub words: Vec<String>,
    /// How often.
    pub times: usize,
}

/// Certificates that came together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpreadPlan {
    /// How many.
    pub certificates: u32,
    /// For how many days they are valid.
    pub days: i64,
    /// The days on which the CA's window begins and ends, where it names one.
    pub window: Option<[i64; 2]>,
}

/// Two servers to start in turns.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartsPlan {
    /// With what the other is compared: keys in files.
    pub base: Server,
    /// The other one.
    pub other: Server,
    /// How many pairs; one more is not counted, since it reads all files for the first time.
    pub pairs: usize,
}

/// A server that becomes a daemon.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Program and arguments that test its configuration.
    pub test: Vec<String>,
    /// Program and arguments that start it.
    pub start: Vec<String>,
    /// What it has in its environment beside the caller's.
    pub environment: BTreeMap<String, String>,
    /// Where it writes its pid.
    pub pid_file: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
}
