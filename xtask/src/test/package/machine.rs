//! A systemd of its own on a copy of this system: no virtual machine, but namespaces and an overlay, which end with it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{self, Identity, wait_until};

/// It runs; dropped, it and what it needed are gone.
pub(super) struct Machine {
    child: Child,
    /// PID 1 of the machine, as it is called outside.
    init: Identity,
    /// Goes when all inside is gone.
    _place: Place,
}

/// What the machine needs outside.
struct Place {
    dir: PathBuf,
    group: PathBuf,
}

impl Machine {
    /// Why this system does not let it run, if it does not.
    pub(super) fn obstacle(packages: &Path) -> Option<String> {
        let tried = Place::new().and_then(|place| process::run(&mut place.command(packages, &["/bin/true"])));
        tried.err().map(|error| format!("{error:#}").replace('\n', " "))
    }

    pub(super) fn boot(packages: &Path) -> Result<Self> {
        let place = Place::new()?;
        let log = place.dir.with_extension("log");
        let mut command = place.command(packages, &INIT);
        let console = fs::File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        // The terminal's Ctrl-C is not for it: whoever gets it ends the machine.
        let child = command.process_group(0).spawn()?;
        let mut init = None;
        wait_until(Duration::from_secs(10), || {
            init = process::children(child.id()).first().copied().and_then(Identity::of);
            init.is_some()
        });
        let machine = Self {
            init: init.with_context(|| fs::read_to_string(&log).unwrap_or_default())?,
            child,
            _place: place,
        };
        let is_up = || machine.run("systemctl is-active trial.target").is_ok();
        let up = wait_until(Duration::from_secs(60), is_up);
        ensure!(up, "it did not boot: {}", fs::read_to_string(&log).unwrap_or_default());
        Ok(machine)
    }

    /// Runs lines of shell inside, and returns what they say.
    pub(super) fn run(&self, script: &str) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target"]).arg(self.init.pid.to_string());
        command.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        command.args(["timeout", PATIENCE, "sh", "-eu", "-c", script]);
        process::capture(&mut command)
    }

    /// Whether a line of shell comes to succeed.
    pub(super) fn becomes(&self, limit: Duration, script: &str) -> Result<()> {
        let mut last = String::new();
        let so = wait_until(limit, || match self.run(script) {
            Ok(_) => true,
            Err(error) => {
                last = format!("{error:#}");
                sleep(Duration::from_millis(200));
                false
            }
        });
        if so {
            return Ok(());
        }
        bail!("not within {} s: {last}", limit.as_secs())
    }

    /// A file inside, as it is called outside.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init.pid))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All inside ends with its PID 1, and that with its parent.
        drop(self.child.kill());
        drop(self.child.wait());
        wait_until(Duration::from_secs(10), || !self.init.is_alive());
    }
}

impl Place {
    fn new() -> Result<Self> {
        let name = format!("enclave-tls-trial-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let hierarchy = hierarchy()?;
        for entry in fs::read_dir(&hierarchy)?.flatten() {
            // Of a run that was killed. One that runs has processes in it, and stays.
            if entry.file_name().to_string_lossy().starts_with("enclave-tls-trial-") {
                remove_groups(&entry.path());
            }
        }
        let place = Self {
            dir,
            group: hierarchy.join(name),
        };
        fs::create_dir(&place.group).with_context(|| place.group.display().to_string())?;
        Ok(place)
    }

    /// The script that makes a copy of this system, and becomes `init` in it.
    fn command(&self, packages: &Path, init: &[&str]) -> Command {
        let mut command = Command::new("sh");
        // Into the group first: what a namespace of groups shows is what its first process is in.
        let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", enter]).arg(&self.group);
        // Nor does it outlive whoever is killed here.
        command.args(["setpriv", "--pdeathsig", "KILL"]);
        command.args([
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--net",
            "--uts",
            "--ipc",
            "--cgroup",
        ]);
        command
            .args(["sh", "-c", BOOT, "boot"])
            .arg(&self.dir)
            .arg(packages)
            .args(init);
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        wait_until(Duration::from_secs(5), || {
            remove_groups(&self.group);
            !self.group.exists()
        });
        drop(fs::remove_dir(&self.dir)); // a mount point, empty outside
        drop(fs::remove_file(self.dir.with_extension("log")));
    }
}

/// Where control groups of version 2 are.
fn hierarchy() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let found = lines.find_map(|words| (words.get(2) == Some(&"cgroup2")).then(|| words.get(1).map(PathBuf::from)));
    found
        .flatten()
        .context("this system has no control groups of version 2")
}

/// From the innermost outwards; those with processes stay.
fn remove_groups(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            remove_groups(&child.path());
        }
    }
    drop(fs::remove_dir(group));
}

const BOOT: &str = include_str!("boot.sh");
const INIT: [&str; 6] = [
    "/lib/systemd/systemd",
    "--system",
    "--unit=trial.target",
    "--log-target=journal",
    "--log-level=notice",
    "--show-status=no",
];
/// In seconds. A supervisor that is asked to stop ends its enclave first.
const PATIENCE: &str = "90";
