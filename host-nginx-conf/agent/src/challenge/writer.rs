//! Whoever writes TXT records: a program of the administrator's, or [`Route53`].

use std::process::Command;
use std::time::Duration;

use enclave_tls_config::{Dns01, Program};
use enclave_tls_nitro::exec;

use super::route53::Route53;
use crate::log::Event;

/// Writes TXT records. Each call may take as long as its bound.
pub(super) trait Writer: Send + Sync {
    /// Adds a text to a record. What is to be asked about until everybody sees it, if anything.
    fn present(&self, record: &str, value: &str) -> Result<Option<Change>, String>;

    /// Whether everybody sees it.
    fn is_done(&self, change: &Change) -> Result<bool, String>;

    /// Takes the text away. One that is not there is no error.
    fn cleanup(&self, record: &str, value: &str) -> Result<(), String>;

    /// The name under which the record is really written, where that is longer.
    fn written_as(&self, record: &str) -> String {
        record.to_owned()
    }
}

/// A change that is under way: its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change(pub(super) String);

/// What the configuration names.
pub(super) fn of(config: &Dns01, profile: Option<String>) -> Box<dyn Writer> {
    match config {
        Dns01::Hook(program) => Box::new(Hook(program.clone())),
        Dns01::Route53(place) => Box::new(Route53::new(place.clone(), profile)),
    }
}

/// A program, run without a shell as `PROGRAM … present|cleanup RECORD VALUE`, by the agent's user. It ends with 0 once everybody sees
/// the record, and takes away what is not there without complaint.
struct Hook(Program);

impl Hook {
    fn run(&self, action: &str, record: &str, value: &str) -> Result<(), String> {
        let Program { program, arguments } = &self.0;
        let mut command = Command::new(program);
        command.args(arguments).args([action, record, value]);
        command.env_clear().env("PATH", PATH).current_dir("/");
        let name = program.display();
        let ended = exec::run(&mut command, LONGEST).map_err(|error| format!("{name} {action} {record}: {error}"))?;
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if !ended.status.success() {
            return Err(format!("{name} {action} {record}: {}: {}", ended.status, said.trim()));
        }
        Event::ChallengeHook.say(format_args!("{name} {action} {record}: {}", said.trim()));
        Ok(())
    }
}

impl Writer for Hook {
    fn present(&self, record: &str, value: &str) -> Result<Option<Change>, String> {
        self.run("present", record, value).map(|()| None)
    }

    fn is_done(&self, _: &Change) -> Result<bool, String> {
        Ok(true)
    }

    fn cleanup(&self, record: &str, value: &str) -> Result<(), String> {
        self.run("cleanup", record, value)
    }
}

/// Slower DNS services take some minutes. The enclave asks for ten.
const LONGEST: Duration = Duration::from_mins(5);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
