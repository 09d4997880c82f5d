//! `nitro-cli`, run to its end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::enclave::{Description, Enclave};
use crate::error::{Complaint, NitroError, bounded};
use crate::exec::{self, Ended, ExecError};
use crate::json;

/// What can be asked about the enclaves of this instance; a test answers without any.
pub trait Cli {
    fn describe(&mut self) -> Result<Description, NitroError>;
    fn run(&mut self, options: &RunOptions) -> Result<Enclave, NitroError>;
    fn terminate(&mut self, which: &Which) -> Result<(), NitroError>;
}

/// The program. Each call runs it once, blocks until it has ended, and kills it at a bound.
#[derive(Clone, Debug)]
pub struct NitroCli {
    program: PathBuf,
}

impl NitroCli {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The enclaves of this instance.
    pub fn describe(&self) -> Result<Description, NitroError> {
        let ended = self.exec(DESCRIBE, &[], LOOK)?;
        // Where some processes did not answer, it lists the others and fails.
        let listed = json::described(&ended.stdout);
        match (ended.status.success(), listed) {
            (true, Ok(enclaves)) => Ok(Description {
                enclaves,
                incomplete: None,
            }),
            (true, Err(reason)) => Err(not_understood(DESCRIBE, &reason)),
            (false, Ok(enclaves)) => Ok(Description {
                enclaves,
                incomplete: Some(failed(DESCRIBE, &ended)),
            }),
            (false, Err(_)) => Err(failed(DESCRIBE, &ended)),
        }
    }

    /// Starts an enclave and waits until it has booted.
    pub fn run(&self, options: &RunOptions) -> Result<Enclave, NitroError> {
        let RunOptions {
            image,
            name,
            cid,
            cpus,
            memory_mib,
        } = options;
        let [cid, cpus, memory] = [u64::from(*cid), u64::from(*cpus), *memory_mib].map(|number| number.to_string());
        let arguments: [&OsStr; 10] = [
            "--eif-path".as_ref(),
            image.as_ref(),
            "--enclave-name".as_ref(),
            name.as_ref(),
            "--enclave-cid".as_ref(),
            cid.as_ref(),
            "--cpu-count".as_ref(),
            cpus.as_ref(),
            "--memory".as_ref(),
            memory.as_ref(),
        ];
        let ended = self.exec(RUN, &arguments, BOOT)?;
        if !ended.status.success() {
            return Err(failed(RUN, &ended));
        }
        let enclave = json::started(&ended.stdout).map_err(|reason| not_understood(RUN, &reason))?;
        match &enclave.name {
            // It renames instead of refusing. One that nobody looks for would hold CPUs and memory for ever.
            Some(given) if given != name => {
                let given = given.clone();
                self.terminate(&Which::Id(enclave.id))?;
                Err(NitroError::NameTaken {
                    name: name.clone(),
                    given,
                })
            }
            Some(_) | None => Ok(enclave),
        }
    }

    /// Ends an enclave and waits until it has ended.
    pub fn terminate(&self, which: &Which) -> Result<(), NitroError> {
        let (option, value) = match which {
            Which::Name(name) => ("--enclave-name", name),
            Which::Id(id) => ("--enclave-id", id),
        };
        let ended = self.exec(TERMINATE, &[option.as_ref(), value.as_ref()], END)?;
        if !ended.status.success() {
            return Err(failed(TERMINATE, &ended));
        }
        match json::terminated(&ended.stdout) {
            Ok(true) => Ok(()),
            Ok(false) => Err(NitroError::NotTerminated { which: value.clone() }),
            Err(reason) => Err(not_understood(TERMINATE, &reason)),
        }
    }

    /// What `--version` prints, for `check` and support.
    pub fn version(&self) -> Result<String, NitroError> {
        let ended = self.exec("--version", &[], LOOK)?;
        match ended.status.success() {
            true => Ok(bounded(&String::from_utf8_lossy(&ended.stdout), MAX_VERSION)),
            false => Err(failed("--version", &ended)),
        }
    }

    fn exec(&self, name: &'static str, arguments: &[&OsStr], patience: Duration) -> Result<Ended, NitroError> {
        let mut command = Command::new(&self.program);
        command.arg(name).args(arguments);
        // Of the supervisor's own unit: whatever the enclave's process does must not speak to systemd in our name.
        command.env_remove("NOTIFY_SOCKET");
        exec::run(&mut command, patience).map_err(|error| match error {
            ExecError::Spawn(source) => NitroError::NotStarted {
                program: self.program.clone(),
                source,
            },
            ExecError::TimedOut { stderr } => NitroError::TimedOut {
                command: name,
                after: patience,
                said: bounded(&String::from_utf8_lossy(&stderr), MAX_SAID),
            },
            ExecError::TooMuch => not_understood(name, "more than 256 KiB"),
            ExecError::Wait(source) => NitroError::Wait { command: name, source },
        })
    }
}

impl Cli for NitroCli {
    fn describe(&mut self) -> Result<Description, NitroError> {
        Self::describe(self)
    }

    fn run(&mut self, options: &RunOptions) -> Result<Enclave, NitroError> {
        Self::run(self, options)
    }

