//! Certificates that are ordered, and what is done with them later.

use std::collections::BTreeSet;

use enclave_wire::control::{
    ChallengeKind, ControlError, Issued, Job, JobError, JobId, JobKind, JobOutcome, Renewal, Revoke,
};
use enclave_wire::log::Text;
use enclave_wire::{KeyId, Mechanism};
use lab_pebble::Options;

use super::agent::Manner;
use super::*;
use crate::aws::pem;

fn issued(outcome: Result<JobOutcome, JobFailure>) -> Issued {
    match outcome {
        Ok(JobOutcome::Certificate(issued)) => issued,
        other => panic!("{other:?}"),
    }
}

fn order_id(key: KeyId) -> JobId {
    JobId {
        kind: JobKind::Order,
        key,
    }
}

fn leaf(lab: &mut Lab, key: KeyId) -> Vec<u8> {
    let chain = lab.agent.chain(key).unwrap().unwrap();
    chain.certificates()[0].as_bytes().to_vec()
}

/// The whole way, with a server that refuses nine of ten nonces (threat_52): ordered, proven, asked for, installed, told of.
#[test]
fn threat_52_an_order_is_carried_out_though_nine_of_ten_nonces_are_refused() {
    let options = Options {
        bad_nonces: 90,
        ..Options::default()
    };
    let Some(ca) = Ca::start("nonces", options) else { return };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["a.jobs.test", "b.jobs.test"]).id;
    let order = ca.order(key, account);
    let issued = issued(run(&mut lab, Job::Order(order)));
    assert!(
        issued.account.as_str().starts_with("https://pebble.test:"),
        "{issued:?}"
    );
    assert!(issued.issuer.as_str().starts_with("Pebble Root CA"), "{issued:?}");

    let known = lab.agent.list(0).keys.into_items();
    let known = known.into_iter().find(|info| info.id == key).unwrap();
    assert_eq!(known.validity, Some(issued.validity));
    let days = (issued.validity.not_after - issued.validity.not_before) / 86_400;
    assert!((89..=90).contains(&days), "{days}");
    assert!(lab.client().sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());

    let state = state(&mut lab, order_id(key)).unwrap();
    assert!(state.order.unwrap().as_str().starts_with("https://pebble.test:"));
    lab.until(|_| ca.publisher.inner().ended == [order_id(key)]);
    let inner = ca.publisher.inner();
    let names: BTreeSet<&str> = inner
        .published
        .iter()
        .map(|challenge| challenge.name.as_str())
        .collect();
    assert_eq!(names, ["a.jobs.test", "b.jobs.test"].into());
    assert_eq!(inner.withdrawn, inner.published, "all is taken away again");
    for challenge in &inner.published {
        let (token, value) = (challenge.token.as_str(), challenge.value.as_str());
        assert!(value.starts_with(&format!("{token}.")), "{value}");
    }
}

/// A wildcard and the name above it are proven by two records of one name.
#[test]
fn a_wildcard_is_proven_by_dns() {
    let Some(ca) = Ca::start("wildcard", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["*.dns.test", "dns.test"]).id;
    let order = ca.order(key, account);
    let refused = run(&mut lab, Job::Order(order.clone())).unwrap_err();
    assert_eq!(refused.error, JobError::NoChallenge, "{refused:?}");
    assert!(
        refused.detail.as_str().contains("a wildcard needs DNS-01"),
        "{refused:?}"
    );
    assert!(ca.publisher.inner().published.is_empty());

    let order = Order {
        challenge: ChallengeKind::Dns01,
        ..order
    };
    issued(run(&mut lab, Job::Order(order)));
    let inner = ca.publisher.inner();
    let [first, second] = &inner.published[..] else {
        panic!("{:?}", inner.published)
    };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("dns.test", "dns.test"));
    assert_ne!(first.value, second.value);
}

#[test]
fn profile_and_chain_are_the_ones_that_were_asked_for() {
    let profiles = [("default".to_owned(), 90 * 86_400), ("short".to_owned(), 6 * 86_400)];
    let options = Options {
        alternate_roots: 2,
        profiles: profiles.into(),
        ..Options::default()
    };
    let Some(ca) = Ca::start("chains", options) else { return };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]).id;
    let order = Order {
        profile: Some(Text::lossy("short")),
        ..ca.order(key, account)
    };
    let default = issued(run(&mut lab, Job::Order(order.clone())));
    let days = (default.validity.not_after - default.validity.not_before) / 86_400;
    assert!((5..=6).contains(&days), "{days}");
    let root = common_name(&ca.pebble.issuing_root(2).unwrap());
    assert_ne!(default.issuer.as_str(), root);
    let preferring = |issuer: &str| Order {
        preferred_chain: Some(Text::lossy(issuer)),
        ..order.clone()
    };
    let other = issued(run(&mut lab, Job::Order(preferring(&root))));
    assert_eq!(other.issuer.as_str(), root);
    // One that there is not is the default.
    let none = issued(run(&mut lab, Job::Order(preferring("no such root"))));
    assert_eq!(none.issuer, default.issuer);
    let unknown = Order {
        profile: Some(Text::lossy("long")),
        ..order
    };
    let refused = run(&mut lab, Job::Order(unknown)).unwrap_err();
    assert_eq!(refused.error, JobError::Order);
    assert!(
        refused.detail.as_str().contains("it has: default, short"),
        "{refused:?}"
    );
}

fn common_name(root: &str) -> String {
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["x509", "-noout", "-subject", "-nameopt", "multiline"]);
    let mut child = openssl
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), root.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let line = said.lines().find(|line| line.trim_start().starts_with("commonName"));
    line.unwrap().split("= ").nth(1).unwrap().to_owned()
}

