//! What the agent may ask, in which order, and what each refusal is called.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use enclave_tls::platform::Limits;
use enclave_wire::control::{
    ControlError, InstallChain, InstallCredential, Origin, Phase, PolicyBytes, Reply, Request,
};
use enclave_wire::frame::encode_with;
use enclave_wire::signing::{Reply as SigningReply, Request as SigningRequest};
use enclave_wire::{Chain, KeyId, Mechanism, Usage};

use super::agent::{Agent, name};
use super::client::{Client, Identity};
use super::lab::{Lab, NOW, POLICY, Setup, chain};

fn error(error: ControlError) -> Reply {
    Reply::Error(error)
}

fn policy(text: &str) -> Request {
    Request::Policy(Some(PolicyBytes::try_from(text.as_bytes().to_vec()).unwrap()))
}

fn pkcs8() -> Vec<u8> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .unwrap()
        .as_ref()
        .to_vec()
}

#[test]
fn policy_comes_first_and_once() {
    let mut lab = Lab::before_policy(Setup::default());
    assert_eq!(lab.agent.status().phase, Phase::AwaitingPolicy);
    for early in [
        Request::Ready,
        Request::Statistics,
        Request::List(0),
        Request::Retire(KeyId([0; 32])),
    ] {
        assert_eq!(lab.agent.call(&early), error(ControlError::PolicyFirst));
    }
    assert_eq!(
        lab.agent.try_create("lab-a", "P-256", Usage::Tls, &[]),
        Err(ControlError::PolicyFirst)
    );
    assert!(Client::dial(&lab.signing).is_err(), "the signing plane is closed");
    for bad in ["", "version = 2", &format!("{POLICY}\nextra = 1"), "\u{fffd}"] {
        assert_eq!(
            lab.agent.call(&policy(bad)),
            error(ControlError::PolicyInvalid),
            "{bad:?}"
        );
    }
    assert_eq!(lab.agent.call(&policy(POLICY)), Reply::PolicyTaken);
    assert_eq!(lab.agent.status().phase, Phase::AwaitingReady);
    for again in [Request::Policy(None), policy(POLICY)] {
        assert_eq!(lab.agent.call(&again), error(ControlError::PolicyAlreadySet));
    }
    assert!(Client::dial(&lab.signing).is_err(), "the signing plane is still closed");
    assert_eq!(lab.agent.call(&Request::Ready), Reply::Serving);
    assert_eq!(lab.agent.status().phase, Phase::Serving);
    assert!(
        Client::dial(&lab.signing).is_ok(),
        "it listens when `ready` is acknowledged"
    );
    assert_eq!(lab.agent.call(&Request::Ready), Reply::Serving);
}

#[test]
fn the_parents_policy_only_takes_away() {
    let mut lab = Lab::before_policy(Setup::default());
    let parents = r#"
        version = 1
        imports = false
        [[names]]
        pattern = "*"
        usages = ["tls"]
        [keys]
        rsa = { min = 2048, max = 8192 }
        curves = ["P-256", "P-384"]
    "#;
    assert_eq!(lab.agent.call(&policy(parents)), Reply::PolicyTaken);
    assert!(lab.agent.try_create("lab-a", "P-256", Usage::Tls, &[]).is_ok());
    for (label, key_type, usage, refused) in [
        ("other", "P-256", Usage::Tls, ControlError::NameRefused),
        ("lab-a", "P-256", Usage::Digest, ControlError::UsageRefused),
        ("lab-a", "P-384", Usage::Tls, ControlError::KeyTypeRefused),
        ("lab-a", "Ed25519", Usage::Tls, ControlError::KeyTypeRefused),
        ("lab-a", "RSA-8192", Usage::Tls, ControlError::KeyTypeRefused),
    ] {
        assert_eq!(
            lab.agent.try_create(label, key_type, usage, &[]),
            Err(refused),
            "{label} {key_type}"
        );
    }
    assert_eq!(
        lab.agent.try_import("lab-a", Usage::Tls, &[], &pkcs8()),
        Err(ControlError::ImportsRefused)
    );
}

