//! The test of a server's configuration, by the server's own program.

use std::fmt;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use enclave_tls_apply::MAX_MESSAGE;
use enclave_tls_config::{Kind, Server};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::clients::MODULE_CONFIG;
use crate::places::Plain;
use crate::servers::Master;

/// Why a server did not pass.
#[derive(Debug)]
pub(crate) enum TestError {
    /// It could not be run.
    Start { program: PathBuf, source: io::Error },
    /// It refused: its own words.
    Refused {
        program: PathBuf,
        status: ExitStatus,
        said: String,
    },
    /// It was stopped: what it had said until then.
    TooSlow {
        program: PathBuf,
        seconds: u64,
        said: String,
    },
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { program, source } => write!(
                f,
                "cannot run {}: {source}; install it, or name another `program` in [servers]",
                program.display()
            ),
            Self::Refused { program, status, said } if said.is_empty() => {
                write!(
                    f,
                    "{} refuses its configuration and does not say why ({status})",
                    program.display()
                )
            }
            Self::Refused { said, .. } => f.write_str(said),
            Self::TooSlow { program, seconds, said } => write!(
                f,
                "{} did not finish the test of its configuration in {seconds} s and was stopped; run the test by hand. {said}",
                program.display()
            ),
        }
    }
}

/// Has a server test its configuration within this time.
pub(crate) fn test(server: &Server, base: &Plain, within: Duration) -> Result<(), TestError> {
    let started = Instant::now();
    let latest = started.checked_add(within);
    let start = |source| TestError::Start {
        program: server.program.clone(),
        source,
    };
    let (mut output, mut child) = spawn(server, base).map_err(start)?;
    let mut said = Tail::default();
    let status = loop {
        said.read(&mut output);
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(error) => {
                stop(&mut child);
                return Err(start(error));
            }
        }
        if latest.is_none_or(|latest| Instant::now() >= latest) {
            stop(&mut child);
            return Err(TestError::TooSlow {
                program: server.program.clone(),
                seconds: started.elapsed().as_secs(),
                said: said.text(),
            });
        }
        wait(&output);
    };
    // What it wrote last. A descendant that keeps the pipe open is not waited for.
    said.read(&mut output);
    if status.success() {
        return Ok(());
    }
    Err(TestError::Refused {
        program: server.program.clone(),
        status,
        said: said.text(),
    })
}

fn spawn(server: &Server, base: &Plain) -> io::Result<(PipeReader, Child)> {
    let (output, theirs) = io::pipe()?;
    fcntl_setfl(&output, OFlags::NONBLOCK)?;
    let options: &[&str] = match server.kind {
        Kind::Nginx => &["-t", "-q", "-c"],
        Kind::Httpd => &["-t", "-f"],
        Kind::Haproxy => &["-c", "-f"],
    };
    let child = Command::new(&server.program)
        .args(options)
        .arg(&server.config)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C")
        .env("OPENSSL_CONF", server.openssl_conf(base.as_path()))
        .env(
            "ENCLAVE_TLS_PKCS11_CONFIG",
            base.of_client(&server.client, MODULE_CONFIG).as_path(),
        )
        .envs(environment_of_httpd(server))
        .current_dir(Path::new("/"))
        .stdin(Stdio::null())
        .stderr(theirs.try_clone()?)
        .stdout(theirs)
        // Of its own, so that all of it can be stopped.
        .process_group(0)
        .spawn()?;
    Ok((output, child))
}

/// Debian's configuration of httpd names variables that its starting script sets. The running master has them; where none runs,
/// they stand for what that script has: directories that it makes are not there before, and a test writes nothing in them.
fn environment_of_httpd(server: &Server) -> Vec<(String, String)> {
    match server.kind {
        Kind::Nginx | Kind::Haproxy => Vec::new(),
        Kind::Httpd => {
            let master = Master::find(server).ok().flatten();
            let environment = master.and_then(|master| std::fs::read(format!("/proc/{}/environ", master.pid())).ok());
            let debians = || DEBIANS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            environment.map_or_else(debians, |environment| variables(&environment, "APACHE_"))
        }
    }
}

fn variables(environment: &[u8], prefix: &str) -> Vec<(String, String)> {
    let entries = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok());
    entries
        .filter_map(|entry| entry.split_once('='))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn stop(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself just now.
        let _ = kill_process_group(group, Signal::KILL);
    }
    drop(child.wait());
}

