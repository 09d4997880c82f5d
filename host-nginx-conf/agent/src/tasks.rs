//! The threads of the agent, and what they share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use enclave_tls_admin::report::{Ask, Configuration, Report, Told};
use enclave_tls_config::{Config, Needs, changes};
use enclave_tls_nitro::NitroCli;

use crate::admin::Admin;
use crate::aws::{Aws, versions};
use crate::clock::{Bell, Clock};
use crate::control::{self, Control};
use crate::egress::{self, Egress};
use crate::health::{Health, Pulse};
use crate::keeper::{Beating, Found, Keeper, Network, is_for_the_keeper};
use crate::log::Event;
use crate::logs::{self, Logs};
use crate::metrics::{Metrics, Server};
use crate::notify;
use crate::parent::Parent;
use crate::requests::Requests;
use crate::sockets::{self, EnclaveListener, Plane};
use crate::store::Store;
use crate::watch::Watch;
use crate::{InForce, Shared, StartError, log, probe};

/// What outlives any one of them.
pub(crate) struct Tasks {
    known: Arc<Known>,
    clock: Arc<dyn Clock>,
    egress: Arc<Egress>,
    /// Of which only the challenges are used.
    parent: Arc<Parent>,
    /// Wakes the keeper.
    changed: Arc<Bell>,
    /// Clients whose credential an administrator wants anew.
    rotate: Arc<Shared<Vec<enclave_wire::Name>>>,
    /// What administrators ask of the keeper, and where each waits for the answer.
    commands: Shared<Vec<Command>>,
    /// Beats while the keeper gets somewhere.
    keeps: Arc<Pulse>,
    metrics: Server,
    /// Distinguishes this run of the agent from others.
    run: u64,
}

/// A question for the keeper.
struct Command {
    ask: Ask,
    by: u32,
    answer: SyncSender<Told>,
}

/// What the report is made from.
struct Known {
    in_force: Arc<InForce>,
    found: Arc<Shared<Found>>,
    enclave: Arc<Shared<enclave_tls_admin::report::Enclave>>,
}

