//! The lab's servers: real programs with the configuration that users copy, each in a small frame of the lab's own.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::ca;
use super::place::Place;
use super::plan::{KeyPlan, Via};
use super::ports::Ports;
use super::service::Starter;
use super::state::{Endpoint, Files};
use super::{haproxy, httpd, nginx};
use crate::process;

/// A configured server, not started yet.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) files: Files,
    pub(super) endpoints: Vec<Endpoint>,
    /// The words of the command that starts it.
    pub(super) words: Vec<String>,
    pub(super) environment: Vec<(&'static str, String)>,
    /// Whether that command ends when the server runs.
    pub(super) is_daemon: bool,
}

impl Server {
    /// Starts it, and writes its master's pid down.
    pub(super) fn start(&self, starter: &mut Starter<'_>) -> Result<()> {
        let name = &self.files.process;
        if !self.is_daemon {
            starter.start_with(name, self.words.clone(), &self.environment)?;
            self.pid()
                .with_context(|| format!("{name} does not start{}", starter.last_words(name)))?;
            return Ok(());
        }
        starter.processes.commands.insert(name.clone(), self.words.clone());
        let (program, arguments) = self.words.split_first().context("no command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("OPENSSL_CONF")
            .envs(self.environment.iter().cloned());
        process::run(&mut command).with_context(|| format!("{name} does not start"))?;
        let pid = self.pid()?;
        starter.note(name, pid)
    }

    fn pid(&self) -> Result<u32> {
        let mut pid = None;
        let written = process::wait_until(Duration::from_secs(5), || {
            pid = fs::read_to_string(&self.files.pid_file)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            pid.is_some()
        });
        ensure!(written, "{} has written no pid", self.files.process);
        pid.context("no pid")
    }
}

/// Writes the configuration of every server.
pub(super) fn configure(
    place: &Place,
    snippets: &std::path::Path,
    acme: &BTreeMap<String, u16>,
) -> Result<Vec<Server>> {
    let keys = |via: Via| via.serves().len();
    let all = Via::NGINX.into_iter().chain(Via::OF_THE_SERVICE);
    let mut site = Site {
        place,
        snippets,
        acme,
        ports: Ports::find(all.map(keys).sum::<usize>() + 1)?,
    };
    let mut servers = nginx::configure(&mut site)?;
    for via in [Via::HttpdProvider, Via::HttpdEngine] {
        servers.push(httpd::configure(&mut site, via)?);
    }
    servers.push(haproxy::configure(&mut site)?);
    Ok(servers)
}

/// What the configuration of each server is made from.
pub(super) struct Site<'a> {
    pub(super) place: &'a Place,
    pub(super) snippets: &'a std::path::Path,
    /// Where the certificates of the CA that speaks ACME are served.
    pub(super) acme: &'a BTreeMap<String, u16>,
    pub(super) ports: Ports,
}

impl Site<'_> {
    /// What a server has in its environment, so that it finds the module and the module its configuration.
    pub(super) fn environment(&self, via: Via) -> Vec<(&'static str, String)> {
        let client = via.client();
        let file = |name: &str| self.place.client(client, name).display().to_string();
        let mut environment = vec![(super::MODULE_CONFIG, file("pkcs11.toml"))];
        if let Some(openssl) = via.openssl() {
            environment.push(("OPENSSL_CONF", file(&format!("{openssl}.cnf"))));
        }
        environment
    }

    /// A chain that was made outside of the service.
    pub(super) fn chain(&self, plan: &KeyPlan) -> PathBuf {
        self.place.public(plan.name, "chain.pem")
    }

    /// The id of a key that was imported by hand, as RFC 7512 writes bytes: `%xx` each.
    pub(super) fn percent_id(&self, plan: &KeyPlan) -> Result<String> {
        let id = ca::key_id(&self.chain(plan))?;
        let pairs = id.as_bytes().chunks(2);
        Ok(pairs
            .map(|pair| format!("%{}", String::from_utf8_lossy(pair)))
            .collect())
    }

    /// The file that says where a key is that was imported by hand, made by the script that users have.
    pub(super) fn key_file(&self, plan: &KeyPlan) -> Result<PathBuf> {
        let path = self.place.public(plan.name, "uri.pem");
        let id = ca::key_id(&self.chain(plan))?;
        let pem = process::capture(Command::new(self.snippets.join("nginx/uri-pem.sh")).arg(id))?;
        fs::write(&path, pem)?;
        Ok(path)
    }
}

/// What a program says when it is asked for its version, from `mark` to the next space.
pub(super) fn version(program: &str, mark: &str) -> Result<String> {
    let output = process::output(Command::new(program).arg("-v"))?;
    let text = process::text(&output.stdout) + &process::text(&output.stderr);
    match text.split_once(mark) {
        Some((_, version)) => Ok(version.split_whitespace().next().unwrap_or(version).to_owned()),
        None => bail!("{program} does not tell its version"),
    }
}
