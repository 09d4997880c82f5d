//! The lab's agent run otherwise than the lab started it: in a small file system, with a clock of its own, with another metadata
//! service. It is as before when the value goes.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::process::{self, Signal};
use super::program::succeed;
use super::scratch::Scratch;
use super::{Lab, agent};

/// An agent in place of the lab's.
pub struct Otherwise<'a> {
    lab: &'a Lab,
    /// Where its state is, if that is a small file system which only it sees.
    small: Option<PathBuf>,
    _scratch: Scratch,
}

impl<'a> Otherwise<'a> {
    /// With these variables beside its own.
    pub fn with_environment(lab: &'a Lab, environment: &[(&str, &str)]) -> Result<Self> {
        let scratch = Scratch::new()?;
        agent::kill(lab, "agent")?;
        let otherwise = Self {
            lab,
            small: None,
            _scratch: scratch,
        };
        start(lab, &[], environment)?;
        Ok(otherwise)
    }

    /// With its state, as it is now, in a file system of 8 MiB.
    pub fn in_little_space(lab: &'a Lab) -> Result<Self> {
        let scratch = Scratch::new()?;
        let state = PathBuf::from(lab.configured("state")?);
        let (from, there) = (state.display().to_string(), scratch.path().display().to_string());
        agent::kill(lab, "agent")?;
        let otherwise = Self {
            lab,
            small: Some(state),
            _scratch: scratch,
        };
        let wrapper = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            SMALL,
            "sh",
            &from,
            &there,
        ];
        start(lab, &wrapper, &[])?;
        Ok(otherwise)
    }

    /// A file of its state, as it sees it.
    pub fn state_file(&self, name: &str) -> Result<PathBuf> {
        let state = self.small.as_deref().context("its state is where everybody sees it")?;
        let pid = agent::pid(self.lab, "agent")?;
        let inside = state.strip_prefix("/").context("no absolute path")?;
        Ok(Path::new(&format!("/proc/{pid}/root")).join(inside).join(name))
    }

    /// Leaves not a byte. Returns the file that takes the room.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.state_file("fill")?;
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        for size in [65_536, 4_096, 1] {
            loop {
                match file.write(&vec![0; size]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        ensure!(file.write(&[0]).is_err(), "there is room left");
        Ok(path)
    }

    fn as_before(&self) -> Result<()> {
        if let Some(state) = &self.small {
            // Stopped, so that what is copied is of one moment.
            let pid = agent::pid(self.lab, "agent")?;
            process::signal(pid, Signal::STOP)?;
            let copied = self.copy_back(state);
            process::signal(pid, Signal::CONT)?;
            copied?;
        }
        if agent::pid(self.lab, "agent").is_ok() {
            agent::kill(self.lab, "agent")?;
        }
        start(self.lab, &[], &[])
    }

    fn copy_back(&self, state: &Path) -> Result<()> {
        let inside = self.state_file(".")?;
        for entry in fs::read_dir(state)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }?;
        }
        succeed(Command::new("cp").arg("-a").arg(inside).arg(state)).map(drop)
    }
}

impl Drop for Otherwise<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.as_before() {
            eprintln!("the lab's agent is not as it was: {error:#}");
        }
    }
}

/// Starts it, and again where it ended at once, as its unit would: the one before may not have let go of its directory yet.
fn start(lab: &Lab, wrapper: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let mut child = spawn(lab, wrapper, environment)?;
    process::wait_until(Duration::from_secs(30), "the agent otherwise", || {
        if matches!(child.try_wait(), Ok(Some(_)))
            && let Ok(again) = spawn(lab, wrapper, environment)
        {
            child = again;
        }
        agent::pid(lab, "agent").is_ok() && agent::report(lab).is_ok()
    })
}

fn spawn(lab: &Lab, wrapper: &[&str], environment: &[(&str, &str)]) -> Result<Child> {
    let words = lab.commands.get("agent").context("no agent")?;
    let all: Vec<&str> = wrapper
        .iter()
        .copied()
        .chain(words.iter().map(String::as_str))
        .collect();
    let (program, arguments) = all.split_first().context("no words")?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(lab.logs.join("agent.log"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(&lab.aws_env)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    command.spawn().context("the agent does not start")
}

/// State, directory for the small file system; then the agent's words.
const SMALL: &str = r#"set -e; state=$1; small=$2; shift 2
mount -t tmpfs -o size=8m,mode=0700 tmpfs "$small"
cp -a "$state/." "$small/"
mount --bind "$small" "$state"
exec "$@""#;
