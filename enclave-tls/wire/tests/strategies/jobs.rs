//! Arbitrary jobs, how far they are, and challenges.

use enclave_wire::control::{
    Account, Binding, Caa, CaaFinding, CaaVerdict, Challenge, ChallengeKind, ControlError, Issued, Job, JobError,
    JobFailure, JobId, JobKind, JobOutcome, JobPhase, JobState, Order, Published, Renewal, RenewalWindow, Revoke, Url,
    Validity,
};
use enclave_wire::log::Text;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{dns_name, key_id};

pub(crate) fn job() -> impl Strategy<Value = Job> {
    prop_oneof![
        account().prop_map(Job::Account),
        order().prop_map(Job::Order),
        (key_id(), url()).prop_map(|(key, directory)| Job::Renewal(Renewal { key, directory })),
        (key_id(), account(), any::<u8>()).prop_map(|(key, account, reason)| Job::Revoke(Revoke {
            key,
            account,
            reason
        })),
        (account(), vec(dns_name(), 0..4)).prop_map(|(account, names)| Job::Caa(Caa {
            account,
            names: names.try_into().unwrap(),
        })),
    ]
}

prop_compose! {
    pub(crate) fn job_id()(kind in select(JobKind::ALL), key in key_id()) -> JobId {
        JobId { kind, key }
    }
}

prop_compose! {
    pub(crate) fn job_state()(id in job_id(), phase in phase(), order in option::of(url())) -> JobState {
        JobState { id, phase, order }
    }
}

prop_compose! {
    pub(crate) fn challenge()(kind in select(ChallengeKind::ALL), name in dns_name(), token in text(), value in text()) -> Challenge {
        Challenge { kind, name, token, value }
    }
}

pub(crate) fn published() -> impl Strategy<Value = Published> {
    prop_oneof![
        Just(Published::Yes),
        Just(Published::NotYet),
        text().prop_map(Published::No)
    ]
}

fn text<const MAX: usize>() -> impl Strategy<Value = Text<MAX>> {
    "[ -~]{0,64}".prop_map(|text| Text::lossy(&text))
}

fn url() -> impl Strategy<Value = Url> {
    "https://[a-z.]{1,20}/[ -~]{0,40}".prop_map(|text| Text::lossy(&text))
}

prop_compose! {
    fn binding()(kid in text(), kms_key in text(), ciphertext in vec(any::<u8>(), 0..200)) -> Binding {
        Binding { kid, kms_key, ciphertext: ciphertext.try_into().unwrap() }
    }
}

prop_compose! {
    fn account()(
        key in key_id(), directory in url(), contacts in vec(text(), 0..3), terms_agreed: bool, binding in option::of(binding()),
    ) -> Account {
        Account { key, directory, contacts: contacts.try_into().unwrap(), terms_agreed, binding }
    }
}

prop_compose! {
    fn order()(
        key in key_id(), account in account(), challenge in select(ChallengeKind::ALL), profile in option::of(text()),
        preferred_chain in option::of(text()), resume in option::of(url()),
    ) -> Order {
        Order { key, account, challenge, profile, preferred_chain, resume }
    }
}

fn phase() -> impl Strategy<Value = JobPhase> {
    prop_oneof![
        Just(JobPhase::Waiting),
        text().prop_map(JobPhase::Running),
        outcome().prop_map(JobPhase::Done),
        failure().prop_map(JobPhase::Failed),
    ]
}

fn outcome() -> impl Strategy<Value = JobOutcome> {
    let findings = vec((dns_name(), select(CaaVerdict::ALL), text()), 0..4).prop_map(|findings| {
        let of = |(name, verdict, records)| CaaFinding { name, verdict, records };
        let findings: Vec<CaaFinding> = findings.into_iter().map(of).collect();
        JobOutcome::Caa(findings.try_into().unwrap())
    });
    let window =
        (option::of(validity()), option::of(url()), any::<u32>()).prop_map(|(window, explanation, ask_again_s)| {
            RenewalWindow {
                window,
                explanation,
                ask_again_s,
            }
        });
    let issued = (validity(), text(), url()).prop_map(|(validity, issuer, account)| Issued {
        validity,
        issuer,
        account,
    });
    prop_oneof![
        url().prop_map(JobOutcome::Account),
        issued.prop_map(JobOutcome::Certificate),
        window.prop_map(JobOutcome::Renewal),
        Just(JobOutcome::Revoked),
        findings,
    ]
}

fn validity() -> impl Strategy<Value = Validity> {
    any::<(i64, i64)>().prop_map(|(not_before, not_after)| Validity { not_before, not_after })
}

prop_compose! {
    fn failure()(
        error in select(JobError::ALL), rule in option::of(select(ControlError::ALL)), detail in text(), retry_at: Option<i64>,
    ) -> JobFailure {
        JobFailure { error, rule, detail, retry_at }
    }
}