/// A new generation is ordered in the place of the old one's certificate, which is asked about, and revoked.
#[test]
fn a_certificate_is_renewed_when_the_ca_says_and_revoked() {
    let Some(ca) = Ca::start("renewal", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let old = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]).id;
    let renewal = |key| {
        Job::Renewal(Renewal {
            key,
            directory: ca.directory(),
        })
    };
    assert_eq!(begin(&mut lab, renewal(old)), Err(ControlError::NoCertificate));
    let first = issued(run(&mut lab, Job::Order(ca.order(old, account))));
    let before = match run(&mut lab, renewal(old)) {
        Ok(JobOutcome::Renewal(window)) => window,
        other => panic!("{other:?}"),
    };
    let window = before.window.unwrap();
    assert!(window.not_before > first.validity.not_before && window.not_after <= first.validity.not_after);
    let certificate = leaf(&mut lab, old);
    ca.pebble
        .set_renewal_info(
            &pem("CERTIFICATE", &certificate),
            r#"{"suggestedWindow":{"start":"2021-01-03T00:00:00Z","end":"2021-01-07T00:00:00Z"},"explanationURL":"https://why.test/"}"#,
        )
        .unwrap();
    match run(&mut lab, renewal(old)) {
        Ok(JobOutcome::Renewal(window)) => {
            let validity = window.window.unwrap();
            assert_eq!(
                (validity.not_before, validity.not_after),
                (1_609_632_000, 1_609_977_600)
            );
            assert_eq!(window.explanation.unwrap().as_str(), "https://why.test/");
            assert!((60..=86_400).contains(&window.ask_again_s));
        }
        other => panic!("{other:?}"),
    }

    let new = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]);
    assert_eq!(new.generation, 2);
    issued(run(&mut lab, Job::Order(ca.order(new.id, account))));
    assert_ne!(leaf(&mut lab, new.id), certificate);
    // The same certificate is replaced once only: the second order is made without saying so.
    let third = certificate_key(&mut lab, "lab-b", &["a.jobs.test"]).id;
    issued(run(&mut lab, Job::Order(ca.order(third, account))));

    let revoke = |reason| {
        Job::Revoke(Revoke {
            key: old,
            account: ca.account(account),
            reason,
        })
    };
    let refused = run(&mut lab, revoke(2)).unwrap_err();
    assert_eq!(refused.error, JobError::Order);
    assert_eq!(run(&mut lab, revoke(4)), Ok(JobOutcome::Revoked));
    let serial = serial(&certificate);
    let (status, reason) = ca.pebble.certificate_status(&serial).unwrap();
    assert_eq!((status.as_str(), reason), ("Revoked", Some(4)));
    // Again is no error: the agent may not have heard.
    assert_eq!(run(&mut lab, revoke(4)), Ok(JobOutcome::Revoked));
}

fn serial(leaf: &[u8]) -> String {
    use x509_cert::der::Decode as _;
    let certificate = x509_cert::Certificate::from_der(leaf).unwrap();
    hex::encode(certificate.tbs_certificate().serial_number().as_bytes())
}

/// What the agent does not publish, and what the CA does not find, ends the order; all is withdrawn, and the key stays as it was.
#[test]
fn threat_52_an_order_that_is_not_proven_leaves_everything_as_it_was() {
    let options = Options {
        blocked: vec!["blocked.test".to_owned()],
        ..Options::default()
    };
    let Some(ca) = Ca::start("unproven", options) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]).id;
    ca.publisher.is(Manner::Refuses);
    let refused = run(&mut lab, Job::Order(ca.order(key, account))).unwrap_err();
    assert_eq!(refused.error, JobError::Unpublished);
    assert_eq!(refused.detail.as_str(), "there is no such zone");
    // Nothing is pending at the CA any more, where the order would wait for a proof otherwise.
    let over = Order {
        resume: state(&mut lab, order_id(key)).unwrap().order,
        ..ca.order(key, account)
    };
    let given_up = over.resume.clone().unwrap();
    assert_eq!(
        run(&mut lab, Job::Order(over)).unwrap_err().error,
        JobError::Unpublished
    );
    assert_ne!(state(&mut lab, order_id(key)).unwrap().order.unwrap(), given_up);
    ca.publisher.is(Manner::Lies);
    let refused = run(&mut lab, Job::Order(ca.order(key, account))).unwrap_err();
    assert_eq!(refused.error, JobError::Challenge, "{refused:?}");
    assert!(refused.detail.as_str().contains("unauthorized"), "{refused:?}");
    let inner = ca.publisher.inner();
    assert_eq!(inner.withdrawn, inner.published);
    drop(inner);
    let blocked = certificate_key(&mut lab, "lab-b", &["www.blocked.test"]).id;
    let refused = run(&mut lab, Job::Order(ca.order(blocked, account))).unwrap_err();
    assert_eq!(refused.error, JobError::Order);
    assert!(refused.detail.as_str().contains("rejectedIdentifier"), "{refused:?}");
    assert_eq!(lab.agent.chain(key), Ok(None));
    // The order that failed is of no use; another one is made, but not for a key that is superseded.
    ca.publisher.is(Manner::Publishes);
    let failed = state(&mut lab, order_id(key)).unwrap().order.unwrap();
    let again = Order {
        resume: Some(failed.clone()),
        ..ca.order(key, account)
    };
    lab.agent.supersede(key).unwrap();
    let refused = run(&mut lab, Job::Order(again.clone())).unwrap_err();
    assert_eq!(refused.error, JobError::Order);
    assert!(refused.detail.as_str().contains("superseded"), "{refused:?}");
    lab.agent.reinstate(key).unwrap();
    issued(run(&mut lab, Job::Order(again)));
    assert_ne!(state(&mut lab, order_id(key)).unwrap().order.unwrap(), failed);
}
