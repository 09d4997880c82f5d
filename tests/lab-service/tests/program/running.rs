//! The program, running.

use std::io::Read as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::agent::Agent;
use super::client::{Client, Identity};

/// A running program with the client `www`.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) agent: Agent,
    pub(crate) www: Identity,
    /// What the test calls itself, and where an abstract signing plane listens.
    pub(crate) name: String,
    _lab: Lab,
}

impl Running {
    /// Starts it. `signing` is where it listens: of `NAME`, what the test calls itself.
    pub(crate) fn start(test: &str, signing: impl Fn(&str) -> String) -> Self {
        Self::start_in(Lab::new(test, ""), signing)
    }

    pub(crate) fn start_in(lab: Lab, signing: impl Fn(&str) -> String) -> Self {
        let name = lab.name();
        let control = format!("{name}-control");
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&control).unwrap()).unwrap();
        let child = lab
            .program()
            .args(["--log-format", "json", "--control", &format!("unix:@{control}")])
            .args(["--signing", &signing(&name)])
            .spawn()
            .unwrap();
        let mut agent = Agent::accept(&listener);
        let www = Identity::new();
        agent.boot();
        agent.install("www", &www);
        Self {
            child,
            agent,
            www,
            name,
            _lab: lab,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(&self.name, &self.www).unwrap().0
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a supervisor does, and gives its log.
    pub(crate) fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a test that failed, nothing may be left running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with `nsm.toml` and a policy that trusts its stand-in.
pub(crate) struct Lab(PathBuf);

impl Lab {
    /// `more` is added to `nsm.toml`.
    pub(crate) fn new(test: &str, more: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("lab-service-{}-{test}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let register = |index| format!("pcr{index} = \"{}\"\n", format!("a{index}").repeat(48));
        std::fs::write(dir.join("nsm.toml"), [0, 1, 2].map(register).concat() + more).unwrap();
        let root = emulator_nsm::Pki::open(&dir).unwrap().root_sha256();
        let policy = POLICY.replace("ROOT", &hex::encode(root));
        std::fs::write(dir.join("policy.toml"), policy).unwrap();
        Self(dir)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// The program with this lab's policy and NSM.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab-service"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.arg("--nsm").arg(&self.0);
        command.arg("--policy").arg(self.0.join("policy.toml"));
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What a test leaves in the system's temporary directory is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const POLICY: &str = r#"
version = 1
imports = true
[[names]]
pattern = "lab-*"
usages = ["tls", "digest"]
[keys]
rsa = { min = 2048, max = 4096 }
curves = ["P-256"]
[attestation]
root_sha256 = "ROOT"
"#;