impl Tasks {
    pub(crate) fn start(config: Config, source: PathBuf, clock: Arc<dyn Clock>) -> Result<Arc<Self>, StartError> {
        let store = Store::open(&config.agent.state).map_err(StartError::Store)?;
        let admin = sockets::bind_admin(&config.agent.admin_socket, &config.agent.admin_group);
        let admin = admin.map_err(StartError::Bind)?;
        let bind = |plane, address| EnclaveListener::bind(plane, address).map_err(StartError::Bind);
        let control_dials = bind(Plane::Control, &config.enclave.control)?;
        let egress_dials = bind(Plane::Egress, &config.enclave.egress)?;
        let log_dials = bind(Plane::Logs, &config.enclave.logs)?;

        let egress = Arc::new(Egress::new(&config.egress));
        let logs = Arc::new(Logs::new());
        let aws = config.aws.as_ref().map(|aws| Aws::new(aws, Arc::clone(&clock)));
        let parent = Parent::new(
            store,
            aws,
            Arc::clone(&egress),
            Arc::clone(&logs),
            config.enclave.policy.clone(),
        );
        let changed = Arc::new(Bell::default());
        let parent = parent.with_clock(Arc::clone(&clock)).with_bell(Arc::clone(&changed));
        parent.challenges.configure(&config);
        let parent = Arc::new(parent);
        let look = Arc::new(Bell::default());
        let control = Arc::new(Control::new([Arc::clone(&changed), Arc::clone(&look)]));
        let requests = Arc::new(Requests::new(
            Arc::clone(&control),
            Arc::clone(&parent),
            Arc::clone(&changed),
        ));
        let (signing, nitro_cli) = (config.enclave.signing.clone(), config.enclave.nitro_cli.clone());
        let keeps = Arc::<Pulse>::default();
        let helper = enclave_tls_apply::Client::new(&config.agent.apply_socket);
        let keeper = Keeper::new(
            Arc::new(Beating::new(Arc::clone(&requests), Arc::clone(&keeps))),
            Beating::new(helper, Arc::clone(&keeps)),
            Box::new(Beating::new(Network, Arc::clone(&keeps))),
            Arc::clone(&clock),
            &config.agent.state,
        );
        let group = config.agent.admin_group.to_string();
        let its_control = Arc::clone(&control);
        let watch = Watch::new(
            NitroCli::new(nitro_cli),
            Arc::clone(&clock),
            move || its_control.is_connected(),
            move || probe::answers(&signing),
        );
        let health = Arc::new(Health::new(
            Arc::clone(&control),
            Arc::clone(&keeper.found),
            Arc::clone(&keeps),
            &config.agent.admin_socket,
        ));
        let place = config.agent.metrics.clone();
        let known = Arc::new(Known {
            in_force: Arc::new(InForce {
                source,
                config: Shared::new(Arc::new(config)),
                since: Shared::new((clock.now(), None)),
            }),
            found: Arc::clone(&keeper.found),
            enclave: Arc::clone(&watch.found),
        });
        let reports = Arc::clone(&known);
        let metrics = Metrics::new(
            Arc::clone(&requests),
            Arc::clone(&health),
            Arc::clone(&clock),
            Arc::clone(&keeper.found),
            move || reports.report(),
        );
        let tasks = Arc::new(Self {
            known,
            clock,
            egress: Arc::clone(&egress),
            parent: Arc::clone(&parent),
            changed,
            rotate: Arc::default(),
            commands: Shared::default(),
            keeps,
            metrics: Server::new(move |path| metrics.answer(path)),
            run: run(),
        });
        std::thread::spawn(move || egress::accept(&egress_dials, &egress));
        std::thread::spawn(move || logs::accept(&log_dials, &logs));
        let (its_parent, its_control) = (Arc::clone(&parent), Arc::clone(&control));
        std::thread::spawn(move || its_parent.aws.as_ref().map(|aws| aws.run(&its_control)));
        std::thread::spawn(move || control::accept(&control_dials, &control, &parent));
        let (its, versions) = (Arc::clone(&tasks), Arc::clone(&keeper.versions));
        std::thread::spawn(move || versions::watch(&its.known.in_force.config, &versions, &its.changed, &*its.clock));
        let its = Arc::clone(&tasks);
        std::thread::spawn(move || its.keep(keeper));
        let its = Arc::clone(&tasks);
        std::thread::spawn(move || watch.run(&its.known.in_force.config, &look));
        let its = Arc::clone(&tasks);
        let front = Arc::new(Admin::new(requests, group, move |ask, by| its.answer(ask, by)));
        std::thread::spawn(move || front.accept(&admin));
        tasks.metrics.listen(&place);
        Event::AgentReady.say("ready");
        let its = Arc::clone(&health);
        std::thread::spawn(move || its.probe());
        std::thread::spawn(move || notify::run(&health));
        Ok(tasks)
    }

    /// Takes a new text of the configuration, or says why not.
    pub(crate) fn reload(&self) {
        let refused = match Config::load(&self.known.in_force.source) {
            Err(error) => Some(error.to_string()),
            Ok(newer) => self.take(newer),
        };
        if let Some(why) = &refused {
            Event::ConfigurationRefused.say(format_args!("the configuration in force stays: {why}"));
        }
        let mut since = self.known.in_force.since.lock();
        *since = match refused {
            Some(why) => (since.0, Some(why)),
            None => (self.clock.now(), None),
        };
        self.changed.ring();
    }

