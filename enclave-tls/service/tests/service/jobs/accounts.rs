//! Accounts, and their keys.

use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use enclave_wire::Mechanism;
use enclave_wire::control::{Binding, InstallChain, Job, JobError, Revoke};
use enclave_wire::signing::{Listing, SignError};
use lab_pebble::Options;
use serde_json::json;

use super::*;
use crate::aws::{Aws, BUNDLES, OTHER, SEALING, credentials};

fn url(outcome: Result<JobOutcome, JobFailure>) -> String {
    match outcome {
        Ok(JobOutcome::Account(url)) => url.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_is_registered_once_and_found_again_by_its_key() {
    let Some(ca) = Ca::start("account", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let key = account_key(&mut lab, None).id;
    let disagreeing = Account {
        terms_agreed: false,
        ..ca.account(key)
    };
    let refused = run(&mut lab, Job::Account(disagreeing)).unwrap_err();
    assert_eq!(refused.error, JobError::Account);
    assert!(refused.detail.as_str().contains("terms of service"), "{refused:?}");
    let revoke = Revoke {
        key: certificate_key(&mut lab, "lab-a", &["a.test"]).id,
        account: ca.account(key),
        reason: 0,
    };
    assert_eq!(begin(&mut lab, Job::Revoke(revoke)), Err(ControlError::NoCertificate));
    let first = url(run(&mut lab, Job::Account(ca.account(key))));
    assert_eq!(url(run(&mut lab, Job::Account(ca.account(key)))), first);
    let other = create(&mut lab, "account-b", Usage::AcmeAccount, &[], &[], None).unwrap();
    assert_ne!(url(run(&mut lab, Job::Account(ca.account(other.id)))), first);
}

/// Pebble's log has every request.
#[test]
fn contacts_that_changed_are_told_once() {
    let Some(ca) = Ca::start("contacts", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let key = account_key(&mut lab, None).id;
    let with = |contact: &str| Account {
        contacts: Listed::try_from(vec![Text::lossy(contact)]).unwrap(),
        ..ca.account(key)
    };
    let told = || ca.pebble.log().unwrap().matches("POST /my-account/").count();
    let first = url(run(&mut lab, Job::Account(ca.account(key))));
    assert_eq!(url(run(&mut lab, Job::Account(ca.account(key)))), first);
    assert_eq!(told(), 0, "it has them");
    for _ in 0..2 {
        assert_eq!(url(run(&mut lab, Job::Account(with("mailto:new@lab.test")))), first);
        assert_eq!(told(), 1);
    }
    // One that the CA does not take is a line of the log: the account is found, and has those that it had.
    assert_eq!(url(run(&mut lab, Job::Account(with("tel:+1")))), first);
    assert_eq!(told(), 2, "it was told");
    assert_eq!(url(run(&mut lab, Job::Account(with("mailto:new@lab.test")))), first);
    assert_eq!(told(), 2, "it has them still");
    // A new account is not registered with it.
    let other = create(&mut lab, "account-b", Usage::AcmeAccount, &[], &[], None)
        .unwrap()
        .id;
    let refused = run(
        &mut lab,
        Job::Account(Account {
            key: other,
            ..with("tel:+1")
        }),
    )
    .unwrap_err();
    assert_eq!(refused.error, JobError::Account, "{refused:?}");
}

/// threat_34, threat_54: the MAC key is a ciphertext that KMS opens for this image, for one directory and one identifier.
#[test]
fn threat_34_a_binding_opens_for_its_own_directory_and_identifier_alone() {
    let mac = [7; 32];
    let bindings = [("kid-1".to_owned(), Base64UrlUnpadded::encode_string(&mac))];
    let options = Options {
        bindings: bindings.into(),
        ..Options::default()
    };
    let Some(ca) = Ca::start("binding", options) else {
        return;
    };
    let probe = Aws::new();
    let policy = probe.policy_of(&ca.policy(), &[SEALING]);
    let pair = probe.pair(&policy);
    let aws = Aws::for_pairs(probe.ca.clone(), &[pair]);
    ca.beside(&aws);
    let mut lab = Lab::of(aws.setup_of(policy, &ca.kept));
    let key = account_key(&mut lab, None).id;
    let bound = |kid: &str, kms_key: &str, directory: &str| {
        let context = json!({"purpose": "eab", "directory": directory, "kid": kid});
        let ciphertext = Base64::decode_vec(&aws.encrypt(BUNDLES, &mac, &context)).unwrap();
        Account {
            binding: Some(Binding {
                kid: Text::lossy("kid-1"),
                kms_key: Text::lossy(kms_key),
                ciphertext: ciphertext.try_into().unwrap(),
            }),
            ..ca.account(key)
        }
    };
    let directory = ca.pebble.directory();
    for kms_key in [OTHER, SEALING, "no ARN"] {
        let refused = begin(&mut lab, Job::Account(bound("kid-1", kms_key, &directory)));
        assert_eq!(refused, Err(ControlError::KmsKeyRefused), "{kms_key}");
    }
    let refused = run(&mut lab, Job::Account(ca.account(key))).unwrap_err();
    assert_eq!((refused.error, refused.rule), (JobError::Account, None));
    assert!(
        refused.detail.as_str().contains("external account binding"),
        "{refused:?}"
    );
    let good = bound("kid-1", BUNDLES, &directory);
    let refused = run(&mut lab, Job::Account(good.clone())).unwrap_err();
    assert_eq!(
        (refused.error, refused.rule),
        (JobError::Service, Some(ControlError::CredentialsMissing))
    );
    lab.agent.install_aws(credentials()).unwrap();
    for spoilt in [
        bound("kid-2", BUNDLES, &directory),
        bound("kid-1", BUNDLES, "https://other.test/dir"),
    ] {
        let refused = run(&mut lab, Job::Account(spoilt)).unwrap_err();
        assert_eq!(
            (refused.error, refused.rule),
            (JobError::Service, Some(ControlError::CiphertextInvalid))
        );
    }
    let first = url(run(&mut lab, Job::Account(good)));
    // It exists now, and no binding is opened for it again.
    let decrypted = aws.count("Decrypt");
    assert_eq!(
        url(run(&mut lab, Job::Account(bound("kid-1", BUNDLES, &directory)))),
        first
    );
    assert_eq!(aws.count("Decrypt"), decrypted);
}

/// An account's key is P-256, born here, nobody's to use and no certificate's. It needs no CA to be tried.
#[test]
fn threat_54_an_accounts_key_is_used_by_nobody_but_the_service() {
    let policy = POLICY.replace(
        "usages = [\"tls\", \"tls-client\", \"digest\"]",
        "usages = [\"tls\", \"tls-client\", \"digest\", \"acme-account\"]",
    );
    let mut lab = Lab::of(Setup {
        policy,
        ..Setup::default()
    });
    let account = |lab: &mut Lab, names: &[&str], clients: &[&str]| {
        create(lab, "lab-account", Usage::AcmeAccount, names, clients, None)
    };
    assert_eq!(
        account(&mut lab, &[], &["www"]).map(drop),
        Err(ControlError::AccountKey)
    );
    assert_eq!(
        account(&mut lab, &["a.test"], &[]).map(drop),
        Err(ControlError::AccountKey)
    );
    let mut other = lab.agent.request("lab-account", "RSA-2048", Usage::AcmeAccount, &[]);
    other.dns_names = Vec::new().try_into().unwrap();
    assert_eq!(
        lab.agent.call(&Request::Create(other)),
        Reply::Error(ControlError::KeyTypeRefused)
    );
    let pkcs8 = include_bytes!("../../vectors/keys/p-256.der");
    let imported = lab.agent.try_import("lab-account", Usage::AcmeAccount, &[], pkcs8);
    assert_eq!(imported.map(drop), Err(ControlError::AccountKey));

    let id = account(&mut lab, &[], &[]).unwrap().id;
    assert_eq!(
        lab.agent.call(&Request::Csr(id)),
        Reply::Error(ControlError::AccountKey)
    );
    let chain = crate::lab::chain();
    assert_eq!(
        lab.agent.call(&Request::InstallChain(InstallChain { key: id, chain })),
        Reply::Error(ControlError::AccountKey)
    );
    assert_eq!(
        lab.agent.narrow(id, Usage::Tls).map(drop),
        Err(ControlError::AccountKey)
    );
    let digest = lab.key("lab-digest", "P-256").id;
    assert_eq!(
        lab.agent.narrow(digest, Usage::AcmeAccount).map(drop),
        Err(ControlError::NotNarrower)
    );
    let mut client = lab.client();
    let Ok(Listing::Page(page)) = client.list(0, 0) else {
        panic!("no page")
    };
    assert!(page.entries.0.iter().all(|entry| entry.id != id));
    assert!(client.find_by_id(id).is_empty());
    assert_eq!(client.sign(id, Mechanism::Ecdsa, &[1; 32]), Err(SignError::NoSuchKey));
    assert_eq!(lab.agent.supersede(id).unwrap().usage, Usage::AcmeAccount);
    assert_eq!(lab.agent.retire(id), Ok(()));
}
