//! What is refused before it begins, and servers that are not the ones of the policy.

use enclave_wire::control::{Binding, Caa, Job, JobError, JobKind, Renewal};
use enclave_wire::egress::EgressError;
use lab_pebble::Options;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::aws::Ca as Authority;

/// threat_31, threat_39: the inventory chooses among what the policy names.
#[test]
fn threat_39_no_job_begins_that_the_policy_or_the_keys_do_not_allow() {
    let Some(ca) = Ca::start("refused", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]).id;
    let nameless = certificate_key(&mut lab, "lab-b", &[]).id;
    let good = ca.order(key, account);
    let directory = ca.pebble.directory();
    for other in [
        directory.replace("pebble.test", "evil.test"),
        directory.replace("/dir", "/other"),
        directory.replace("https", "http"),
        format!("{directory}?x"),
        "https://pebble.test/dir".to_owned(),
        "nothing".to_owned(),
    ] {
        let mut order = good.clone();
        order.account.directory = Text::lossy(&other);
        assert_eq!(
            begin(&mut lab, Job::Order(order)),
            Err(ControlError::DirectoryRefused),
            "{other}"
        );
        let directory = Text::lossy(&other);
        let renewal = Job::Renewal(Renewal { key, directory });
        assert_eq!(begin(&mut lab, renewal), Err(ControlError::DirectoryRefused), "{other}");
    }
    let order = |key, account| Job::Order(ca.order(key, account));
    let elsewhere = Order {
        resume: Some(Text::lossy("https://evil.test/order/1")),
        ..good.clone()
    };
    for (job, error) in [
        (order(KeyId([9; 32]), account), ControlError::NoSuchKey),
        (order(key, KeyId([9; 32])), ControlError::NoSuchKey),
        (order(account, account), ControlError::AccountKey),
        (order(key, key), ControlError::AccountKey),
        (order(nameless, account), ControlError::ChainNames),
        (Job::Order(elsewhere), ControlError::DirectoryRefused),
        (Job::Account(ca.account(key)), ControlError::AccountKey),
        (
            Job::Renewal(Renewal {
                key: account,
                directory: ca.directory(),
            }),
            ControlError::AccountKey,
        ),
    ] {
        assert_eq!(begin(&mut lab, job.clone()), Err(error), "{job:?}");
        assert_eq!(state(&mut lab, job.id()), None, "no trace of it");
    }
    assert_eq!(ca.passage.asked(), [""; 0], "and nobody was asked anything");
}

#[test]
fn without_a_policy_s_word_there_is_no_ca_and_no_resolver() {
    let names = "[[names]]\npattern = \"account-*\"\nusages = [\"acme-account\"]\n";
    let mut lab = Lab::of(Setup {
        policy: format!("{POLICY}{names}"),
        ..Setup::default()
    });
    let key = account_key(&mut lab, None).id;
    let account = Account {
        key,
        directory: Text::lossy("https://acme-v02.api.letsencrypt.org/directory"),
        contacts: Listed::default(),
        terms_agreed: true,
        binding: None,
    };
    let refused = begin(&mut lab, Job::Account(account.clone()));
    assert_eq!(refused, Err(ControlError::DirectoryRefused));
    drop(lab);
    let roots = pem("CERTIFICATE", Authority::new().der());
    let acme = format!(
        "[[acme]]\ndirectory = \"{}\"\nroots = [\"\"\"\n{roots}\"\"\"]\n",
        account.directory.as_str()
    );
    let mut lab = Lab::of(Setup {
        policy: format!("{POLICY}{names}{acme}"),
        ..Setup::default()
    });
    let account = Account {
        key: account_key(&mut lab, None).id,
        ..account
    };
    let caa = Caa {
        account: account.clone(),
        names: vec!["a.test".parse().unwrap()].try_into().unwrap(),
    };
    assert_eq!(begin(&mut lab, Job::Caa(caa)), Err(ControlError::ResolverRefused));
    let refused = run(&mut lab, Job::Account(account)).unwrap_err();
    assert_eq!(refused.error, JobError::EgressRefused, "there is no egress plane");
}

