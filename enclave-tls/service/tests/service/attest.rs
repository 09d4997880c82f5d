//! Proofs of which keys are here, as a stranger checks them.

use std::sync::Arc;

use enclave_attestation::{Expectations, Nsm as _, Purpose, SignedDocument, Statement, StatementError, Verified};
use enclave_policy::Policy;
use enclave_wire::KeyId;
use enclave_wire::control::{Attestation, ControlError, Phase, Reply, Request};

use super::aws::{Aws, OLD_SEALING, SEALING, credentials, provision};
use super::kept::Kept;
use super::lab::{Lab, NOW, POLICY, Setup, attestation_root};

fn verified(attestation: &Attestation) -> Verified {
    let document = SignedDocument::decode(attestation.document.as_bytes()).unwrap();
    document
        .verify(&attestation_root(), u64::try_from(NOW).unwrap())
        .unwrap()
}

fn statement(attestation: &Attestation, nonce: &[u8]) -> Result<Statement, StatementError> {
    Statement::bound_to(
        &verified(attestation),
        attestation.statement.as_bytes(),
        Purpose::Keys,
        nonce,
    )
}

/// Who verifies learns which image and which policy hold which keys, from where these came, and where their states may go.
#[test]
fn a_proof_names_the_keys_and_where_they_came_from() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = Lab::of(aws.setup(&kept));
    lab.agent.install_aws(credentials()).unwrap();
    let pkcs8 = include_bytes!("../vectors/keys/p-256.der");
    let mut infos = vec![
        lab.key("lab-a", "P-256"),
        lab.agent.create_sealed("lab-b", "web").unwrap(),
    ];
    infos.push(
        lab.agent
            .try_import("lab-c", enclave_wire::Usage::Tls, &["www"], pkcs8)
            .unwrap(),
    );
    let bundle = aws.bundle("lab-d", &aws.ca.certify(&["d.test"]));
    infos.push(lab.agent.provision(provision("lab-d", &bundle)).unwrap());
    lab.agent.supersede(infos[1].id).unwrap();
    let attestation = lab.agent.attest(b"a stranger's nonce", &[]).unwrap();

    let policy = Policy::parse(aws.policy().as_bytes()).unwrap();
    let expected = Expectations {
        pcrs: [(0, [1; 48]), (1, [2; 48]), (2, [3; 48]), (16, policy.pcr16())].into(),
        nonce: Some(b"a stranger's nonce".to_vec()),
        max_age_ms: Some(1_000),
    };
    let document = verified(&attestation);
    assert_eq!(expected.check(&document, u64::try_from(NOW).unwrap() * 1_000), Ok(()));
    assert_eq!(
        (document.document().public_key.as_ref(), document.document().pcrs.len()),
        (None, 32)
    );
    let statement = statement(&attestation, b"a stranger's nonce").unwrap();
    assert_eq!(statement.policy_sha384, policy.sha384());
    assert_eq!(statement.sealed_to, [SEALING, OLD_SEALING]);
    assert_eq!(statement.boot_id, lab.agent.status().boot.0);
    let found: Vec<_> = statement
        .keys
        .iter()
        .map(|key| {
            (
                KeyId(key.spki_sha256),
                key.origin.as_str(),
                key.usage.as_str(),
                key.generation,
            )
        })
        .collect();
    let expected = [
        ("born", "digest"),
        ("born-sealed", "digest"),
        ("imported", "tls"),
        ("bundle", "tls"),
    ];
    let expected: Vec<_> = infos
        .iter()
        .zip(expected)
        .map(|(info, (origin, usage))| (info.id, origin, usage, 1))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_proof_is_of_the_keys_that_are_named() {
    let aws = Aws::new();
    let mut lab = Lab::of(aws.setup(&Arc::default()));
    let ids = ["lab-a", "lab-b", "lab-c"].map(|label| lab.key(label, "P-256").id);
    let attestation = lab.agent.attest(&[7; 64], &ids[1..2]).unwrap();
    let named = statement(&attestation, &[7; 64]).unwrap().keys;
    assert_eq!(named.iter().map(|key| key.spki_sha256).collect::<Vec<_>>(), [ids[1].0]);
    assert_eq!(
        lab.agent.attest(b"", &[ids[0], KeyId([9; 32])]),
        Err(ControlError::NoSuchKey)
    );
    lab.agent.retire(ids[0]).unwrap();
    assert_eq!(lab.agent.attest(b"", &[ids[0]]), Err(ControlError::NoSuchKey));
    assert_eq!(
        statement(&lab.agent.attest(b"", &[]).unwrap(), b"").unwrap().keys.len(),
        2
    );
}

