//! Another server in place of the lab's NGINX where the lab's CA asks for port 80.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Lab;
use super::process::{self, Signal};
use super::program::succeed;
use super::scratch::Scratch;

/// The server. NGINX is back when it goes.
pub struct Port80<'a> {
    lab: &'a Lab,
    port: u16,
    server: Option<Child>,
    scratch: Scratch,
}

impl<'a> Port80<'a> {
    /// Ends NGINX there.
    pub fn take(lab: &'a Lab) -> Result<Self> {
        let pebble: Value = serde_json::from_str(&fs::read_to_string(lab.dir()?.join("ca/acme.json"))?)?;
        let port = pebble["pebble"]["httpPort"].as_u64().context("pebble asks no port")?;
        let pid = fs::read_to_string(lab.dir()?.join("nginx/http/nginx.pid"))?;
        let pid = pid.trim().parse()?;
        process::signal(pid, Signal::TERM)?;
        process::wait_until(LIMIT, "the end of NGINX", || !process::is_alive(pid))?;
        Ok(Self {
            lab,
            port: u16::try_from(port)?,
            server: None,
            scratch: Scratch::new()?,
        })
    }

    /// Where it is to listen.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A copy of a snippet that users copy, with the lab's address of the agent in place of the default one.
    pub fn snippet(&self, name: &str) -> Result<PathBuf> {
        let copied = format!("{}/../host-nginx-conf/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(&copied)?;
        ensure!(text.contains(DEFAULT), "{copied} passes on to another address");
        let name = name.rsplit('/').next().unwrap_or(name);
        let address = self.lab.configured("listen")?;
        self.scratch.write(name, text.replace(DEFAULT, &address))
    }

    /// Writes a file of the server's.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        self.scratch.write(name, text)
    }

    /// A file of the server's.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.file(name)
    }

    /// Starts it, in the foreground, and waits until it listens.
    pub fn start(&mut self, command: &mut Command) -> Result<()> {
        let log = fs::File::create(self.file("server.log"))?;
        command.env_remove("OPENSSL_CONF").stdin(Stdio::null());
        let server = command.stdout(log.try_clone()?).stderr(log).spawn();
        self.server = Some(server.context("it does not start")?);
        let listens = || TcpStream::connect(self.address()).is_ok();
        process::wait_until(LIMIT, "the server on port 80", listens)
            .with_context(|| fs::read_to_string(self.file("server.log")).unwrap_or_default())
    }

    /// The first line and the headers of its answer.
    pub fn get(&self, path: &str) -> Result<String> {
        let mut socket = TcpStream::connect(self.address())?;
        socket.set_read_timeout(Some(LIMIT))?;
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: acme-rsa.lab.test\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let (head, _) = answer.split_once("\r\n\r\n").context("no answer")?;
        Ok(head.to_owned())
    }

    fn put_back(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            process::signal(server.id(), Signal::TERM)?;
            server.wait()?;
        }
        let words = self.lab.commands.get("nginx-http").context("no NGINX for port 80")?;
        let (program, arguments) = words.split_first().context("no words")?;
        succeed(Command::new(program).args(arguments)).map(drop)
    }
}

impl Drop for Port80<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.put_back() {
            eprintln!("nobody answers port 80 of the lab: {error:#}");
        }
    }
}

/// Where snippets pass on to.
const DEFAULT: &str = "127.0.0.1:9812";
const LIMIT: Duration = Duration::from_secs(20);
