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
use crate::keeper::troubles;
use crate::log::Event;

/// What is looked at.
pub(crate) struct Watch<C> {
    cli: C,
    clock: Arc<dyn Clock>,
    /// Whether the control plane is connected.
    is_connected: Box<dyn Fn() -> bool + Send>,
    /// Whether the signing plane answers.
    signs: Box<dyn Fn() -> bool + Send>,
    /// The enclave that runs and answers on no plane; for how long it was seen so, and when last, in [`Clock::monotonic`].
    silent: Option<Silence>,
    /// When the control plane was first connected in this row, UTC.
    connected: Option<i64>,
    ended: u64,
    said: Option<String>,
    pub(crate) found: Arc<Shared<report::Enclave>>,
}

struct Silence {
    id: String,
    lasted: Duration,
    seen: Duration,
}

impl<C: Cli> Watch<C> {
    pub(crate) fn new(
        cli: C,
        clock: Arc<dyn Clock>,
        is_connected: impl Fn() -> bool + Send + 'static,
        signs: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        Self {
            cli,
            clock,
            is_connected: Box::new(is_connected),
            signs: Box::new(signs),
            silent: None,
            connected: None,
            ended: 0,
            said: None,
            found: Arc::default(),
        }
    }

    /// Looks again and again, for ever; soon where the bell rings.
    pub(crate) fn run(mut self, config: &Shared<Arc<Config>>, bell: &Bell) {
        loop {
            let now_config = Arc::clone(&config.lock());
            self.look(&now_config);
            if self.clock.wait(bell, EVERY) {
                // `nitro-cli` may learn of an enclave after it has dialled; and one that comes and goes is not looked at each time.
                self.clock.wait(&Bell::default(), SOON);
            }
        }
    }

    /// Looks once.
    pub(crate) fn look(&mut self, config: &Config) {
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
        // One of which nothing is known is not silent, and neither is one that has just come.
        let silent = running.filter(|_| !is_connected && !(self.signs)());
        self.silent = silent.map(|id| self.silence_of(id));
        if let Some(Silence { id, lasted, .. }) = self.silent.take_if(|silent| silent.lasted >= STALLED) {
            Event::EnclaveStalled.say(format_args!(
                "the enclave {id} runs and has answered on no plane for {} s; it is ended, so that its unit starts it again",
                lasted.as_secs()
            ));
            match self.cli.terminate(&Which::Id(id)) {
                Ok(()) => self.ended = self.ended.saturating_add(1),
                Err(error) => found.problem = Some(error.to_string()),
            }
        }
        found.ended_stalled = self.ended;
        if differ(found.problem.as_deref(), self.said.as_deref()) {
            if let Some(problem) = &found.problem {
                Event::EnclaveProblem.say(format_args!("the enclave: {problem}"));
            }
            self.said.clone_from(&found.problem);
        }
        *self.found.lock() = found;
    }

