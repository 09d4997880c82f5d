//! An agent that runs, for one test.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A directory, and an agent in it once it is started.
pub(crate) struct Running {
    pub(crate) dir: PathBuf,
    pub(crate) agent: Option<Child>,
}

impl Running {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("observe-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir, agent: None }
    }

    /// Writes a configuration with these lines below `[agent]`.
    pub(crate) fn configure(&self, agent: &str) {
        let dir = self.dir.display();
        let text = format!(
            r#"[enclave]
image = "{dir}/no.eif"
nitro_cli = "/bin/false"
signing = "unix:{dir}/signing.sock"
control = "unix:{dir}/control.sock"
egress = "unix:{dir}/egress.sock"
logs = "unix:{dir}/logs.sock"

[agent]
state = "{dir}/state"
admin_socket = "{dir}/admin.sock"
apply_socket = "{dir}/nobody.sock"
{agent}

[egress]
allow = ["kms.us-east-1.amazonaws.com:443"]

[clients.nginx]
group = "root"

[servers.main]
kind = "nginx"
client = "nginx"

[[certificates]]
name = "www-example"
source = "csr"
key_type = "p-256"
dns_names = ["www.example.com"]
servers = ["main"]
"#
        );
        let file = self.config();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// Its standard error goes to `log`.
    pub(crate) fn start(&mut self, environment: &[(&str, &str)]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enclave-tls-agent"));
        command.arg("--config").arg(self.config());
        self.spawn(command, environment);
        self.wait_for("the admin socket", |running| {
            UnixStream::connect(running.dir.join("admin.sock")).is_ok()
        });
    }

    pub(crate) fn spawn(&mut self, mut command: Command, environment: &[(&str, &str)]) {
        let log = fs::File::create(self.dir.join("log")).unwrap();
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
            command.env_remove(name);
        }
        command
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(log);
        self.agent = Some(command.spawn().unwrap());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for something to become true, and fails with the log where it does not.
    pub(crate) fn wait_for(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is(self) {
            assert!(began.elapsed() < Duration::from_secs(30), "no {what}:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(agent) = &mut self.agent {
            drop(agent.kill());
            drop(agent.wait());
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Asks for a page: the status line, and the body.
pub(crate) fn get(mut stream: impl Read + std::io::Write, path: &str) -> (String, String) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

pub(crate) fn get_unix(socket: &Path, path: &str) -> (String, String) {
    get(UnixStream::connect(socket).unwrap(), path)
}