    fn terminate(&mut self, which: &Which) -> Result<(), NitroError> {
        Self::terminate(self, which)
    }
}

/// The enclave that shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOptions {
    pub image: PathBuf,
    pub name: String,
    pub cid: u32,
    pub cpus: u32,
    pub memory_mib: u64,
}

/// Which enclave to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Name(String),
    Id(String),
}

fn failed(command: &'static str, ended: &Ended) -> NitroError {
    let complaint = Complaint::parse(&ended.stderr, ended.status.to_string());
    NitroError::Failed { command, complaint }
}

fn not_understood(command: &'static str, reason: &str) -> NitroError {
    NitroError::NotUnderstood {
        command,
        reason: bounded(reason, MAX_SAID),
    }
}

const DESCRIBE: &str = "describe-enclaves";
const RUN: &str = "run-enclave";
const TERMINATE: &str = "terminate-enclave";

/// It asks local processes and gives each 3 s itself.
const LOOK: Duration = Duration::from_secs(10);
/// It copies the image into huge pages and waits until the enclave has booted.
const BOOT: Duration = Duration::from_secs(120);
/// Memory is scrubbed before it comes back.
const END: Duration = Duration::from_secs(60);
const MAX_SAID: usize = 512;
const MAX_VERSION: usize = 80;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Code;

    /// A program that says what a script says.
    fn cli(name: &str, script: &str) -> (NitroCli, PathBuf) {
        let dir = crate::test_dir(name);
        let program = dir.join("nitro-cli");
        // Written by another process: a child that a test beside this one forks meanwhile would hold it open, and it could not be run.
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"printf '#!/bin/sh\n%s\n' "$2" >"$1" && chmod 0755 "$1""#, "sh"]);
        assert!(shell.arg(&program).arg(script).status().unwrap().success());
        (NitroCli::new(program), dir)
    }

    fn options() -> RunOptions {
        RunOptions {
            image: "/a b.eif".into(),
            name: "enclave-tls".into(),
            cid: 16,
            cpus: 2,
            memory_mib: 128,
        }
    }

    const STARTED: &str = r#"{"EnclaveName": "NAME", "EnclaveID": "i-1-enc2", "ProcessID": 9, "EnclaveCID": 16, "NumberOfCPUs": 2, "CPUIDs": [1, 3], "MemoryMiB": 128}"#;

    #[test]
    fn the_arguments_are_nitro_clis_own() {
        let said = STARTED.replace("NAME", "enclave-tls");
        let (cli, dir) = cli(
            "arguments",
            &format!("for w; do echo \"$w\" >>\"${{0%/*}}/words\"; done; echo '{said}'"),
        );
        let enclave = cli.run(&options()).unwrap();
        assert_eq!((enclave.cid, enclave.process), (16, 9));
        let words = fs::read_to_string(dir.join("words")).unwrap();
        let wanted = "run-enclave\n--eif-path\n/a b.eif\n--enclave-name\nenclave-tls\n--enclave-cid\n16\n--cpu-count\n2\n--memory\n128\n";
        assert_eq!(words, wanted);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_renamed_enclave_is_ended_again() {
        let said = STARTED.replace("NAME", "enclave-tls_1");
        let script = format!(
            "echo \"$*\" >>\"${{0%/*}}/words\"; case $1 in run-enclave) echo '{said}';; *) echo '{{\"EnclaveID\": \"i-1-enc2\", \"Terminated\": true}}';; esac"
        );
        let (cli, dir) = cli("renamed", &script);
        let error = cli.run(&options()).unwrap_err();
        assert!(
            matches!(&error, NitroError::NameTaken { given, .. } if given == "enclave-tls_1"),
            "{error}"
        );
        let words = fs::read_to_string(dir.join("words")).unwrap();
        assert!(words.ends_with("terminate-enclave --enclave-id i-1-enc2\n"), "{words}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_partial_list_is_told_to_be_one() {
        let (cli, dir) = cli(
            "partial",
            "echo '[]'; echo 'Failed connections: 1' >&2; echo '[ E39 ] No.' >&2; exit 39",
        );
        let description = cli.describe().unwrap();
        assert!(description.enclaves.is_empty());
        assert_eq!(description.incomplete.unwrap().code(), Some(Code::NO_CONNECTION));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_fails_says_why() {
        let (first, dir) = cli("fails", "echo '[ E22 ] Too few.' >&2; exit 22");
        assert_eq!(first.run(&options()).unwrap_err().code(), Code::parse("E22"));
        assert_eq!(first.describe().unwrap_err().code(), Code::parse("E22"));
        fs::remove_dir_all(dir).unwrap();
        let (second, dir) = cli("garbage", "echo nonsense");
        assert!(matches!(second.describe(), Err(NitroError::NotUnderstood { .. })));
        assert!(matches!(second.run(&options()), Err(NitroError::NotUnderstood { .. })));
        fs::remove_dir_all(dir).unwrap();
        let missing = NitroCli::new("/nonexistent/nitro-cli").describe().unwrap_err();
        assert!(missing.advice().contains("aws-nitro-enclaves-cli"));
    }
}