#[test]
fn each_refusal_has_its_code() {
    let mut lab = Lab::new();
    for (label, key_type, usage, client, refused) in [
        ("other", "P-256", Usage::Tls, "www", ControlError::NameRefused),
        ("server-a", "P-256", Usage::Digest, "www", ControlError::UsageRefused),
        ("lab-a", "P-384", Usage::Tls, "www", ControlError::KeyTypeRefused),
        ("lab-a", "RSA-4104", Usage::Tls, "www", ControlError::KeyTypeRefused),
        ("lab-a", "RSA-2056", Usage::Tls, "www", ControlError::SizeNotGenerated),
        ("lab-a", "P-256", Usage::Tls, "nobody", ControlError::NoSuchClient),
    ] {
        assert_eq!(
            lab.agent.try_create(label, key_type, usage, &[client]),
            Err(refused),
            "{label} {key_type} {client}"
        );
    }
    let absent = KeyId([3; 32]);
    let chain = InstallChain {
        key: absent,
        chain: Chain::default(),
    };
    assert_eq!(
        lab.agent.call(&Request::InstallChain(chain)),
        error(ControlError::NoSuchKey)
    );
    assert_eq!(lab.agent.call(&Request::Csr(absent)), error(ControlError::NoSuchKey));
    assert_eq!(lab.agent.supersede(absent), Err(ControlError::NoSuchKey));
    assert_eq!(lab.agent.retire(absent), Err(ControlError::NoSuchKey));
    assert_eq!(lab.agent.chain(absent), Err(ControlError::NoSuchKey));
    assert_eq!(lab.agent.narrow(absent, Usage::Tls), Err(ControlError::NoSuchKey));
    assert_eq!(
        lab.agent.try_import("lab-a", Usage::Tls, &["www"], b"no key"),
        Err(ControlError::KeyInvalid)
    );
    let random = aws_lc_rs::rand::SystemRandom::new();
    let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    assert_eq!(
        lab.agent.try_import("lab-a", Usage::Tls, &["www"], p384.as_ref()),
        Err(ControlError::KeyTypeRefused)
    );
    assert_eq!(lab.agent.list(0).total, 0, "nothing that was refused is here");
}

#[test]
fn keys_are_imported_once() {
    let mut lab = Lab::new();
    let pkcs8 = pkcs8();
    let info = lab
        .agent
        .try_import("lab-a", Usage::Digest, &["www", "www"], &pkcs8)
        .unwrap();
    assert_eq!(
        (info.origin, info.generation, info.clients.items()),
        (Origin::Imported, 1, [name("www")].as_slice())
    );
    assert_eq!(
        lab.agent.try_import("lab-b", Usage::Digest, &["www"], &pkcs8),
        Err(ControlError::KeyExists)
    );
    assert!(lab.client().sign(info.id, Mechanism::Ecdsa, &[1; 32]).is_ok());
    lab.agent.retire(info.id).unwrap();
    assert_eq!(
        lab.agent
            .try_import("lab-a", Usage::Digest, &["www"], &pkcs8)
            .unwrap()
            .generation,
        2
    );
}

#[test]
fn a_usage_is_only_narrowed() {
    let mut lab = Lab::new();
    for (from, to, result) in [
        (Usage::Digest, Usage::Tls, Ok(Usage::Tls)),
        (Usage::Digest, Usage::TlsClient, Ok(Usage::TlsClient)),
        (Usage::Digest, Usage::Digest, Err(ControlError::NotNarrower)),
        (Usage::Tls, Usage::Digest, Err(ControlError::NotNarrower)),
        (Usage::Tls, Usage::TlsClient, Err(ControlError::NotNarrower)),
        (Usage::TlsClient, Usage::Tls, Err(ControlError::NotNarrower)),
    ] {
        let id = lab.agent.create("lab-a", "P-256", from, &["www"]).id;
        assert_eq!(lab.agent.narrow(id, to).map(|info| info.usage), result, "{from} {to}");
    }
}

#[test]
fn a_credential_belongs_to_one_client() {
    let mut lab = Lab::new();
    let taken = InstallCredential {
        client: name("thief"),
        id: lab.www.id,
        verifier: Identity::new().verifier(),
    };
    assert_eq!(
        lab.agent.call(&Request::InstallCredential(taken)),
        error(ControlError::Failed)
    );
    assert_eq!(
        lab.agent.try_create("lab-a", "P-256", Usage::Tls, &["thief"]),
        Err(ControlError::NoSuchClient)
    );
    assert!(Client::open(&lab.signing, &lab.www).is_ok());
}

