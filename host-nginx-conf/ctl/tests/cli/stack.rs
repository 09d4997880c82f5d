//! `listen`, the stand-in and a directory, for one test each.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fake::Fake;

pub(crate) struct Stack {
    pub(crate) dir: PathBuf,
    listen: Option<Child>,
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
            listen: None,
            log: Arc::default(),
        }
    }

    /// `listen` with a replay directory, and a stand-in that serves and knows the client `nginx`.
    pub(crate) fn serving(name: &str) -> (Self, Fake) {
        let mut stack = Self::new(name);
        stack.listen(true);
        let fake = Fake::start(&stack.control());
        fake.wait_until_serving();
        stack.credential("nginx");
        (stack, fake)
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    pub(crate) fn replay(&self) -> PathBuf {
        self.dir.join("replay")
    }

    pub(crate) fn listen(&mut self, with_replay: bool) {
        self.listen_with(with_replay, &[], &[]);
    }

    /// With more arguments, and no AWS credentials but those of `environment`.
    pub(crate) fn listen_with(&mut self, with_replay: bool, extra: &[&str], environment: &[(&str, &str)]) {
        let mut command = self.command(&["listen", "--control", &format!("unix:{}", self.control().display())]);
        command.args(extra);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", &self.dir);
        command.envs(environment.iter().copied());
        if with_replay {
            command.arg("--replay").arg(self.replay());
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, log) = (
            BufReader::new(child.stderr.take().unwrap()).lines(),
            Arc::clone(&self.log),
        );
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| *log.lock().unwrap() += &(line + "\n"))
        });
        self.listen = Some(child);
        self.wait_for_log("commands are taken on");
    }

    pub(crate) fn stop_listen(&mut self) {
        if let Some(mut child) = self.listen.take() {
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
            .arg(self.dir.join("ctl.sock"))
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
        assert!(output.status.success(), "{args:?}: {output:?}");
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
            eprintln!("log of listen:\n{}", self.log());
        }
        self.stop_listen();
        drop(fs::remove_dir_all(&self.dir));
    }
}
