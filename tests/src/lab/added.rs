//! Certificates that a test adds to the agent's configuration, and to what NGINX serves. They are gone when the value goes.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::scratch::Scratch;
use super::server::Server;
use super::{Lab, agent, process, rotating};

/// What was added.
pub struct Added<'a> {
    lab: &'a Lab,
    /// The configuration as it was.
    before: String,
    /// Of certificates and accounts.
    names: &'static [&'static str],
    /// Of NGINX.
    block: PathBuf,
    scratch: Scratch,
}

impl<'a> Added<'a> {
    /// Nothing yet. These are the names of all that will be.
    pub fn nothing(lab: &'a Lab, names: &'static [&'static str]) -> Result<Self> {
        let conf = lab.files("provider")?.conf.parent().context("no directory")?;
        let name = names.first().context("no names")?;
        Ok(Self {
            lab,
            before: fs::read_to_string(&lab.config)?,
            names,
            block: conf.join("more").join(format!("{name}.conf")),
            scratch: Scratch::new()?,
        })
    }

    /// The agent's configuration has this, too, and nothing that was added before.
    pub fn configure(&self, more: &str) -> Result<()> {
        fs::write(&self.lab.config, format!("{}\n{more}", self.before))?;
        agent::reload(self.lab)
    }

    /// The server `provider` serves a certificate on a port: in the block that users copy.
    pub fn serve(&self, certificate: &str, host: &str, port: u16) -> Result<()> {
        let copied = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../host-nginx-conf/nginx/server-agent.conf"
        );
        let live = rotating::base(self.lab)?.join("live").join(certificate);
        let site = self.scratch.write("site.conf", "location / { return 200; }\n")?;
        let block = fs::read_to_string(copied)?
            .replace("@ADDRESS@", &format!("127.0.0.1:{port}"))
            .replace("@NAME@", host)
            .replace("@LIVE@", &live.join("nginx.conf").display().to_string())
            .replace("@SITE@", &site.display().to_string());
        fs::create_dir_all(self.block.parent().context("no directory")?)?;
        fs::write(&self.block, block)?;
        Server::of(self.lab, "provider").tell()?;
        // The agent has it reload at the same time, so that new workers are no sign.
        process::wait_until(LIMIT, "NGINX on another port", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
    }

    /// A file of this test's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    fn take_away(&self) -> Result<()> {
        let lab = self.lab;
        if self.block.exists() {
            fs::remove_file(&self.block)?;
            Server::of(lab, "provider").reload()?;
        }
        fs::write(&lab.config, &self.before)?;
        agent::reload(lab)?;
        let is_ours = |name: &str| self.names.contains(&name);
        agent::wait_for(lab, "the lab's configuration", |report| {
            report.certificates.iter().all(|one| !is_ours(&one.name))
        })?;
        let listed = lab.ctl(&["list"])?;
        for key in listed["keys"].as_array().context("no keys")? {
            if key["name"].as_str().is_some_and(is_ours) {
                lab.ctl(&["retire", key["id"].as_str().context("no id")?])?;
            }
        }
        Ok(())
    }
}

impl Drop for Added<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.take_away() {
            eprintln!("the lab is not as it was: {error:#}");
        }
    }
}

const LIMIT: Duration = Duration::from_secs(20);
