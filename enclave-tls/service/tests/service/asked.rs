//! What the service asks of its agent, and what happens to work whose connection ends.

use std::sync::Arc;
use std::time::Duration;

use enclave_wire::Usage;
use enclave_wire::control::{ControlError, Create, InstallAws, Reply, Request};
use enclave_wire::log::Text;

use super::agent::name;
use super::aws::{Aws, KMS_HOST, credentials, provision};
use super::kept::{Kept, Manner};
use super::lab::{Lab, NOW, Setup};

fn ending(expires: i64) -> InstallAws {
    InstallAws {
        expires: Some(expires),
        ..credentials()
    }
}

fn ended() -> InstallAws {
    ending(NOW)
}

fn soon() -> InstallAws {
    ending(NOW + 300)
}

fn quick(setup: Setup) -> Lab {
    let mut setup = setup;
    setup.limits.heartbeat = Duration::from_millis(50);
    Lab::of(setup)
}

/// Work that finds no credentials, or old ones, asks for new ones; they come beside the request that it works on.
#[test]
fn credentials_come_when_they_are_needed() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = Lab::of(aws.setup(&kept));
    kept.give_credentials(credentials);
    lab.agent.create_sealed("lab-a", "web").unwrap();
    assert_eq!(kept.needed(), 1);
    lab.agent.install_aws(ended()).unwrap();
    lab.until(|_| kept.needed() == 2);
    drop(lab);

    let mut lab = Lab::of(aws.setup(&kept));
    kept.give_credentials(ended);
    let bundle = aws.bundle("lab-b", &aws.ca.certify(&["b.test"]));
    let refused = lab.agent.provision(provision("lab-b", &bundle));
    assert_eq!(
        refused,
        Err(ControlError::CredentialsMissing),
        "what came has ended, too"
    );
    kept.give_credentials(credentials);
    assert!(lab.agent.provision(provision("lab-b", &bundle)).is_ok());
}

/// An agent that has none is waited for, and not for ever.
#[test]
fn credentials_that_do_not_come_are_missing() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = Lab::of(aws.setup(&kept));
    assert_eq!(
        lab.agent.create_sealed("lab-a", "web"),
        Err(ControlError::CredentialsMissing)
    );
    assert_eq!(kept.needed(), 1);
    assert!(aws.passage.asked().is_empty());
}

/// The agent is told before the credentials end; told once, it is not pressed.
#[test]
fn credentials_are_asked_for_ahead_of_their_end() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = quick(aws.setup(&kept));
    lab.agent.install_aws(ending(NOW + 301)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(kept.needed(), 0);
    lab.clock.set(NOW + 1);
    lab.until(|_| kept.needed() == 1);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(kept.needed(), 1);
    kept.give_credentials(credentials);
    lab.agent.install_aws(soon()).unwrap();
    lab.until(|_| kept.needed() == 2);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(kept.needed(), 2, "those that came last an hour");
}

/// Only the hosts that AWS gives to a service in the key's region are asked, whatever the parent suggests.
#[test]
fn threat_31_a_suggested_host_must_be_the_services() {
    let aws = Aws::new();
    let mut lab = Lab::of(aws.setup(&Arc::default()));
    let bundle = aws.bundle("lab-a", &aws.ca.certify(&["a.test"]));
    for (host, asked) in [
        ("kms.evil.example", KMS_HOST),
        ("kms.eu-west-1.amazonaws.com", KMS_HOST),
        ("s3.us-east-1.amazonaws.com", KMS_HOST),
        ("kms-fips.us-east-1.amazonaws.com", "kms-fips.us-east-1.amazonaws.com"),
    ] {
        let install = InstallAws {
            kms_host: Some(host.parse().unwrap()),
            ..credentials()
        };
        lab.agent.install_aws(install).unwrap();
        let _ = lab.agent.provision(provision("lab-a", &bundle));
        assert_eq!(aws.passage.asked().last(), Some(&format!("{asked}:443")), "{host}");
    }
}

/// A user's credentials have no session token and no end.
#[test]
fn credentials_need_no_session_token() {
    let aws = Aws::new();
    let mut lab = Lab::of(aws.setup(&Arc::default()));
    let install = InstallAws {
        access_key_id: Text::lossy("AKIAADMIN"),
        secret_access_key: b"admin-secret".to_vec().try_into().ok().unwrap(),
        session_token: None,
        expires: None,
        ..credentials()
    };
    lab.agent.install_aws(install).unwrap();
    assert!(lab.agent.create_sealed("lab-a", "web").is_ok());
}

#[test]
fn credentials_that_no_request_can_carry_are_refused() {
    let aws = Aws::new();
    let mut lab = Lab::of(aws.setup(&Arc::default()));
    for (id, secret) in [
        ("", "secret"),
        ("A B", "secret"),
        ("AKID", "a\r\nb"),
        ("AKID", "\u{e4}"),
    ] {
        let install = InstallAws {
            access_key_id: Text::lossy(id),
            secret_access_key: secret.as_bytes().to_vec().try_into().ok().unwrap(),
            ..credentials()
        };
        assert_eq!(
            lab.agent.install_aws(install),
            Err(ControlError::CredentialsMissing),
            "{id} {secret}"
        );
    }
}

/// A thread cannot be stopped: what the next connection asks for waits for it, so that the keys have one writer.
#[test]
fn the_work_of_a_connection_that_ended_is_waited_for() {
    let mut lab = Lab::new();
    let request = lab.agent.request("lab-a", "RSA-4096", Usage::Tls, &["www"]);
    lab.agent.begin(&Request::Create(request));
    // Work that has not begun when its connection ends never does. This one has, and most likely has not ended.
    std::thread::sleep(Duration::from_millis(50));
    lab.agent.disconnect();
    lab.reconnect();
    assert_eq!(lab.agent.list(0).total, 1, "the key is made before the list");
}

/// Nobody waits for what AWS answers to a connection that ended, and nothing is made of it.
#[test]
fn a_call_to_aws_ends_with_its_connection() {
    let aws = Aws::new();
    let mut lab = Lab::of(aws.setup(&Arc::default()));
    lab.agent.install_aws(credentials()).unwrap();
    let bundle = aws.bundle("lab-a", &aws.ca.certify(&["a.test"]));
    aws.kms.faults().set(emulator_kms::Faults {
        delay_ms: 2_000,
        ..emulator_kms::Faults::default()
    });
    lab.agent.begin(&Request::Provision(provision("lab-a", &bundle)));
    lab.until(|_| !aws.passage.asked().is_empty());
    lab.agent.disconnect();
    lab.reconnect();
    assert_eq!(lab.agent.list(0).total, 0, "what KMS answered late was for nobody");
}

/// One request at a time: only credentials may come beside another, and what waited for the agent was not done.
#[test]
fn a_second_request_ends_the_connection() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = Lab::of(aws.setup(&kept));
    lab.agent.install_aws(credentials()).unwrap();
    kept.behave(Manner::IsSilent);
    let request = lab.agent.request("lab-a", "P-256", Usage::Tls, &["www"]);
    lab.agent.begin(&Request::Create(Create {
        sealed: Some(name("web")),
        ..request
    }));
    lab.until(|_| kept.offered() == 1);
    lab.agent.begin(&Request::InstallAws(credentials()));
    assert_eq!(lab.agent.next(), Some(Reply::AwsInstalled));
    lab.agent.begin(&Request::Status);
    assert_eq!(lab.agent.next(), Some(Reply::Error(ControlError::Malformed)));
    assert!(lab.agent.is_closed());
    lab.reconnect();
    assert_eq!(lab.agent.list(0).total, 0);
}
