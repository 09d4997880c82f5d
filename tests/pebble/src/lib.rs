//! Let's Encrypt's pebble, a real ACME server for tests, and pebble-challtestsrv, which is its DNS and answers challenges.
//!
//! Both listen on loopback alone. They end when [`Pebble`] is dropped.

mod challenges;
mod http;
mod identity;
mod management;
mod options;
mod process;
mod proxy;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::http::Client;
use crate::identity::Identity;
use crate::process::Process;

pub use options::{Options, Ports};
pub use proxy::Proxy;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `pebble`.
    pub pebble: PathBuf,
    /// `pebble-challtestsrv`.
    pub challenges: PathBuf,
}

impl Programs {
    /// Those that `cargo xtask test` names. None: a test says SKIPPED, and [`Self::MISSING`].
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        Some(Self {
            pebble: path("ENCLAVE_TLS_PEBBLE")?,
            challenges: path("ENCLAVE_TLS_CHALLTESTSRV")?,
        })
    }

    /// Why a test was skipped.
    pub const MISSING: &str = "no ENCLAVE_TLS_PEBBLE and ENCLAVE_TLS_CHALLTESTSRV";
}

/// An ACME server that runs.
pub struct Pebble {
    ports: Ports,
    name: String,
    identity: Identity,
    dir: PathBuf,
    _pebble: Process,
    _challenges: Process,
}

impl Pebble {
    /// Starts both programs, with what they write in `dir`.
    pub fn start(programs: &Programs, dir: &Path, options: &Options) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let name = options.names.first().context("the server has no name")?.clone();
        let identity = Identity::make(dir, &options.names)?;
        // A port that was free may be taken by now: others start theirs too.
        for _ in 0..ATTEMPTS {
            let ports = options.ports.map_or_else(free_ports, Ok)?;
            fs::write(dir.join("pebble.json"), options.configuration(dir, &ports).to_string())?;
            let challenges = Process::start(challenge_server(programs, dir, &ports), &dir.join("challtestsrv.log"))?;
            let pebble = Process::start(server(programs, dir, &ports, options), &dir.join("pebble.log"))?;
            let mut started = Self {
                ports,
                name: name.clone(),
                identity: identity.clone(),
                dir: dir.to_owned(),
                _pebble: pebble,
                _challenges: challenges,
            };
            if started.answers()? {
                return Ok(started);
            }
        }
        bail!(
            "pebble does not start: see pebble.log and challtestsrv.log in {}",
            dir.display()
        )
    }

    /// The directory's URL.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}:{}/dir", self.name, self.ports.acme)
    }

    /// The URL of DNS over HTTPS, by the same name and under the same root.
    #[must_use]
    pub fn resolver(&self) -> String {
        format!("https://{}:{}/dns-query", self.name, self.ports.doh)
    }

    /// The root (DER) of the server's own certificate, which clients must trust. What it issues has other roots.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        &self.identity.root
    }

    /// The same root as a PEM file.
    #[must_use]
    pub fn root_pem(&self) -> PathBuf {
        self.dir.join("root.pem")
    }

    /// Where everything listens.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// What the server has said: of each request, among other things.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.join("pebble.log"))?)
    }

    fn acme(&self) -> Client {
        Client::tls(self.ports.acme, &self.name, &self.identity.root)
    }

    fn management(&self) -> Client {
        Client::tls(self.ports.management, &self.name, &self.identity.root)
    }

    /// False: one of them ended.
    fn answers(&mut self) -> Result<bool> {
        let acme = self.acme();
        let challenges = Client::plain(self.ports.challenges);
        for _ in 0..LOOKS {
            if !self._pebble.runs()? || !self._challenges.runs()? {
                return Ok(false);
            }
            let is_up = |client: &Client, path| client.get(path).is_ok();
            if is_up(&acme, "/dir") && is_up(&challenges, "/") {
                return Ok(true);
            }
            std::thread::sleep(LOOK);
        }
        Ok(false)
    }
}

fn server(programs: &Programs, dir: &Path, ports: &Ports, options: &Options) -> Command {
    let mut command = Command::new(&programs.pebble);
    command.arg("-config").arg(dir.join("pebble.json"));
    command.args(["-dnsserver", &format!("127.0.0.1:{}", ports.dns)]);
    command.envs(options.environment());
    command
}

fn challenge_server(programs: &Programs, dir: &Path, ports: &Ports) -> Command {
    let mut command = Command::new(&programs.challenges);
    let at = |port: u16| format!("127.0.0.1:{port}");
    command.args([
        "-defaultIPv4",
        "127.0.0.1",
        "-defaultIPv6",
        "",
        "-https01",
        "",
        "-tlsalpn01",
        "",
    ]);
    command.args([
        "-dnsserver",
        &at(ports.dns),
        "-http01",
        &at(ports.answers),
        "-management",
        &at(ports.challenges),
    ]);
    command.args(["-doh", &at(ports.doh)]);
    command
        .arg("-doh-cert")
        .arg(dir.join("server.pem"))
        .arg("-doh-cert-key")
        .arg(dir.join("server.key"));
    command
}

fn free_ports() -> Result<Ports> {
    let listeners: Vec<_> = (0..6)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let ports: Vec<u16> = listeners
        .iter()
        .map(|one| Ok(one.local_addr()?.port()))
        .collect::<Result<_>>()?;
    let [acme, management, challenges, answers, dns, doh] = ports[..] else {
        bail!("six ports were asked for");
    };
    Ok(Ports {
        acme,
        management,
        challenges,
        answers,
        validated: answers,
        dns,
        doh,
    })
}

const ATTEMPTS: usize = 5;
const LOOKS: usize = 200;
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);