/// Until there is output, or for as long as the end of the program may go unnoticed.
fn wait(output: &PipeReader) {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let mut outputs = [PollFd::new(output, PollFlags::IN)];
    if poll(&mut outputs, Some(&pause)) != Ok(0) {
        // There is output, or its end, which would not make it wait again.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The end of what a program says.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Takes what is there, and does not wait.
    fn read(&mut self, output: &mut PipeReader) {
        let mut chunk = [0; 4_096];
        // Bounded: a program that writes without end is stopped by the clock, not waited for here.
        for _ in 0..16 {
            match output.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => self.0.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            }
            let surplus = self.0.len().saturating_sub(MAX_MESSAGE);
            self.0.drain(..surplus);
        }
    }

    /// Lines of text; what is not printable is escaped, since it ends in logs and terminals.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines = text.trim().lines().map(crate::printable);
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Those of `/etc/apache2/envvars`.
const DEBIANS: [(&str, &str); 6] = [
    ("APACHE_RUN_USER", "www-data"),
    ("APACHE_RUN_GROUP", "www-data"),
    ("APACHE_PID_FILE", "/run/apache2.pid"),
    ("APACHE_RUN_DIR", "/run"),
    ("APACHE_LOCK_DIR", "/run"),
    ("APACHE_LOG_DIR", "/var/log"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_said_is_kept_and_printable() {
        let (mut output, mut theirs) = io::pipe().unwrap();
        fcntl_setfl(&output, OFlags::NONBLOCK).unwrap();
        let text = "x".repeat(MAX_MESSAGE) + "\n\u{1b}[31mno such file\r\n";
        io::Write::write_all(&mut theirs, text.as_bytes()).unwrap();
        let mut tail = Tail::default();
        tail.read(&mut output);
        assert!(tail.0.len() <= MAX_MESSAGE);
        assert!(tail.text().ends_with("\n\\u{1b}[31mno such file"), "{}", tail.text());
    }

    const ONE_TEST: Duration = Duration::from_secs(30);

    fn run(script: &str, within: Duration) -> Result<(), TestError> {
        let scratch = crate::state::tests::Scratch::new();
        let program = scratch.path.join("server");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let text = format!(
            "[enclave]\nimage = \"/e.eif\"\n[clients.c]\ngroup = \"root\"\n[servers.s]\nkind = \"nginx\"\nclient = \"c\"\nprogram = \"{}\"\n",
            program.display()
        );
        let config = enclave_tls_config::Config::parse(&text, Path::new("config.toml")).unwrap();
        let server = config.servers.values().next().unwrap();
        let base = Plain::new(&scratch.path).unwrap();
        loop {
            match test(server, &base, within) {
                // Another test's child was started while the script was still open, and holds it for a moment.
                Err(TestError::Start { source, .. }) if source.kind() == io::ErrorKind::ExecutableFileBusy => {}
                outcome => return outcome,
            }
        }
    }

    #[test]
    fn a_test_is_the_servers_own_in_a_closed_environment() {
        assert!(run("test \"$*\" = '-t -q -c /etc/nginx/nginx.conf'", ONE_TEST).is_ok());
        let refusal = run("echo refused; env >&2; exit 3", ONE_TEST).unwrap_err().to_string();
        assert!(refusal.starts_with("refused\n"), "{refusal}");
        let names: std::collections::BTreeSet<_> = refusal
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name)
            .collect();
        let own = ["PWD", "OLDPWD", "SHLVL", "_"];
        let given: Vec<_> = names.into_iter().filter(|name| !own.contains(name)).collect();
        assert_eq!(given, ["ENCLAVE_TLS_PKCS11_CONFIG", "LANG", "OPENSSL_CONF", "PATH"]);
        assert!(refusal.contains("/clients/c/provider.cnf"), "{refusal}");
        assert!(
            run("exit 1", ONE_TEST)
                .unwrap_err()
                .to_string()
                .contains("does not say why")
        );
    }

    #[test]
    fn a_test_that_hangs_is_stopped_with_all_that_it_started() {
        let started = Instant::now();
        let error = run("sleep 61 & echo $!; wait", Duration::from_millis(300)).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5));
        let TestError::TooSlow { said, .. } = &error else {
            panic!("{error}")
        };
        assert!(error.to_string().contains("was stopped"), "{error}");
        // The system may not have collected it yet.
        let status = format!("/proc/{said}/status");
        let gone = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            std::fs::read_to_string(&status).map_or(true, |status| status.contains("State:\tZ"))
        });
        assert!(gone);
    }

    #[test]
    fn a_program_that_writes_without_end_is_stopped_too() {
        let error = run(
            "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
            Duration::from_millis(300),
        )
        .unwrap_err();
        assert!(
            matches!(&error, TestError::TooSlow { said, .. } if said.len() <= MAX_MESSAGE),
            "{error}"
        );
    }

    #[test]
    fn only_named_variables_are_taken() {
        let environment = b"A=1\0APACHE_RUN_DIR=/run/a=b\0APACHE\0LD_PRELOAD=x\0\xff=\0";
        let expected = [("APACHE_RUN_DIR".to_owned(), "/run/a=b".to_owned())];
        assert_eq!(variables(environment, "APACHE_"), expected);
    }
}
