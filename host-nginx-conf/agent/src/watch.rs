//! Looks whether the enclave runs, and ends one that no longer answers on any plane; its own unit then starts it again.
//!
//! Ending an enclave ends the keys that are not sealed, so it is the last resort: not for AWS that is away, nor for a control
//! connection that is missing while the signing plane answers, nor soon.

use std::sync::Arc;
use std::time::Duration;

use enclave_tls_admin::report;
use enclave_tls_config::Config;
use enclave_tls_nitro::{
    Adoption, Cli, Description, Measurements, RunOptions, State, Which, adopt, image_measurements,
};

use crate::Shared;
use crate::clock::{Bell, Clock};
use crate::log::Event;

/// What is looked at.
pub(crate) struct Watch<C> {
    cli: C,
    clock: Arc<dyn Clock>,
    /// Whether the control plane is connected.
    is_connected: Box<dyn Fn() -> bool + Send>,
    /// Whether the signing plane answers.
    signs: Box<dyn Fn() -> bool + Send>,
    /// When either was last so, in [`Clock::monotonic`].
    answered: Duration,
    /// When the control plane was first connected in this row, UTC.
    connected: Option<i64>,
    ended: u64,
    said: Option<String>,
    pub(crate) found: Arc<Shared<report::Enclave>>,
}

impl<C: Cli> Watch<C> {
    pub(crate) fn new(
        cli: C,
        clock: Arc<dyn Clock>,
        is_connected: impl Fn() -> bool + Send + 'static,
        signs: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        let answered = clock.monotonic();
        Self {
            cli,
            clock,
            is_connected: Box::new(is_connected),
            signs: Box::new(signs),
            answered,
            connected: None,
            ended: 0,
            said: None,
            found: Arc::default(),
        }
    }

    /// Looks again and again, for ever.
    pub(crate) fn run(mut self, config: &Shared<Arc<Config>>, bell: &Bell) {
        loop {
            let now_config = Arc::clone(&config.lock());
            self.look(&now_config);
            self.clock.wait(bell, EVERY);
        }
    }

    /// Looks once.
    pub(crate) fn look(&mut self, config: &Config) {
        let now = self.clock.monotonic();
        let is_connected = (self.is_connected)();
        self.connected = match (is_connected, self.connected) {
            (true, None) => Some(self.clock.now()),
            (true, since) => since,
            (false, _) => None,
        };
        let mut found = report::Enclave {
            name: config.enclave.name.to_string(),
            cid: config.enclave.cid,
            connected_since: self.connected,
            ..report::Enclave::default()
        };
        let running = self.describe(config, &mut found);
        if is_connected || (running.is_some() && (self.signs)()) {
            self.answered = now;
        }
        let silent = now.saturating_sub(self.answered);
        if let Some(id) = running.filter(|_| silent >= STALLED) {
            Event::EnclaveStalled.say(format_args!(
                "the enclave {id} runs and has answered on no plane for {} s; it is ended, so that its unit starts it again",
                silent.as_secs()
            ));
            match self.cli.terminate(&Which::Id(id)) {
                Ok(()) => self.ended = self.ended.saturating_add(1),
                Err(error) => found.problem = Some(error.to_string()),
            }
            // The next one has as long to come.
            self.answered = now;
        }
        found.ended_stalled = self.ended;
        if found.problem != self.said {
            if let Some(problem) = &found.problem {
                Event::EnclaveProblem.say(format_args!("the enclave: {problem}"));
            }
            self.said.clone_from(&found.problem);
        }
        *self.found.lock() = found;
    }

    /// What `nitro-cli` says. The id of the enclave, if it runs.
    fn describe(&mut self, config: &Config, found: &mut report::Enclave) -> Option<String> {
        let description = match self.cli.describe() {
            Ok(description) => description,
            Err(error) => {
                "unknown".clone_into(&mut found.state);
                found.problem = Some(error.to_string());
                return None;
            }
        };
        let Some(enclave) = description.named(config.enclave.name.as_str()) else {
            "absent".clone_into(&mut found.state);
            found.problem = Some(
                "it does not run; `systemctl status enclave-tls-enclave` says what became of it, and `journalctl -u enclave-tls-enclave` \
                 why"
                .to_owned(),
            );
            return None;
        };
        found.state = enclave.state.to_string();
        found.id = Some(enclave.id.clone());
        found.cid = enclave.cid;
        (found.image_matches, found.problem) = compare(config, &description);
        if let Some(measurements) = &enclave.measurements {
            found.measurements = named(measurements);
        }
        (enclave.state == State::Running).then(|| enclave.id.clone())
    }
}

/// What `nitro-cli` shall be asked for.
pub(crate) fn options(config: &Config) -> RunOptions {
    RunOptions {
        image: config.enclave.image.clone(),
        name: config.enclave.name.to_string(),
        cid: config.enclave.cid,
        cpus: config.enclave.cpus,
        memory_mib: u64::from(config.enclave.memory),
    }
}

/// Whether what runs is the configured image; and what is not as configured, in words.
fn compare(config: &Config, description: &Description) -> (Option<bool>, Option<String>) {
    let image = image_measurements(&config.enclave.image);
    let known = image.as_ref().ok();
    match adopt(description, &options(config), known) {
        Adoption::Absent => (None, None),
        Adoption::Same(_) => (known.map(|_| true), image.err().map(|error| error.to_string())),
        Adoption::Different(enclave, differences) => {
            let same = match (known, &enclave.measurements) {
                (Some(image), Some(running)) => Some(image.registers() == running.registers()),
                _ => None,
            };
            let said: Vec<_> = differences.iter().map(ToString::to_string).collect();
            (
                same,
                Some(format!(
                    "it runs otherwise than configured ({}); `systemctl restart enclave-tls-enclave` starts it as configured, and ends \
                     keys that are not sealed",
                    said.join("; ")
                )),
            )
        }
        Adoption::Refused(refusal) => (Some(false), Some(format!("{refusal}; {}", refusal.advice()))),
    }
}

fn named(measurements: &Measurements) -> std::collections::BTreeMap<String, String> {
    let registers = measurements.registers().into_iter();
    registers
        .filter(|(_, value)| !value.is_zero())
        .map(|(number, value)| (format!("PCR{number}"), value.to_string()))
        .collect()
}

const EVERY: Duration = Duration::from_secs(10);
/// An enclave boots in seconds and dials ten times a second; a machine that is short of CPU may take far longer.
const STALLED: Duration = Duration::from_secs(60);