/// threat_31: TLS to a CA ends in the service, under the roots that the policy names for it.
#[test]
fn threat_31_a_ca_under_another_root_is_refused() {
    let Some(ca) = Ca::start("roots", Options::default()) else {
        return;
    };
    let mut lab = Lab::of(Setup {
        policy: format!("{POLICY}{}", ca.rules(Authority::new().der())),
        egress: Some(ca.passage.name.clone()),
        ..Setup::default()
    });
    lab.clock.set(soon());
    let key = account_key(&mut lab, None).id;
    let refused = run(&mut lab, Job::Account(ca.account(key))).unwrap_err();
    assert_eq!((refused.error, refused.rule), (JobError::Untrusted, None));
    ca.passage.refuse(Some(EgressError::NotAllowed));
    let refused = run(&mut lab, Job::Account(ca.account(key))).unwrap_err();
    assert_eq!(refused.error, JobError::EgressRefused);
}

/// threat_49: whatever a parent begins, the service answers, and goes on.
#[test]
fn threat_49_no_job_panics_or_takes_the_service_along() {
    let names =
        "[[names]]\npattern = \"account-*\"\nusages = [\"acme-account\"]\n[[acme]]\ndirectory = \"https://*.test/*\"\n";
    let roots = pem("CERTIFICATE", Authority::new().der());
    let mut lab = Lab::of(Setup {
        policy: format!("{POLICY}{names}roots = [\"\"\"\n{roots}\"\"\"]\n"),
        egress: Some(unique("nobody")),
        ..Setup::default()
    });
    let keys = [
        account_key(&mut lab, None).id,
        certificate_key(&mut lab, "lab-a", &["a.test"]).id,
        lab.key_with_chain().0,
        KeyId([0; 32]),
    ];
    let key = || prop::sample::select(keys.to_vec());
    let url = || "https://[a-z]{1,3}\\.test/[a-z?/]{0,3}|[ -~]{0,20}".prop_map(|text| Text::lossy(&text));
    let text = "[ -~]{0,30}";
    let binding = (text, text).prop_map(|(kid, kms_key)| Binding {
        kid: Text::lossy(&kid),
        kms_key: Text::lossy(&kms_key),
        ciphertext: vec![0; 100].try_into().unwrap(),
    });
    let account = (key(), url(), any::<bool>(), proptest::option::of(binding));
    let account = account.prop_map(|(key, directory, terms_agreed, binding)| Account {
        key,
        directory,
        contacts: Listed::default(),
        terms_agreed,
        binding,
    });
    let job = (prop::sample::select(JobKind::ALL), key(), account, url(), any::<u8>());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(400));
    let lab = std::cell::RefCell::new(lab);
    runner
        .run(&job, |(kind, key, account, url, number)| {
            let job = match kind {
                JobKind::Account => Job::Account(account),
                JobKind::Order => Job::Order(Order {
                    key,
                    account,
                    challenge: ChallengeKind::Dns01,
                    profile: None,
                    preferred_chain: None,
                    resume: (number > 100).then_some(url),
                }),
                JobKind::Renewal => Job::Renewal(Renewal { key, directory: url }),
                JobKind::Revoke => Job::Revoke(enclave_wire::control::Revoke {
                    key,
                    account,
                    reason: number,
                }),
                JobKind::Caa => Job::Caa(Caa {
                    account,
                    names: Listed::default(),
                }),
            };
            let lab = &mut *lab.borrow_mut();
            let id = job.id();
            match begin(lab, job) {
                Ok(begun) => prop_assert_eq!(begun.id, id),
                Err(error) => prop_assert!(error != ControlError::Failed && error != ControlError::Malformed),
            }
            prop_assert_eq!(lab.agent.call(&Request::Ping), Reply::Pong);
            Ok(())
        })
        .unwrap();
}