/// threat_28: the statement of one document is not another's.
#[test]
fn threat_28_a_statement_is_bound_to_its_document() {
    let aws = Aws::new();
    let mut lab = Lab::of(aws.setup(&Arc::default()));
    let one = lab.agent.attest(b"one", &[]).unwrap();
    lab.key("lab-a", "P-256");
    let two = lab.agent.attest(b"one", &[]).unwrap();
    let spliced = Attestation {
        document: one.document.clone(),
        statement: two.statement.clone(),
    };
    assert_eq!(statement(&spliced, b"one").unwrap_err(), StatementError::NotBound);
    assert_eq!(statement(&two, b"two").unwrap_err(), StatementError::Nonce);
    assert!(statement(&two, b"one").is_ok());
}

#[test]
fn without_a_root_nothing_is_attested() {
    let mut lab = Lab::new();
    assert_eq!(lab.agent.attest(b"", &[]), Err(ControlError::AttestationFailed));
}

/// threat_29: a service whose policy cannot be measured, because the registers are not as a boot finds them, holds no key.
#[test]
fn threat_29_a_policy_that_cannot_be_measured_closes_the_service() {
    for spoil in [
        (|lab| lab.nsm.extend(16, b"another policy").map(|_| ()).unwrap()) as fn(&Lab),
        |lab| lab.nsm.lock_below(17).unwrap(),
    ] {
        let mut lab = Lab::before_policy(Setup::default());
        spoil(&lab);
        for _ in 0..2 {
            let failed = Reply::Error(ControlError::AttestationFailed);
            assert_eq!(lab.agent.call(&Request::Policy(None)), failed);
            assert_eq!(lab.agent.call(&Request::Ready), Reply::Error(ControlError::PolicyFirst));
            assert_eq!(lab.agent.status().phase, Phase::AwaitingPolicy);
        }
        assert_eq!(
            lab.agent.call(&Request::List(0)),
            Reply::Error(ControlError::PolicyFirst)
        );
    }
}

/// The status names what is measured: of the image's policy, or of what the parent left of it.
#[test]
fn threat_29_the_policy_in_force_is_measured() {
    let image = Policy::parse(POLICY.as_bytes()).unwrap();
    let narrower = POLICY.replace("imports = true", "imports = false");
    let merged = image.intersect(&Policy::parse(narrower.as_bytes()).unwrap());
    let bytes = narrower.into_bytes().try_into().unwrap();
    for (given, in_force) in [(None, image), (Some(bytes), merged)] {
        let mut lab = Lab::before_policy(Setup::default());
        assert_eq!((lab.agent.status().policy_sha384, lab.agent.status().now), (None, NOW));
        assert_eq!(lab.agent.call(&Request::Policy(given)), Reply::PolicyTaken);
        assert_eq!(lab.agent.status().policy_sha384, Some(in_force.sha384()));
        let register = lab.nsm.register(16).unwrap();
        assert_eq!((register.value, register.locked), (in_force.pcr16(), true));
        assert!(lab.nsm.extend(16, b"more").is_err() && lab.nsm.extend(31, b"more").is_err());
    }
}
