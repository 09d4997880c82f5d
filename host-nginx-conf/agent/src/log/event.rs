//! What can happen, each with its id and level. Ids are for programs, and stay; texts are for people, and may change.

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Something does not work, and somebody must do something.
    Error,
    /// Something is not as it should be; it may pass.
    Warning,
    /// Something happened.
    Info,
}

impl Level {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $level:ident;)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Event {
            $($(#[$doc])* $name,)*
        }

        impl Event {
            /// All of them, in the order of `EVENTS.md`.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];

            pub(crate) const fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            pub(crate) const fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)*
                }
            }
        }
    };
}

events! {
    AgentReady = "agent.ready", Info;
    AgentHung = "agent.hung", Error;
    AgentStopping = "agent.stopping", Info;
    ConfigurationReloaded = "configuration.reloaded", Info;
    ConfigurationRefused = "configuration.refused", Error;
    JournalAway = "log.journal-away", Warning;
    MetricsFailed = "metrics.failed", Error;
    MetricsServed = "metrics.served", Info;

    AdminRequest = "admin.request", Info;
    AdminRefused = "admin.refused", Warning;
    AdminFailed = "admin.failed", Warning;
    AdminGroup = "admin.group-missing", Warning;

    EnclaveStarted = "enclave.started", Info;
    EnclaveAdopted = "enclave.adopted", Info;
    /// Adopted, and not what is configured.
    EnclaveDiffers = "enclave.differs", Warning;
    EnclaveEnded = "enclave.ended", Warning;
    EnclaveReplaced = "enclave.replaced", Warning;
    EnclaveRefused = "enclave.refused", Error;
    EnclaveStartFailed = "enclave.start-failed", Error;
    EnclaveUnknown = "enclave.unknown", Error;
    EnclaveNotTerminated = "enclave.not-terminated", Error;
    EnclaveStopping = "enclave.stopping", Info;
    EnclaveStopped = "enclave.stopped", Info;
    EnclaveStalled = "enclave.stalled", Error;
    EnclaveProblem = "enclave.problem", Error;

    ServiceConnected = "service.connected", Info;
    ServiceAway = "service.away", Warning;
    ServiceGreetingFailed = "service.greeting-failed", Warning;
    ServiceSecond = "service.second", Warning;
    PlaneStranger = "plane.stranger", Warning;
    PlaneFailed = "plane.failed", Warning;
    PolicyRefused = "policy.refused", Error;

    StateNotStored = "state.not-stored", Error;
    ReplayDone = "replay.done", Info;
    ReplayRefused = "replay.refused", Error;
    ReplayWaits = "replay.waits", Warning;
    ReplayOpened = "replay.opened", Info;
    ReplayChanged = "replay.changed", Warning;
    ReplayLost = "replay.lost", Warning;
    ReplayNoted = "replay.noted", Info;

    AwsMissing = "aws.missing", Error;
    AwsFailed = "aws.failed", Warning;
    AwsFound = "aws.found", Info;
    AwsRefused = "aws.refused", Error;

    EgressRefused = "egress.refused", Warning;
    EgressUnreachable = "egress.unreachable", Warning;
    EgressClosed = "egress.closed", Warning;

    ChallengeRefused = "challenge.refused", Warning;
    ChallengeFailed = "challenge.failed", Error;
    ChallengeServed = "challenge.served", Info;
    ChallengeHook = "challenge.hook", Info;

    LogsMalformed = "logs.malformed", Warning;
    /// Of the enclave, as the sequence of its records says.
    LogsBoot = "logs.boot", Info;
    LogsDropped = "logs.dropped", Warning;

    CertificateCreated = "certificate.created", Info;
    CertificateOrdered = "certificate.ordered", Info;
    CertificateIssued = "certificate.issued", Info;
    AccountCreated = "account.created", Info;
    AccountRegistered = "account.registered", Info;
    AccountFailed = "account.failed", Error;
    CertificateProvisioned = "certificate.provisioned", Info;
    CertificateDeployed = "certificate.deployed", Info;
    CertificateSeen = "certificate.seen", Info;
    CertificateTakenBack = "certificate.taken-back", Error;
    CertificateRolledBack = "certificate.rolled-back", Info;
    CertificateRenew = "certificate.renew", Warning;
    RotationAsked = "certificate.rotation-asked", Info;
    CertificateRevoked = "certificate.revoked", Info;
    CertificateRetired = "certificate.retired", Info;
    CertificateFailed = "certificate.failed", Error;

    WorkersRemain = "server.workers-remain", Warning;
    ServerReloaded = "server.reloaded", Info;
    ServerFailed = "server.failed", Error;
    ServerWell = "server.well", Info;
    ClientCredential = "client.credential", Info;
    ClientRevoked = "client.revoked", Info;
    ClientFailed = "client.failed", Error;
    ClientWell = "client.well", Info;
    HelperFailed = "helper.failed", Error;
    HelperWell = "helper.well", Info;
    HookRan = "hook.ran", Info;
    HookFailed = "hook.failed", Warning;
    KeeperFailed = "keeper.failed", Error;
    KeeperWell = "keeper.well", Info;
    KeeperForgot = "keeper.forgot", Warning;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_lists_exactly_these() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/monitoring/EVENTS.md");
        let text = std::fs::read_to_string(path).unwrap();
        let cells = |line: &str| {
            let mut cells = line.split('|').skip(1).map(|cell| cell.trim().to_owned());
            Some((
                cells.next()?,
                cells.next()?,
                cells.next().filter(|means| !means.is_empty())?,
            ))
        };
        let table = text.lines().skip_while(|line| !line.starts_with("| event |"));
        let rows = table
            .filter(|line| line.starts_with("| `"))
            .map(|line| cells(line).expect(line));
        let listed: Vec<_> = rows
            .map(|(id, level, _)| (id.trim_matches('`').to_owned(), level))
            .collect();
        let ours = Event::ALL.iter();
        let ours: Vec<_> = ours
            .map(|event| (event.id().to_owned(), event.level().as_str().to_owned()))
            .collect();
        assert_eq!(listed, ours);
    }

    #[test]
    fn ids_are_distinct_and_of_one_form() {
        let ids: BTreeSet<_> = Event::ALL.iter().map(|event| event.id()).collect();
        assert_eq!(ids.len(), Event::ALL.len());
        let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(
            ids.iter()
                .all(|id| id.split('.').count() == 2 && id.split('.').all(is_word))
        );
    }
}
