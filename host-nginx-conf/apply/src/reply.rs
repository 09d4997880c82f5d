//! Replies.

use std::fmt;

use enclave_wire::Name;
use enclave_wire::credential::CredentialId;
use serde::{Deserialize, Serialize};

use crate::json;
use crate::request::Directory;

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reply {
    /// It is on disk: a credential, objects; or pruned.
    Done {},
    /// To [`Request::Deploy`](crate::Request::Deploy).
    Deployed(Deployed),
    /// To [`Request::State`](crate::Request::State).
    State(State),
    /// Nothing that servers read was changed, or it is undone, by the next request at the latest.
    Refused(Refusal),
}

/// What became of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployed {
    /// The certificates that are not live as asked, with what is live of them: a server refused its configuration with the new
    /// ones, so all that had a live generation before have it again.
    pub put_back: Vec<LiveCertificate>,
    /// The certificates that had nothing live before and have nothing live now: a server refused its configuration with them,
    /// and it passes without them, or ran with what was live before; each would stop every later renewal of that server and its
    /// next start. Where a server that is not in line refuses without them as well, its configuration names files that are not there yet:
    /// then they stay, so that whoever sets up one after the other gets there, and the refusal stands among `servers` alone.
    ///
    /// Both lists empty: all is as asked.
    #[serde(with = "json::texts")]
    pub withdrawn: Vec<Name>,
    /// Every server that uses one of them, and every other that did not yet have what is live.
    pub servers: Vec<ServerOutcome>,
}

/// What became of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerOutcome {
    /// A server of the configuration file.
    #[serde(with = "json::text")]
    pub server: Name,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It has been reloaded with what is live before; it was not touched.
    Unchanged {},
    /// It passed its test and was told to reload.
    Reloaded {
        /// Its master process.
        pid: u32,
    },
    /// It passed its test and does not run; it will start with what is live.
    NotRunning {},
    /// It passed its test, but the deployment was undone because another server did not.
    Undone {},
    /// It was not reloaded.
    Failed {
        /// What failed.
        step: Step,
        /// The server's own words where it had any; at most [`MAX_MESSAGE`] bytes.
        message: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged {} => f.write_str("has what is live"),
            Self::Reloaded { pid } => write!(f, "process {pid} was told to reload"),
            Self::NotRunning {} => f.write_str("passed its test and does not run"),
            Self::Undone {} => f.write_str("passed its test; the deployment was undone because another server did not"),
            Self::Failed {
                step: Step::Test,
                message,
            } => write!(f, "refused its configuration: {message}"),
            Self::Failed {
                step: Step::Reload,
                message,
            } => write!(f, "was not reloaded: {message}"),
        }
    }
}

/// What is done with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The test of its configuration: it refused, or did not answer in time.
    Test,
    /// The signal to its master. The generations are live; the next deployment tries again.
    Reload,
}

/// What is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The directory that servers' files are in.
    pub base: String,
    /// The certificates that are live, also those that left the configuration file.
    pub live: Vec<LiveCertificate>,
    /// The servers of the configuration file.
    pub servers: Vec<ServerState>,
    /// The clients of the configuration file.
    pub clients: Vec<ClientState>,
}

/// A certificate and its live generation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveCertificate {
    /// The certificate's name.
    #[serde(with = "json::text")]
    pub name: Name,
    /// The directory that `live/NAME` points at.
    #[serde(with = "json::text")]
    pub directory: Directory,
}

/// What a server was last reloaded with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerState {
    /// A server of the configuration file.
    #[serde(with = "json::text")]
    pub server: Name,
    /// None: never, or not since it was last found not to run.
    pub reloaded_with: Option<Vec<LiveCertificate>>,
    /// The processes that its master had before it was last told to reload, and that still run: they may serve what was live before.
    pub older: Vec<u32>,
    /// Its master process, if it runs.
    pub pid: Option<u32>,
}

/// What a client can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientState {
    /// A client of the configuration file.
    #[serde(with = "json::text")]
    pub client: Name,
    /// The id of its credential. None: there is none, or the file holds something else.
    #[serde(with = "json::credential_id")]
    pub credential: Option<CredentialId>,
    /// SHA-256 of its objects.
    #[serde(with = "json::digest")]
    pub objects: Option<[u8; 32]>,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Whose fault it is.
    pub fault: Fault,
    /// For people: what, and what to do next. At most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Whose fault it is, from which follows whether to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The request's: not understood, too long, a chain of another key. Agent and helper may be of two releases.
    Request,
    /// The configuration file's: unreadable, refused, writable by others, without what the request names. Ask again after it changed.
    Configuration,
    /// The machine's: disk full, read-only, a directory that is not ours. Ask again later.
    Machine,
    /// The asker's: neither root nor of a user that may ask.
    Stranger,
}

/// Cuts a text so that it has at most [`MAX_MESSAGE`] bytes. The end stays, for there servers say what they fail of.
#[must_use]
pub fn bounded(text: &str) -> &str {
    let from = text.len().saturating_sub(MAX_MESSAGE);
    let cut = (from..=text.len()).find_map(|at| text.get(at..));
    cut.unwrap_or_default()
}

/// A server names each fault once; a thousand warnings before it are of no use.
pub const MAX_MESSAGE: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_they_are_written() {
        let server: Name = "main".parse().unwrap();
        let live = LiveCertificate {
            name: "www".parse().unwrap(),
            directory: "0001-0011223344556677-00112233".parse().unwrap(),
        };
        let failed = Outcome::Failed {
            step: Step::Test,
            message: "nginx: …".to_owned(),
        };
        let outcomes = [
            Outcome::Unchanged {},
            Outcome::Reloaded { pid: 7 },
            Outcome::NotRunning {},
            Outcome::Undone {},
            failed,
        ];
        let servers = outcomes.map(|outcome| ServerOutcome {
            server: server.clone(),
            outcome,
        });
        for reply in [
            Reply::Done {},
            Reply::Deployed(Deployed {
                put_back: vec![live.clone()],
                withdrawn: vec!["new".parse().unwrap()],
                servers: servers.to_vec(),
            }),
            Reply::State(State {
                base: "/etc/enclave-tls".to_owned(),
                live: vec![live.clone()],
                servers: vec![ServerState {
                    server,
                    reloaded_with: Some(vec![live]),
                    older: vec![8],
                    pid: None,
                }],
                clients: vec![ClientState {
                    client: "nginx".parse().unwrap(),
                    credential: Some(CredentialId([1; 16])),
                    objects: None,
                }],
            }),
            Reply::Refused(Refusal {
                fault: Fault::Machine,
                message: "m".to_owned(),
            }),
        ] {
            let text = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply, "{text}");
        }
    }

    #[test]
    fn a_long_message_keeps_its_end_and_whole_characters() {
        assert_eq!(bounded("short"), "short");
        let long = "ä".repeat(MAX_MESSAGE) + "b";
        let cut = bounded(&long);
        assert!(cut.len() <= MAX_MESSAGE && cut.ends_with("äb"));
    }
}
