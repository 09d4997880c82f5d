//! A copy of the lab's httpd or HAProxy that reaches the service over a line of a test's own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::fault::Line;
use super::process::{self, Signal};
use super::program::succeed;
use super::scratch::Scratch;
use super::{Endpoint, Kind, Lab};

/// It ends when this is dropped.
pub struct Copied {
    master: Child,
    endpoints: Vec<Endpoint>,
    scratch: Scratch,
}

impl Copied {
    /// Starts one with a single worker process, and waits until it listens.
    pub fn start(lab: &Lab, via: &str, line: &Line) -> Result<Self> {
        let scratch = Scratch::new()?;
        let files = lab.files(via)?;
        let own = files.conf.parent().context("no directory")?;
        let mut copy = Command::new("cp");
        succeed(copy.arg("-aT").arg(own).arg(scratch.path()))?;
        let mut endpoints: Vec<Endpoint> = lab.endpoints.iter().filter(|one| one.via == via).cloned().collect();
        let mut replaced = vec![
            (own.display().to_string(), scratch.path().display().to_string()),
            (
                files.error_log.display().to_string(),
                scratch.file("error.log").display().to_string(),
            ),
            ("StartServers 3".to_owned(), "StartServers 1".to_owned()),
            ("ServerLimit 6".to_owned(), "ServerLimit 1".to_owned()),
            ("MaxRequestWorkers 75".to_owned(), "MaxRequestWorkers 25".to_owned()),
        ];
        let mut ports: Vec<u16> = endpoints.iter().map(|one| one.port).collect();
        ports.dedup();
        for port in ports {
            let new = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            replaced.push((format!("127.0.0.1:{port}"), format!("127.0.0.1:{new}")));
            let moved = endpoints.iter_mut().filter(|one| one.port == port);
            moved.for_each(|one| one.port = new);
        }
        for file in texts(scratch.path())? {
            let mut text = fs::read_to_string(&file)?;
            for (from, to) in &replaced {
                text = text.replace(from, to);
            }
            fs::write(&file, text)?;
        }
        let conf = scratch.file(
            files
                .conf
                .file_name()
                .and_then(|name| name.to_str())
                .context("no name")?,
        );
        let mut command = match files.kind {
            Kind::Httpd => httpd(lab, &scratch, &conf)?,
            Kind::Haproxy => haproxy(lab, &scratch, &conf)?,
            Kind::Nginx => anyhow::bail!("{via} is no server that is copied"),
        };
        let openssl = if via == "httpd-engine" { "engine" } else { "provider" };
        // Which names the lab's own.
        for pid_file in ["run/httpd.pid", "haproxy.pid"] {
            drop(fs::remove_file(scratch.file(pid_file)));
        }
        command.env("OPENSSL_CONF", line.openssl_conf(lab, openssl)?);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let copied = Self {
            master: command.spawn()?,
            endpoints,
            scratch,
        };
        process::wait_until(LIMIT, "a copied server", || {
            let mut all = copied.endpoints.iter();
            all.all(|one| TcpStream::connect(one.address()).is_ok())
        })
        .with_context(|| fs::read_to_string(copied.scratch.file("error.log")).unwrap_or_default())?;
        Ok(copied)
    }

    /// Where it serves the key that the lab's endpoint serves.
    pub fn endpoint(&self, of_lab: &Endpoint) -> Result<&Endpoint> {
        let mut all = self.endpoints.iter();
        all.find(|one| one.key == of_lab.key)
            .context("the copy does not serve it")
    }

    /// Its worker: there is one, and it must stay.
    pub fn worker(&self) -> Result<u32> {
        let workers = process::children(self.master.id());
        ensure!(workers.len() == 1, "its workers are {workers:?}");
        workers.first().copied().context("no worker")
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // Its workers end with it; a kill would leave them behind.
        drop(process::signal(self.master.id(), Signal::TERM));
        drop(self.master.wait());
    }
}

/// As Debian's `envvars` set it.
fn httpd(lab: &Lab, scratch: &Scratch, conf: &Path) -> Result<Command> {
    let mut command = lab.command("/usr/sbin/apache2");
    command.args(["-D", "FOREGROUND", "-f"]).arg(conf);
    for (name, value) in [
        ("APACHE_RUN_USER", "www-data"),
        ("APACHE_RUN_GROUP", "www-data"),
        ("LANG", "C"),
    ] {
        command.env(name, value);
    }
    for name in ["APACHE_RUN_DIR", "APACHE_LOCK_DIR", "APACHE_LOG_DIR"] {
        command.env(name, scratch.file("run"));
    }
    command.env("APACHE_PID_FILE", scratch.file("run/httpd.pid"));
    Ok(command)
}

fn haproxy(lab: &Lab, scratch: &Scratch, conf: &Path) -> Result<Command> {
    let mut command = lab.command("/usr/sbin/haproxy");
    command
        .args(["-Ws", "-f"])
        .arg(conf)
        .arg("-p")
        .arg(scratch.file("haproxy.pid"));
    Ok(command)
}

/// The files with the configuration; what a link leads to is others'.
fn texts(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() {
            found.extend(texts(&path)?);
        } else if kind.is_file()
            && path
                .extension()
                .is_some_and(|ending| ending == "conf" || ending == "cfg")
        {
            found.push(path);
        }
    }
    Ok(found)
}

const LIMIT: Duration = Duration::from_secs(20);
