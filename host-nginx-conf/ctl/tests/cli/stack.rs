//! An agent, the stand-in and a directory, for one test each.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::Config;
use crate::fake::Fake;

pub(crate) struct Stack {
    pub(crate) dir: PathBuf,
    agent: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Stack {
    /// A private directory, and nothing running.
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ctl-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        Self {
            dir,
            agent: None,
            log: Arc::default(),
        }
    }

    /// An agent, and a stand-in that serves and knows the client `nginx`.
    pub(crate) fn serving(name: &str) -> (Self, Fake) {
        let mut stack = Self::new(name);
        let fake = stack.serve(&stack.config());
        (stack, fake)
    }

    /// The same with a configuration of the test's own.
    pub(crate) fn serve(&mut self, config: &Config) -> Fake {
        self.start_agent_with(config, &[]);
        let fake = Fake::start(&self.control());
        fake.wait_until_serving();
        self.credential("nginx");
        fake
    }

    /// The configuration that a test changes where it wants to.
    pub(crate) fn config(&self) -> Config {
        Config::within(&self.dir)
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    /// The agent's directory.
    pub(crate) fn replay(&self) -> PathBuf {
        self.dir.join("replay")
    }

    pub(crate) fn start_agent(&mut self) {
        self.start_agent_with(&self.config(), &[]);
    }

    /// With no AWS credentials but those of `environment`. Returns when every socket is open.
    pub(crate) fn start_agent_with(&mut self, config: &Config, environment: &[(&str, &str)]) {
        let mut command = self.agent_command(config);
        command.envs(environment.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = (
            BufReader::new(child.stderr.take().unwrap()).lines(),
            Arc::clone(&self.log),
        );
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| *log.lock().unwrap() += &(line + "\n"))
        });
        self.agent = Some(child);
        self.wait_for_log(": ready\n");
    }

    /// What an agent says that does not start.
    pub(crate) fn refused(&self, config: &Config) -> String {
        let mut child = self.agent_command(config).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() >= deadline {
                child.kill().unwrap();
                let output = child.wait_with_output().unwrap();
                panic!("it runs: {output:?}\n{}", config.text());
            }
            thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn agent_command(&self, config: &Config) -> Command {
        let file = self.dir.join("config.toml");
        fs::write(&file, config.text()).unwrap();
        let agent = Path::new(env!("CARGO_BIN_EXE_enclave-tlsctl")).with_file_name("examples/agent");
        assert!(
            agent.exists(),
            "{} is missing: `cargo test -p enclave-tlsctl` builds it first, but not with `--test`: run `cargo build -p enclave-tlsctl \
             --example agent`",
            agent.display()
        );
        let mut command = Command::new(agent);
        command.arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", &self.dir);
        command
    }

    pub(crate) fn stop_agent(&mut self) {
        if let Some(mut child) = self.agent.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        self.log.lock().unwrap().clear();
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn wait_for_log(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(what) {
            assert!(Instant::now() < deadline, "{what:?} is not in the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enclave-tlsctl"));
        command
            .arg("--socket")
            .arg(self.admin_socket())
            .args(args)
            .stdin(Stdio::null());
        command.current_dir(&self.dir);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed, and gives its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        // No nitro-cli answers here, and `status` says by 3 that this needs attention.
        let expected = if args.first() == Some(&"status") { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }

    /// Runs a command that must fail with this status, and gives its standard error. Nothing is on standard output.
    pub(crate) fn fails(&self, status: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn credential(&self, client: &str) {
        self.ok(&[
            "credential",
            client,
            "--force",
            "--out",
            &format!("{client}.credential"),
        ]);
    }

    pub(crate) fn create(&self, name: &str, usage: &str) -> String {
        let args = [
            "create",
            name,
            "--type",
            "p-256",
            "--usage",
            usage,
            "--client",
            "nginx",
            "--dns-name",
            "a.example",
        ];
        self.ok(&args).trim().to_owned()
    }

    /// Writes a PEM file of one block and gives its name.
    pub(crate) fn pem(&self, file: &str, label: &str, contents: &[u8]) -> String {
        let text = pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, contents).unwrap();
        fs::write(self.dir.join(file), text).unwrap();
        file.to_owned()
    }

    pub(crate) fn import(&self, name: &str, key: &[u8], extra: &[&str]) -> String {
        let file = self.pem(&format!("{name}.pem"), "PRIVATE KEY", key);
        let args = [
            "import",
            name,
            &file,
            "--usage",
            "digest",
            "--client",
            "nginx",
            "--dns-name",
            "a.example",
        ];
        self.ok(&[&args, extra].concat()).trim().to_owned()
    }

    pub(crate) fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the agent:\n{}", self.log());
        }
        self.stop_agent();
        drop(fs::remove_dir_all(&self.dir));
    }
}