    /// Why it is not taken.
    fn take(&self, newer: Config) -> Option<String> {
        let mut config = self.known.in_force.config.lock();
        let changes = changes(&config, &newer);
        let later: Vec<_> = changes
            .iter()
            .filter(|change| change.needs != Needs::Reload)
            .map(|change| {
                let restart = match change.needs {
                    Needs::Reload | Needs::AgentRestart => "enclave-tls-agent",
                    Needs::EnclaveRestart => "enclave-tls-enclave enclave-tls-agent",
                };
                format!("{} is another: `systemctl restart {restart}` takes it up", change.key)
            })
            .collect();
        if !later.is_empty() {
            return Some(later.join("; "));
        }
        self.egress.configure(&newer.egress);
        self.parent.challenges.configure(&newer);
        let (newer_log, newer_place) = (newer.agent.log, newer.agent.metrics.clone());
        *config = Arc::new(newer);
        log::set_form(newer_log);
        self.metrics.listen(&newer_place);
        Event::ConfigurationReloaded.say(format_args!(
            "the configuration is read again: {} changes",
            changes.len()
        ));
        None
    }

    fn keep(&self, mut keeper: Keeper<Beating<Arc<Requests>>, Beating<enclave_tls_apply::Client>>) {
        loop {
            let config = Arc::clone(&self.known.in_force.config.lock());
            for client in std::mem::take(&mut *self.rotate.lock()) {
                keeper.rotate(client);
            }
            for command in std::mem::take(&mut *self.commands.lock()) {
                let told = keeper.command(&config, command.ask, command.by);
                drop(command.answer.send(told)); // A command that was interrupted waits for no answer.
                self.keeps.beat();
            }
            let wait = keeper.pass(&config);
            self.keeps.beat();
            self.clock.wait(&self.changed, wait);
            // An enclave that comes and goes does not keep us busy.
            self.clock.wait(&Bell::default(), BETWEEN_PASSES);
        }
    }

    fn answer(&self, ask: Ask, by: u32) -> Told {
        if is_for_the_keeper(&ask) {
            return self.have_answered(ask, by);
        }
        match ask {
            Ask::Report => Told::Report(Box::new(self.known.report())),
            Ask::Logs { most, after } => Told::Logs {
                run: self.run,
                lines: log::newest(most, after),
            },
            Ask::RotateCredential { client } => match client.parse() {
                Ok(name) if self.known.in_force.config.lock().clients.contains_key(&name) => {
                    self.rotate.lock().push(name);
                    self.changed.ring();
                    Told::Done
                }
                _ => Told::Failed(format!("the configuration has no client {client}")),
            },
            Ask::Rotate(_) | Ask::Rollback(_) | Ask::History { .. } | Ask::Revoke(_) => Told::Failed(BUSY.to_owned()),
        }
    }

    /// The keeper's own answer, between two of its passes.
    fn have_answered(&self, ask: Ask, by: u32) -> Told {
        let (answer, told) = sync_channel(1);
        self.commands.lock().push(Command { ask, by, answer });
        self.changed.ring();
        told.recv_timeout(ANSWER_WITHIN)
            .unwrap_or_else(|_| Told::Failed(BUSY.to_owned()))
    }
}

impl Known {
    fn report(&self) -> Report {
        let found = self.found.lock();
        let (in_force_since, refused) = self.in_force.since.lock().clone();
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: Configuration {
                file: self.in_force.source.display().to_string(),
                in_force_since,
                refused,
            },
            enclave: self.enclave.lock().clone(),
            certificates: found.certificates.clone(),
            accounts: found.accounts.clone(),
            clients: found.clients.clone(),
            servers: found.servers.clone(),
            problems: found.problems.clone(),
            base: found.base.clone(),
        }
    }
}

/// Another number for each start, on one machine.
fn run() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos()).unwrap_or_default();
    // A clock that was set back does not make two runs one, since their numbers differ.
    nanos ^ u64::from(std::process::id()).rotate_left(32)
}

/// Nobody sees a change that takes a fifth of a second.
const BETWEEN_PASSES: Duration = Duration::from_millis(200);
/// A pass that makes keys, deploys and looks may take some time; less than the command waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);
const BUSY: &str = "the agent has not come to it yet, and will; `enclave-tlsctl certificates` shows what becomes of it";
