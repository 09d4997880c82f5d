//! `[agent]`: where the agent keeps and says things.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use enclave_wire::address::Address;
use serde::Deserialize;
use toml::Spanned;

use crate::clients::Group;
use crate::form::{Table, Word};
use crate::paths;
use crate::reading::{Reading, Refused};

/// The agent's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Agent {
    /// `state`: the agent's directory, 0700: sealed states, verifiers, chains, requests.
    pub state: PathBuf,
    /// `admin_socket`: where `enclave-tlsctl` speaks to the agent.
    pub admin_socket: PathBuf,
    /// `admin_group`: who may.
    pub admin_group: Group,
    /// `apply_socket`: where `enclave-tls-apply` listens.
    pub apply_socket: PathBuf,
    /// `metrics`: where metrics and health are served.
    pub metrics: Metrics,
    /// `log`: how the agent logs.
    pub log: Log,
    /// `grace_hours`: how long old generations and old credentials stay good. 1 hour to 366 days.
    pub grace: Duration,
}

/// Where metrics and health are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metrics {
    /// `none`: nowhere.
    None,
    /// `unix:/PATH`
    Unix(PathBuf),
    /// `127.0.0.1:PORT` or `[::1]:PORT`: a loopback address, since they have no password.
    Loopback(SocketAddr),
}

/// How the agent logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// `auto`: journald where standard error is the journal, else text.
    Auto,
    /// `journald`: native fields.
    Journald,
    /// `json`: a JSON object a line, on standard error.
    Json,
    /// `text`: for people, on standard error.
    Text,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    state: Option<Word>,
    admin_socket: Option<Word>,
    admin_group: Option<Word>,
    apply_socket: Option<Word>,
    metrics: Option<Word>,
    log: Option<Word>,
    grace_hours: Option<Spanned<i64>>,
}

pub(crate) fn read(form: Option<Table<Form>>, reading: &mut Reading) -> Result<Agent, Refused> {
    let Table(form) = form.unwrap_or_default();
    let state = paths::read_or(form.state, "state", DEFAULT_STATE, reading);
    let admin_socket = socket(form.admin_socket, "admin_socket", DEFAULT_ADMIN_SOCKET, reading);
    let admin_group = reading.word_or(form.admin_group, "admin_group", DEFAULT_ADMIN_GROUP, str::parse);
    let apply_socket = socket(form.apply_socket, "apply_socket", DEFAULT_APPLY_SOCKET, reading);
    let metrics = metrics(form.metrics, reading);
    let log = reading.word_or(form.log, "log", "auto", log);
    let grace = reading.number_or(form.grace_hours, "grace_hours", DEFAULT_GRACE, 1..=MAX_GRACE, GRACE);
    Ok(Agent {
        state: state?,
        admin_socket: admin_socket?,
        admin_group: admin_group?,
        apply_socket: apply_socket?,
        metrics: metrics?,
        log: log?,
        grace: Duration::from_hours(u64::from(grace?)),
    })
}

fn socket(given: Option<Word>, key: &'static str, default: &str, reading: &mut Reading) -> Result<PathBuf, Refused> {
    let at = given.as_ref().map(Spanned::span);
    let path = reading.word_or(given, key, default, |text| match paths::parse(text)? {
        _ if text.len() > MAX_SOCKET_PATH => Err(SOCKET_PATH.to_owned()),
        path => Ok((path, Address::UnixPath(text.to_owned()))),
    });
    path.map(|(path, address)| {
        reading.socket(address, at, key);
        path
    })
}

fn metrics(given: Option<Word>, reading: &mut Reading) -> Result<Metrics, Refused> {
    let at = given.as_ref().map(Spanned::span);
    let metrics = reading.word_or(given, "metrics", DEFAULT_METRICS, |text| {
        if text == "none" {
            return Ok(Metrics::None);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match paths::parse(path) {
                Ok(_) if path.len() > MAX_SOCKET_PATH => Err(SOCKET_PATH.to_owned()),
                Ok(path) => Ok(Metrics::Unix(path)),
                Err(error) => Err(error),
            };
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if !address.ip().is_loopback() => Err(NOT_LOOPBACK.to_owned()),
            Ok(address) if address.port() == 0 => Err("port 0 is no port that anyone finds: write another".to_owned()),
            Ok(address) => Ok(Metrics::Loopback(address)),
            Err(_) => Err(METRICS.to_owned()),
        }
    })?;
    match &metrics {
        Metrics::Unix(path) => {
            let address = Address::UnixPath(path.to_string_lossy().into_owned());
            reading.socket(address, at, "metrics");
        }
        Metrics::None | Metrics::Loopback(_) => (),
    }
    Ok(metrics)
}

fn log(text: &str) -> Result<Log, String> {
    match text {
        "auto" => Ok(Log::Auto),
        "journald" => Ok(Log::Journald),
        "json" => Ok(Log::Json),
        "text" => Ok(Log::Text),
        _ => Err("write auto, journald, json or text".to_owned()),
    }
}

const GRACE: &str =
    "write 1 to 8784 hours (366 days); workers that have not reloaded need the old key for as long as they run";
const METRICS: &str = "write none, unix:/PATH, or a loopback address and a port, as 127.0.0.1:9811";
const NOT_LOOPBACK: &str = "metrics have no password, so they are served on a loopback address or a unix socket only: \
                            write 127.0.0.1:PORT and let your collector run on this machine";
const SOCKET_PATH: &str = "a unix socket's path has at most 107 bytes: choose a shorter one";

/// systemd's `StateDirectory=enclave-tls`.
const DEFAULT_STATE: &str = "/var/lib/enclave-tls";
/// In systemd's `RuntimeDirectory=enclave-tls`.
const DEFAULT_ADMIN_SOCKET: &str = "/run/enclave-tls/admin.sock";
/// What packages create; nobody is in it.
const DEFAULT_ADMIN_GROUP: &str = "enclave-tls-admin";
/// Where the socket unit of packages listens.
const DEFAULT_APPLY_SOCKET: &str = "/run/enclave-tls/apply.sock";
/// A socket, whose permissions say who reads it; a port could be read by every user.
const DEFAULT_METRICS: &str = "unix:/run/enclave-tls/metrics.sock";
/// Hours: longer than the connections of most servers live.
const DEFAULT_GRACE: u32 = 24;
/// Hours: longer than any certificate may be valid.
const MAX_GRACE: u32 = 8_784;
/// `sun_path` has 108 bytes, the last of which is zero.
const MAX_SOCKET_PATH: usize = 107;