    /// For how long it has been silent. Between two looks no more than twice the usual time is counted: whoever was stopped meanwhile
    /// saw nothing.
    fn silence_of(&self, id: String) -> Silence {
        let now = self.clock.monotonic();
        let before = self.silent.as_ref().filter(|before| before.id == id);
        let lasted = before.map_or(Duration::ZERO, |before| {
            let since = now.saturating_sub(before.seen).min(EVERY.saturating_mul(2));
            before.lasted.saturating_add(since)
        });
        Silence { id, lasted, seen: now }
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

/// Whether there is anything new to say.
fn differ(problem: Option<&str>, said: Option<&str>) -> bool {
    match (problem, said) {
        (Some(problem), Some(said)) => troubles::differ(problem, said),
        (problem, said) => problem != said,
    }
}

fn named(measurements: &Measurements) -> std::collections::BTreeMap<String, String> {
    let registers = measurements.registers().into_iter();
    registers
        .filter(|(_, value)| !value.is_zero())
        .map(|(number, value)| (format!("PCR{number}"), value.to_string()))
        .collect()
}

const SOON: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(10);
/// An enclave boots in seconds and dials ten times a second; a machine that is short of CPU may take far longer.
const STALLED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use enclave_tls_nitro::{Enclave, Flags, NitroError};

    use super::*;
    use crate::clock::tests::Simulated;

    /// What `nitro-cli` says, and what it was told.
    #[derive(Default)]
    struct Told {
        /// None: it fails. Else the id and state of what is there.
        there: Mutex<Option<Vec<(&'static str, State)>>>,
        ended: Mutex<Vec<String>>,
        refuses: AtomicBool,
    }

    fn failed() -> NitroError {
        NitroError::NotUnderstood {
            command: "describe-enclaves",
            reason: "nothing".to_owned(),
        }
    }

    /// Reports what it is told.
    struct Pretended(Arc<Told>);

    impl Cli for Pretended {
        fn describe(&mut self) -> Result<Description, NitroError> {
            let there = self.0.there.lock().unwrap().clone().ok_or_else(failed)?;
            let one = |(id, state): (&'static str, State)| Enclave {
                name: Some("enclave-tls".to_owned()),
                id: id.to_owned(),
                process: 1,
                cid: 16,
                cpus: 2,
                cpu_ids: vec![1, 3],
                memory_mib: 128,
                state,
                flags: Flags::None,
                measurements: None,
            };
            Ok(Description {
                enclaves: there.into_iter().map(one).collect(),
                incomplete: None,
            })
        }

        fn run(&mut self, _: &RunOptions) -> Result<Enclave, NitroError> {
            panic!("the agent starts no enclave")
        }

        fn terminate(&mut self, which: &Which) -> Result<(), NitroError> {
            let (Which::Id(id) | Which::Name(id)) = which;
            if self.0.refuses.load(Ordering::SeqCst) {
                return Err(failed());
            }
            self.0.ended.lock().unwrap().push(id.clone());
            Ok(())
        }
    }

    struct World {
        clock: Arc<Simulated>,
        told: Arc<Told>,
        planes: Arc<[AtomicBool; 2]>,
        config: Config,
        watch: Watch<Pretended>,
    }

    impl World {
        /// One that runs and is silent.
        fn silent() -> Self {
            let (clock, told) = (Simulated::new(), Arc::new(Told::default()));
            let planes: Arc<[AtomicBool; 2]> = Arc::default();
            let (control, signing) = (Arc::clone(&planes), Arc::clone(&planes));
            let watch = Watch::new(
                Pretended(Arc::clone(&told)),
                clock.clone(),
                move || control[0].load(Ordering::SeqCst),
                move || signing[1].load(Ordering::SeqCst),
            );
            let world = Self {
                clock,
                told,
                planes,
                config: crate::keeper::tests::config(""),
                watch,
            };
            world.there(Some(vec![("i-1", State::Running)]));
            world
        }

        fn there(&self, there: Option<Vec<(&'static str, State)>>) {
            *self.told.there.lock().unwrap() = there;
        }

        fn answers(&self, control: bool, signing: bool) {
            self.planes[0].store(control, Ordering::SeqCst);
            self.planes[1].store(signing, Ordering::SeqCst);
        }

        /// Looks for so many seconds. How often it was ended by then.
        fn look(&mut self, seconds: u64) -> usize {
            for _ in 0..seconds / 10 {
                self.watch.look(&self.config);
                self.clock.pass(EVERY);
            }
            self.told.ended.lock().unwrap().len()
        }
    }

    const DAY: u64 = 86_400;

    #[test]
    fn one_that_runs_and_is_silent_on_all_planes_is_ended_after_a_minute_and_not_again_before_another() {
        let mut world = World::silent();
        assert_eq!(world.look(60), 0);
        assert_eq!(world.look(10), 1);
        assert_eq!(world.look(60), 1);
        assert_eq!(world.look(10), 2);
        assert_eq!(world.watch.found.lock().ended_stalled, 2);
        world.told.refuses.store(true, Ordering::SeqCst);
        assert_eq!(world.look(600), 2);
        assert_eq!(world.watch.found.lock().ended_stalled, 2);
    }

    #[test]
    fn threat_37_one_that_answers_on_either_plane_is_never_ended() {
        for (control, signing) in [(true, true), (true, false), (false, true)] {
            let mut world = World::silent();
            world.answers(control, signing);
            assert_eq!(world.look(DAY), 0, "{control} {signing}");
            // One answer begins the minute anew.
            for _ in 0..100 {
                world.answers(false, false);
                assert_eq!(world.look(60), 0);
                world.answers(control, signing);
                assert_eq!(world.look(10), 0);
            }
        }
    }

    #[test]
    fn one_of_which_nothing_is_known_is_not_ended_and_neither_is_one_that_has_just_come() {
        for there in [
            None,
            Some(vec![]),
            Some(vec![("i-1", State::Terminating)]),
            Some(vec![("i-1", State::Empty)]),
            Some(vec![("i-1", State::Other("PAUSED".to_owned()))]),
        ] {
            let mut world = World::silent();
            world.there(there);
            assert_eq!(world.look(DAY), 0);
            world.there(Some(vec![("i-2", State::Running)]));
            assert_eq!(world.look(60), 0, "it has a minute to come");
        }
    }

    #[test]
    fn a_minute_is_of_one_enclave() {
        let mut world = World::silent();
        for id in ["i-1", "i-2", "i-3", "i-4"] {
            world.there(Some(vec![(id, State::Running)]));
            assert_eq!(world.look(50), 0);
        }
    }

    #[test]
    fn threat_18_whoever_was_stopped_for_hours_has_not_seen_a_silence_of_hours() {
        let mut world = World::silent();
        assert_eq!(world.look(20), 0);
        for _ in 0..2 {
            world.clock.pass(Duration::from_secs(7_200));
            world.clock.set(10 * 365 * 86_400);
            assert_eq!(world.look(10), 0);
        }
    }
}
