//! Jobs, with a real CA: pebble, behind the parent's egress plane.

mod accounts;
mod agent;
mod caa;
mod enforced;
mod interrupted;
mod orders;
mod refused;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use enclave_wire::control::{
    Account, ChallengeKind, ControlError, Create, Job, JobFailure, JobId, JobOutcome, JobPhase, JobState, KeyInfo,
    Listed, Order, Reply, Request, Url,
};
use enclave_wire::log::Text;
use enclave_wire::{DnsName, KeyId, KeyType, Usage};
use lab_pebble::{Options, Pebble, Programs};

use super::agent::name;
use super::aws::{Aws, Passage, pem};
use super::kept::Kept;
use super::lab::{Lab, POLICY, Setup, unique};
use agent::Publisher;

/// A CA, and what leads to it.
pub(crate) struct Ca {
    pebble: Arc<Pebble>,
    passage: Passage,
    publisher: Arc<Publisher>,
    kept: Arc<Kept>,
}

impl Ca {
    /// None where there is no pebble: the test is skipped, and says so.
    fn start(test: &str, options: Options) -> Option<Self> {
        let Some(programs) = Programs::of_environment() else {
            eprintln!("SKIPPED {test}: {}", Programs::MISSING);
            return None;
        };
        let options = Options {
            names: vec![HOST.to_owned()],
            ..options
        };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pebble-{test}"));
        let pebble = Arc::new(Pebble::start(&programs, &dir, &options).unwrap());
        let passage = Passage::start(&unique("egress"), [].into());
        for port in [pebble.ports().acme, pebble.ports().doh] {
            passage.allow(HOST, port, ([127, 0, 0, 1], port).into());
        }
        let kept = Arc::<Kept>::default();
        let publisher = Arc::new(Publisher::new(Arc::clone(&pebble)));
        kept.answer_jobs(publisher.clone());
        Some(Self {
            pebble,
            passage,
            publisher,
            kept,
        })
    }

    /// Lets the CA be reached the way that AWS is.
    fn beside(&self, aws: &Aws) {
        for port in [self.pebble.ports().acme, self.pebble.ports().doh] {
            aws.passage.allow(HOST, port, ([127, 0, 0, 1], port).into());
        }
    }

    fn lab(&self) -> Lab {
        let mut setup = Setup {
            policy: self.policy(),
            egress: Some(self.passage.name.clone()),
            kept: Arc::clone(&self.kept),
            ..Setup::default()
        };
        // A new connection is let be for as long before anything is stored.
        setup.limits.kms_pause = Duration::from_millis(100);
        let lab = Lab::of(setup);
        lab.clock.set(soon());
        lab
    }

    fn policy(&self) -> String {
        format!("{POLICY}{}", self.rules(self.pebble.root()))
    }

    /// What a policy says of this CA: these are the roots of its server.
    fn rules(&self, root: &[u8]) -> String {
        let (directory, resolver, root) = (
            self.pebble.directory(),
            self.pebble.resolver(),
            pem("CERTIFICATE", root),
        );
        format!(
            "[[names]]\npattern = \"account-*\"\nusages = [\"acme-account\"]\n\
             [[acme]]\ndirectory = \"{directory}\"\nroots = [\"\"\"\n{root}\"\"\"]\n\
             [dns]\nresolver = \"{resolver}\"\nroots = [\"\"\"\n{root}\"\"\"]\n"
        )
    }

    fn directory(&self) -> Url {
        Text::lossy(&self.pebble.directory())
    }

    fn account(&self, key: KeyId) -> Account {
        Account {
            key,
            directory: self.directory(),
            contacts: Listed::try_from(vec![Text::lossy("mailto:admin@lab.test")]).unwrap(),
            terms_agreed: true,
            binding: None,
        }
    }

    /// An order by HTTP-01.
    fn order(&self, key: KeyId, account: KeyId) -> Order {
        Order {
            key,
            account: self.account(account),
            challenge: ChallengeKind::Http01,
            profile: None,
            preferred_chain: None,
            resume: None,
        }
    }
}

fn account_key(lab: &mut Lab, sealed: Option<&str>) -> KeyInfo {
    create(lab, "account-a", Usage::AcmeAccount, &[], &[], sealed).unwrap()
}

/// A key of `www` for a certificate of these names.
fn certificate_key(lab: &mut Lab, label: &str, names: &[&str]) -> KeyInfo {
    create(lab, label, Usage::Digest, names, &["www"], None).unwrap()
}

fn create(
    lab: &mut Lab,
    label: &str,
    usage: Usage,
    names: &[&str],
    clients: &[&str],
    sealed: Option<&str>,
) -> Result<KeyInfo, ControlError> {
    let names: Vec<DnsName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let clients: Vec<_> = clients.iter().map(|client| name(client)).collect();
    let reply = lab.agent.call(&Request::Create(Create {
        name: name(label),
        key_type: KeyType::P256,
        usage,
        dns_names: names.try_into().unwrap(),
        clients: clients.try_into().unwrap(),
        sealed: sealed.map(name),
    }));
    match reply {
        Reply::Created(info) => Ok(info),
        Reply::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn begin(lab: &mut Lab, job: Job) -> Result<JobState, ControlError> {
    match lab.agent.call(&Request::Begin(job)) {
        Reply::Begun(state) => Ok(state),
        Reply::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn state(lab: &mut Lab, id: JobId) -> Option<JobState> {
    match lab.agent.call(&Request::Job(id)) {
        Reply::Job(state) => state,
        other => panic!("{other:?}"),
    }
}

/// Begins a job, and waits until it ends.
fn run(lab: &mut Lab, job: Job) -> Result<JobOutcome, JobFailure> {
    let id = job.id();
    begin(lab, job).unwrap();
    ended(lab, id)
}

fn ended(lab: &mut Lab, id: JobId) -> Result<JobOutcome, JobFailure> {
    let ended = until(lab, id, |state| {
        matches!(state.phase, JobPhase::Done(_) | JobPhase::Failed(_))
    });
    match ended.phase {
        JobPhase::Done(outcome) => Ok(outcome),
        JobPhase::Failed(failure) => Err(failure),
        JobPhase::Waiting | JobPhase::Running(_) => unreachable!(),
    }
}

/// Waits until a job is so far.
fn until(lab: &mut Lab, id: JobId, so: impl Fn(&JobState) -> bool) -> JobState {
    let begun = Instant::now();
    loop {
        let state = state(lab, id).unwrap();
        if so(&state) {
            return state;
        }
        assert!(begun.elapsed() < Duration::from_secs(180), "it never came: {state:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An hour from now: pebble's certificates begin when they are made, by the machine's clock.
fn soon() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap() + 3_600
}

/// The CA's own name.
const HOST: &str = "pebble.test";
