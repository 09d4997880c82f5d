//! Has the enclave look CAA records up: a job for each account, which is begun, waited for, and begun again where it is somebody else's.

use std::time::Duration;

use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::{acme, advice};
use enclave_wire::control::{
    Account, Caa, CaaFinding, ControlError, Job, JobFailure, JobId, JobKind, JobOutcome, JobPhase, JobState, Reply,
    Request,
};
use enclave_wire::log::Text;
use enclave_wire::{DnsName, KeyId};

/// An account of the enclave, which finds itself by its key.
pub(super) struct Which<'a> {
    pub(super) key: KeyId,
    pub(super) directory: &'a str,
}

/// The enclave, and the time between two questions.
pub(super) struct Line<'a> {
    pub(super) ask: &'a dyn Fn(Request) -> Result<Reply, ClientError>,
    pub(super) pause: &'a dyn Fn(Duration),
}

/// Why nothing is known of an account's names, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unlooked {
    pub(super) says: String,
    pub(super) todo: &'static str,
}

/// What the enclave found, or why it found nothing; an error where there is no enclave to ask.
pub(super) type Looked = Result<Vec<CaaFinding>, Unlooked>;

impl Line<'_> {
    /// The records of these names, which may be more than one job takes.
    pub(super) fn look(&self, which: &Which<'_>, names: &[DnsName]) -> Result<Looked, ClientError> {
        let mut found = Vec::new();
        for some in names.chunks(OF_A_JOB) {
            match self.look_at_some(which, some)? {
                Ok(findings) => found.extend(findings),
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(Ok(found))
    }

    fn look_at_some(&self, which: &Which<'_>, names: &[DnsName]) -> Result<Looked, ClientError> {
        for _ in 0..ATTEMPTS {
            let found = match self.run(&job(which, names)?)? {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            };
            // One of a kind runs for a key: what was under way was another administrator's.
            if found.iter().map(|finding| &finding.name).eq(names) {
                return Ok(Ok(found));
            }
        }
        Ok(Err(Unlooked::busy("others look at this account's names")))
    }

    fn run(&self, caa: &Caa) -> Result<Looked, ClientError> {
        let id = JobId {
            kind: JobKind::Caa,
            key: caa.account.key,
        };
        let begun = match (self.ask)(Request::Begin(Job::Caa(caa.clone()))) {
            Err(ClientError::Refused(rule)) => return Ok(Err(Unlooked::refused(rule))),
            other => other?,
        };
        let Reply::Begun(mut state) = begun else {
            return Err(ClientError::Unexpected);
        };
        for _ in 0..POLLS {
            if let Some(ended) = ended(&state)? {
                return Ok(ended);
            }
            (self.pause)(BETWEEN);
            let Reply::Job(now) = (self.ask)(Request::Job(id))? else {
                return Err(ClientError::Unexpected);
            };
            state = match now {
                Some(now) => now,
                None => return Ok(Err(Unlooked::busy("the enclave has started anew meanwhile"))),
            };
        }
        Ok(Err(Unlooked::late(&state)))
    }
}

/// What a job came to, if it has ended.
fn ended(state: &JobState) -> Result<Option<Looked>, ClientError> {
    match &state.phase {
        JobPhase::Waiting | JobPhase::Running(_) => Ok(None),
        JobPhase::Done(JobOutcome::Caa(found)) => Ok(Some(Ok(found.items().to_vec()))),
        JobPhase::Done(
            JobOutcome::Account(_) | JobOutcome::Certificate(_) | JobOutcome::Renewal(_) | JobOutcome::Revoked,
        ) => Err(ClientError::Unexpected),
        JobPhase::Failed(failure) => Ok(Some(Err(Unlooked::failed(failure)))),
    }
}

/// The account finds itself by its key: contacts, terms and binding are for one that is to be made.
fn job(which: &Which<'_>, names: &[DnsName]) -> Result<Caa, ClientError> {
    Ok(Caa {
        account: Account {
            key: which.key,
            directory: Text::lossy(which.directory),
            contacts: Vec::new().try_into().map_err(|_| ClientError::Unexpected)?,
            terms_agreed: false,
            binding: None,
        },
        names: names.to_vec().try_into().map_err(|_| ClientError::Unexpected)?,
    })
}

impl Unlooked {
    fn refused(rule: ControlError) -> Self {
        Self {
            says: format!("the enclave does not look: {}", advice::refused(rule)),
            todo: if rule == ControlError::ResolverRefused {
                NO_RESOLVER
            } else {
                "do that, then look again"
            },
        }
    }

    fn failed(failure: &JobFailure) -> Self {
        Self {
            says: format!(
                "the enclave did not get as far as the records: {}",
                acme::failed(failure)
            ),
            todo: "it asks the CA first for the account and for the domain by which records name it; the enclave's log says more. Then look again",
        }
    }

    fn late(state: &JobState) -> Self {
        let at = match &state.phase {
            JobPhase::Running(what) => what.as_str(),
            JobPhase::Waiting | JobPhase::Done(_) | JobPhase::Failed(_) => "waits behind other jobs",
        };
        Self {
            says: format!(
                "the enclave has not ended within {} seconds: it {at}",
                LONGEST.as_secs()
            ),
            todo: "does the resolver of the policy's [dns] answer? Look again, or at one certificate: --check NAME",
        }
    }

    /// The answer leaves a name out.
    pub(super) fn silent() -> Self {
        Self {
            says: "the enclave does not speak of it".to_owned(),
            todo: "look again",
        }
    }

    fn busy(why: &str) -> Self {
        Self {
            says: format!("nothing was found out: {why}"),
            todo: "look again",
        }
    }
}

const NO_RESOLVER: &str = "name one that you trust with these names in the policy that you add, as [dns] with resolver and roots, and its \
host in [egress] allow (a new policy is another PCR16). Until then look yourself: dig +short CAA NAME, here and above";

/// As many names as one job takes.
const OF_A_JOB: usize = 100;
/// The second is after somebody else's; more want patience from a person.
const ATTEMPTS: usize = 3;
/// A hundred names of a resolver that answers within a second.
const LONGEST: Duration = Duration::from_secs(150);
const BETWEEN: Duration = Duration::from_millis(250);
const POLLS: usize = 600;

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use enclave_wire::control::{CaaVerdict, JobError};

    use super::*;

    const KEY: KeyId = KeyId([7; 32]);

    /// Answers in turn, and the last one for ever; what it was asked, and how often there was a pause.
    fn look(
        names: &[DnsName],
        answers: Vec<Result<Reply, ClientError>>,
    ) -> (Result<Looked, ClientError>, Vec<Request>, usize) {
        let (asked, pauses) = (RefCell::new(Vec::new()), Cell::new(0));
        let answers = RefCell::new(answers.into_iter());
        let line = Line {
            ask: &|request| {
                asked.borrow_mut().push(request);
                answers.borrow_mut().next().unwrap_or_else(|| reply(running()))
            },
            pause: &|_| pauses.set(pauses.get() + 1),
        };
        let which = Which {
            key: KEY,
            directory: "https://ca.example/dir",
        };
        let looked = line.look(&which, names);
        (looked, asked.into_inner(), pauses.get())
    }

    fn state(phase: JobPhase) -> JobState {
        JobState {
            id: JobId {
                kind: JobKind::Caa,
                key: KEY,
            },
            phase,
            order: None,
        }
    }

    fn begun(phase: JobPhase) -> Result<Reply, ClientError> {
        Ok(Reply::Begun(state(phase)))
    }

    fn reply(phase: JobPhase) -> Result<Reply, ClientError> {
        Ok(Reply::Job(Some(state(phase))))
    }

    fn running() -> JobPhase {
        JobPhase::Running(Text::lossy("looks up a.example"))
    }

    fn done(names: &[DnsName]) -> JobPhase {
        let found: Vec<_> = names.iter().cloned().map(finding).collect();
        JobPhase::Done(JobOutcome::Caa(found.try_into().unwrap()))
    }

    fn finding(name: DnsName) -> CaaFinding {
        CaaFinding {
            name,
            verdict: CaaVerdict::Open,
            records: Text::lossy("no records, here or above"),
        }
    }

    fn names(count: usize) -> Vec<DnsName> {
        (0..count)
            .map(|number| format!("n{number}.example").parse().unwrap())
            .collect()
    }

    fn why(looked: Result<Looked, ClientError>) -> Unlooked {
        looked.unwrap().unwrap_err()
    }

    #[test]
    fn it_is_begun_and_waited_for_a_hundred_names_at_a_time() {
        let names = names(101);
        let (first, second) = names.split_at(100);
        let answers = vec![
            begun(JobPhase::Waiting),
            reply(running()),
            reply(done(first)),
            begun(JobPhase::Waiting),
            reply(done(second)),
        ];
        let (looked, asked, pauses) = look(&names, answers);
        assert_eq!(looked.unwrap().unwrap().len(), 101);
        assert_eq!(pauses, 3);
        let Request::Begin(Job::Caa(caa)) = &asked[0] else {
            panic!("{}", asked[0].name());
        };
        assert_eq!((caa.account.key, caa.names.items()), (KEY, first));
        assert_eq!(caa.account.directory.as_str(), "https://ca.example/dir");
    }

    #[test]
    fn what_somebody_else_began_is_not_taken_for_ones_own() {
        let (names, others) = (names(2), names(1));
        let again = || [begun(running()), reply(done(&others))];
        let mut answers: Vec<_> = again().into();
        answers.extend([begun(JobPhase::Waiting), reply(done(&names))]);
        let (looked, asked, _) = look(&names, answers);
        assert_eq!(looked.unwrap().unwrap().len(), 2);
        assert_eq!(asked.len(), 4);
        let (looked, ..) = look(&names, [again(), again(), again()].into_iter().flatten().collect());
        assert!(why(looked).says.contains("others look"));
    }

    #[test]
    fn a_policy_without_a_resolver_and_a_job_that_fails_say_what_to_do() {
        let refused = vec![Err(ClientError::Refused(ControlError::ResolverRefused))];
        let refused = why(look(&names(1), refused).0);
        assert!(
            refused.says.contains("names no resolver") && refused.todo.contains("[dns]"),
            "{refused:?}"
        );
        let failure = JobFailure {
            error: JobError::EgressRefused,
            rule: None,
            detail: Text::lossy(""),
            retry_at: None,
        };
        let failed = why(look(&names(1), vec![begun(JobPhase::Failed(failure))]).0);
        assert!(failed.says.contains("add its host to [egress] allow"), "{failed:?}");
        let restarted = why(look(&names(1), vec![begun(running()), Ok(Reply::Job(None))]).0);
        assert!(restarted.says.contains("started anew"));
        let away = look(&names(1), vec![begun(running()), Err(ClientError::Unexpected)]).0;
        assert!(matches!(away, Err(ClientError::Unexpected)));
    }

    #[test]
    fn the_wait_has_a_bound() {
        let (looked, asked, pauses) = look(&names(1), vec![begun(running())]);
        assert_eq!((pauses, asked.len()), (POLLS, POLLS + 1));
        assert_eq!(LONGEST.as_millis(), BETWEEN.as_millis() * 600);
        assert!(why(looked).says.ends_with("within 150 seconds: it looks up a.example"));
    }
}
