//! Programs of the administrator's, run when something has happened: one after another, beside everything else. Nothing waits for them.

use std::process::Command;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use enclave_tls_config::{Config, Program};
use enclave_tls_nitro::exec;
use enclave_wire::control::KeyInfo;

use super::Keeper;
use super::world::{Enclave, Helper};
use crate::log::Event;

/// Where hooks are run.
pub(super) struct Hooks {
    queue: SyncSender<Run>,
}

/// A program to run, and what it is told.
struct Run {
    program: Program,
    certificate: String,
    environment: Vec<(&'static str, String)>,
}

impl Hooks {
    pub(super) fn new() -> Self {
        let (queue, runs) = sync_channel::<Run>(MOST);
        std::thread::spawn(move || runs.into_iter().for_each(|run| run.run()));
        Self { queue }
    }
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Has `after_rotation` run, if there is one. `happened`: `rotated`, `taken-back` or `rolled-back`.
    pub(super) fn run_hook(&self, config: &Config, key: &KeyInfo, happened: &'static str) {
        let Some(program) = config.hooks.after_rotation.clone() else {
            return;
        };
        let mut environment = vec![
            ("ENCLAVE_TLS_HAPPENED", happened.to_owned()),
            ("ENCLAVE_TLS_CERTIFICATE", key.name.to_string()),
            ("ENCLAVE_TLS_GENERATION", key.generation.to_string()),
            ("ENCLAVE_TLS_KEY", key.id.to_string()),
        ];
        environment.extend(self.chains.serial(key).map(|serial| ("ENCLAVE_TLS_SERIAL", serial)));
        let end = key.validity.map(|validity| validity.not_after.to_string());
        environment.extend(end.map(|end| ("ENCLAVE_TLS_NOT_AFTER", end)));
        let run = Run {
            program,
            certificate: key.name.to_string(),
            environment,
        };
        if let Err(TrySendError::Full(run) | TrySendError::Disconnected(run)) = self.hooks.queue.try_send(run) {
            Event::HookFailed.say(format_args!(
                "after_rotation is not run for {}: {MOST} runs wait already",
                run.certificate
            ));
        }
    }
}

impl Run {
    fn run(&self) {
        let Program { program, arguments } = &self.program;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(self.environment.iter().map(|(key, value)| (*key, value)));
        command.current_dir("/");
        let name = program.display();
        let certificate = &self.certificate;
        match exec::run(&mut command, LONGEST) {
            Ok(ended) => {
                let said = [ended.stdout, ended.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                let event = if ended.status.success() {
                    Event::HookRan
                } else {
                    Event::HookFailed
                };
                event.say(format_args!(
                    "{name} for {certificate}: {}: {}",
                    ended.status,
                    said.trim()
                ));
            }
            Err(error) => Event::HookFailed.say(format_args!("{name} for {certificate}: {error}")),
        }
    }
}

/// Runs that wait: a thousand certificates that change at once.
const MOST: usize = 1_024;
/// A program that takes longer is killed, with all that it started in its own process group.
const LONGEST: Duration = Duration::from_secs(60);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::clock::tests::Directory;

    fn run(directory: &Directory, script: &str) -> Run {
        let arguments = [
            "-c".to_owned(),
            script.replace("DIR", &directory.path().display().to_string()),
        ];
        Run {
            program: Program {
                program: "/bin/sh".into(),
                arguments: arguments.to_vec(),
            },
            certificate: "www".to_owned(),
            environment: vec![("ENCLAVE_TLS_CERTIFICATE", "www".to_owned())],
        }
    }

    #[test]
    fn one_after_another_with_nothing_in_the_environment_but_what_is_said() {
        let directory = Directory::new();
        let hooks = Hooks::new();
        for script in ["env > DIR/one; echo a line", "exit 3", "cat DIR/one > DIR/two"] {
            hooks.queue.try_send(run(&directory, script)).ok().unwrap();
        }
        let end = Instant::now() + Duration::from_secs(30);
        let two = directory.path().join("two");
        while fs::read_to_string(&two).map_or(0, |text| text.len()) == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = fs::read_to_string(two).unwrap();
        let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
        names.retain(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name));
        names.sort_unstable();
        assert_eq!(names, ["ENCLAVE_TLS_CERTIFICATE", "PATH"]);
        assert!(
            text.contains("ENCLAVE_TLS_CERTIFICATE=www\n") && text.contains("PWD=/\n"),
            "{text}"
        );
    }
}