/// Chains are judged by the key's names and usage; what is served is the chain without its root.
#[test]
fn a_chain_is_installed_for_its_key() {
    let mut lab = Lab::new();
    let other = lab.key("lab-a", "P-256").id;
    let wrong = InstallChain {
        key: other,
        chain: chain(),
    };
    assert_eq!(
        lab.agent.call(&Request::InstallChain(wrong)),
        error(ControlError::ChainKeyMismatch)
    );
    let (key, not_after) = lab.key_with_chain();
    assert!(not_after > NOW);
    let mut client = lab.client();
    let served = Chain::try_from(chain().certificates()[..1].to_vec()).unwrap();
    assert_eq!(
        client.call(&SigningRequest::Chain(key)).unwrap(),
        SigningReply::Chain(served.clone())
    );
    assert_eq!(
        lab.agent.chain(key),
        Ok(Some(served)),
        "the agent is given what servers send"
    );
    assert_eq!(
        client.call(&SigningRequest::Chain(other)).unwrap(),
        SigningReply::Chain(Chain::default())
    );
    assert_eq!(lab.agent.chain(other), Ok(None));
    lab.clock.set(not_after + 1);
    let late = InstallChain { key, chain: chain() };
    assert_eq!(
        lab.agent.call(&Request::InstallChain(late)),
        error(ControlError::ChainExpired)
    );
}

#[test]
fn a_request_is_made_for_a_key() {
    let mut lab = Lab::new();
    let id = lab.key("lab-a", "P-256").id;
    let Reply::Csr(request) = lab.agent.call(&Request::Csr(id)) else {
        panic!("a request")
    };
    assert!(request.as_bytes().starts_with(&[0x30]));
}

/// The boot goes on when its control peer is replaced: its keys stay, its policy stays, its clients notice nothing.
#[test]
fn the_control_peer_may_come_and_go() {
    let mut lab = Lab::new();
    let key = lab.key("lab-a", "P-256").id;
    let mut client = lab.client();
    let boot = lab.agent.status().boot;
    for _ in 0..3 {
        let fresh = Agent::accept_after(&lab.listener, &mut lab.agent);
        lab.agent = fresh;
        assert_eq!(
            (lab.agent.status().boot, lab.agent.status().phase),
            (boot, Phase::Serving)
        );
        assert_eq!(lab.agent.list(0).keys.items()[0].id, key);
        assert_eq!(
            lab.agent.call(&Request::Policy(None)),
            error(ControlError::PolicyAlreadySet)
        );
        assert!(client.sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    }
}

/// A peer that is there but answers no ping is left after three of them.
#[test]
fn a_silent_peer_is_left() {
    let limits = Limits {
        heartbeat: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut lab = Lab::with(limits);
    let begun = std::time::Instant::now();
    lab.agent.disconnect();
    let (silent, _) = lab.listener.accept().unwrap();
    let (next, _) = lab.listener.accept().unwrap();
    let taken = begun.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(3)).contains(&taken),
        "{taken:?}"
    );
    drop((silent, next));
}

/// Pings go on while a key is made, and so does signing.
#[test]
fn making_an_rsa_key_stalls_nobody() {
    let mut lab = Lab::with(Limits {
        heartbeat: Duration::from_millis(100),
        ..Limits::default()
    });
    let key = lab.key("lab-a", "P-256").id;
    let mut client = lab.client();
    let signer = std::thread::spawn(move || {
        let mut slowest = Duration::ZERO;
        for _ in 0..500 {
            let begun = std::time::Instant::now();
            client.sign(key, Mechanism::Ecdsa, &[1; 32]).unwrap();
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    });
    lab.agent.create("lab-b", "RSA-4096", Usage::Tls, &["www"]);
    let slowest = signer.join().unwrap();
    println!("slowest signature while a key was made: {slowest:?}");
    assert!(slowest < Duration::from_secs(1));
    assert_eq!(lab.agent.list(0).total, 2, "the connection is the same");
}

#[test]
fn what_is_malformed_ends_the_connection() {
    let mut lab = Lab::new();
    for (bytes, refused) in [
        (encode_with(0x7f, 1, |_| ()).into_bytes(), ControlError::Malformed),
        (
            encode_with(0x21, 1, |body| body.put(&[1; 31])).into_bytes(),
            ControlError::Malformed,
        ),
        (encode_with(0xc1, 99, |_| ()).into_bytes(), ControlError::Malformed),
        (u32::MAX.to_be_bytes().repeat(4), ControlError::Malformed),
        (
            [&[0, 0, 0, 10, 9, 1], [0u8; 8].as_slice()].concat(),
            ControlError::Version,
        ),
    ] {
        assert_eq!(lab.agent.send_raw(&bytes), Some(error(refused)));
        assert!(lab.agent.is_closed());
        lab.agent = Agent::accept(&lab.listener);
        assert_eq!(lab.agent.status().phase, Phase::Serving);
    }
}
