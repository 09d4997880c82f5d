//! A second service beside the lab's, with an image or a policy of its own, on the lab's NSM, KMS and S3.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Lab;
use super::process;
use super::program::{Ran, run, succeed};
use super::scratch::Scratch;

/// What a second service is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its image: PCR0, in hexadecimal.
    pub pcr0: String,
    /// Its policy.
    pub policy: String,
    /// Whether the parent has a copy of the lab's sealed states to give it.
    pub with_lab_states: bool,
}

impl Options {
    /// The same image and policy as the lab's.
    pub fn like(lab: &Lab) -> Result<Self> {
        Ok(Self {
            pcr0: lab.attestation.pcrs[0].clone(),
            policy: fs::read_to_string(&lab.attestation.policy)?,
            with_lab_states: true,
        })
    }
}

/// A service and its agent; both end with it.
pub struct Second<'a> {
    lab: &'a Lab,
    dir: Scratch,
    agent: Child,
    service: Child,
}

impl<'a> Second<'a> {
    /// Starts both, and waits until the service has been told all that there is.
    pub fn start(lab: &'a Lab, options: &Options) -> Result<Self> {
        let dir = Scratch::new()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700))?;
        let nsm = dir.file("nsm");
        copy(lab.attestation.nsm()?, &nsm)?;
        let registers = fs::read_to_string(nsm.join("nsm.toml"))?;
        fs::write(
            nsm.join("nsm.toml"),
            registers.replace(&lab.attestation.pcrs[0], &options.pcr0),
        )?;
        dir.write("policy.toml", &options.policy)?;
        let replay = dir.file("replay");
        fs::create_dir(&replay)?;
        fs::set_permissions(&replay, fs::Permissions::from_mode(0o700))?;
        let theirs = PathBuf::from(lab.configured("state")?);
        copy(&theirs.join("credentials"), &replay.join("credentials"))?;
        if options.with_lab_states {
            copy(&theirs.join("sealed"), &replay.join("sealed"))?;
        }
        let unix = |name: &str| format!("unix:{}", dir.file(name).display());
        let config = dir.write("config.toml", &configuration(lab, &dir)?)?;
        let text = |name: &str| dir.file(name).display().to_string();
        let own = [
            ("--control", unix("control.sock")),
            ("--egress", unix("egress.sock")),
            ("--policy", text("policy.toml")),
            ("--signing", unix("signing.sock")),
            ("--nsm", text("nsm")),
        ];
        let agent = words(lab, "agent", &[("--config", config.display().to_string())])?;
        let mut agent = started(&agent, &lab.aws_env, &dir.file("agent.log"))?;
        let service = match started(
            &words(lab, "service", &own)?,
            &Default::default(),
            &dir.file("service.log"),
        ) {
            Ok(service) => service,
            Err(error) => {
                end(&mut agent);
                return Err(error);
            }
        };
        let second = Self {
            lab,
            dir,
            agent,
            service,
        };
        let greeted = || second.log().contains("replayed ");
        process::wait_until(LIMIT, "the second service to be greeted", greeted).with_context(|| second.log())?;
        Ok(second)
    }

    /// Ends the service and starts it again, with all that the parent has kept.
    pub fn restart_service(&mut self) -> Result<()> {
        end(&mut self.service);
        let before = self.log().matches("replayed ").count();
        let own = [
            ("--control", format!("unix:{}", self.dir.file("control.sock").display())),
            ("--egress", format!("unix:{}", self.dir.file("egress.sock").display())),
            ("--policy", self.dir.file("policy.toml").display().to_string()),
            ("--signing", format!("unix:{}", self.dir.file("signing.sock").display())),
            ("--nsm", self.dir.file("nsm").display().to_string()),
        ];
        let words = words(self.lab, "service", &own)?;
        self.service = started(&words, &Default::default(), &self.dir.file("service.log"))?;
        let greeted = || self.log().matches("replayed ").count() > before;
        process::wait_until(LIMIT, "the second service to be greeted again", greeted).with_context(|| self.log())
    }

    /// Runs one command, whatever comes of it.
    pub fn try_ctl(&self, arguments: &[&str]) -> Result<Ran> {
        run(self.command().args(arguments))
    }

    /// Runs one command and returns its JSON.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Value> {
        let printed = succeed(self.command().arg("--json").args(arguments))?;
        serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed}"))
    }

    /// The labels of its keys, in order.
    pub fn labels(&self) -> Result<Vec<String>> {
        let listed = self.ctl(&["list"])?;
        let keys = listed["keys"].as_array().context("no list of keys")?;
        let names = keys.iter().filter_map(|key| key["name"].as_str());
        let mut labels: Vec<String> = names.map(str::to_owned).collect();
        labels.sort();
        Ok(labels)
    }

    /// What the agent said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.file("agent.log")).unwrap_or_default()
    }

    /// What the service said.
    pub fn service_log(&self) -> String {
        fs::read_to_string(self.dir.file("service.log")).unwrap_or_default()
    }

    /// Its directory: `policy.toml`, `nsm`, `replay`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.file(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.lab.ctl);
        command.arg("--socket").arg(self.dir.file("ctl.sock"));
        command
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        end(&mut self.service);
        end(&mut self.agent);
    }
}

fn end(child: &mut Child) {
    drop(child.kill()); // it may have ended by itself
    drop(child.wait());
}

/// The words by which the lab started a process, with other values for some options.
fn words(lab: &Lab, name: &str, own: &[(&str, String)]) -> Result<Vec<String>> {
    let mut words = lab
        .commands
        .get(name)
        .with_context(|| format!("the lab started no {name}"))?
        .clone();
    for at in 1..words.len() {
        if let Some((_, value)) = own.iter().find(|(option, _)| words[at - 1] == *option) {
            words[at].clone_from(value);
        }
    }
    Ok(words)
}

/// The lab's configuration, with this directory's files in place of the lab's.
fn configuration(lab: &Lab, dir: &Scratch) -> Result<String> {
    let file = |name: &str| dir.file(name).display().to_string();
    let own = [
        ("signing", format!("unix:{}", file("signing.sock"))),
        ("control", format!("unix:{}", file("control.sock"))),
        ("egress", format!("unix:{}", file("egress.sock"))),
        ("logs", format!("unix:{}", file("logs.sock"))),
        ("state", file("replay")),
        ("admin_socket", file("ctl.sock")),
        ("apply_socket", file("apply.sock")),
        ("metrics", "none".to_owned()),
    ];
    let text = fs::read_to_string(&lab.config)?;
    // Without the inventory, which would have it make what a test wants to be absent.
    let mut in_inventory = false;
    let kept = text.lines().filter(|line| {
        if line.starts_with('[') {
            in_inventory = ["[acme.", "[clients.", "[servers.", "[[certificates]]"]
                .iter()
                .any(|table| line.starts_with(table));
        }
        !in_inventory
    });
    let line = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        match own.iter().find(|(own, _)| *own == key) {
            Some((key, value)) => format!("{key} = \"{value}\"\n"),
            None => format!("{line}\n"),
        }
    };
    Ok(kept.map(line).collect())
}

fn started(words: &[String], env: &std::collections::BTreeMap<String, String>, log: &Path) -> Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).envs(env).stdin(Stdio::null());
    command
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| words.join(" "))
}

/// A directory of files, one level deep.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// KMS may be asked again and again before it is told.
const LIMIT: Duration = Duration::from_secs(30);
