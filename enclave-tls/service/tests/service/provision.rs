//! Certificates whose keys come through KMS.

use std::sync::Arc;

use enclave_wire::control::{ControlError, Origin};
use enclave_wire::egress::EgressError;
use enclave_wire::identity::Certificate;
use enclave_wire::log::Text;
use enclave_wire::signing::{Reply as SigningReply, Request as SigningRequest};
use enclave_wire::{Chain, KeyType, Mechanism, Usage};
use serde_json::json;

use super::agent::name;
use super::aws::{Aws, BUNDLES, KMS_HOST, OTHER, S3_HOST, SEALING, credentials, object, pem, provision};
use super::kept::Kept;
use super::lab::{Lab, POLICY};

fn lab(aws: &Aws) -> Lab {
    let mut lab = Lab::of(aws.setup(&Arc::default()));
    lab.agent.install_aws(credentials()).unwrap();
    lab
}

/// Ours from a document, another program's from S3: both serve at once, with their chains.
#[test]
fn a_bundle_is_a_certificate_that_serves() {
    let aws = Aws::new();
    let mut lab = lab(&aws);
    let www = aws.ca.certify(&["www.example.com", "*.example.com"]);
    let info = lab
        .agent
        .provision(provision("lab-a", &aws.bundle("lab-a", &www)))
        .unwrap();
    assert_eq!(
        (info.origin, info.generation, info.key_type),
        (Origin::Bundle, 1, KeyType::P256)
    );
    let names: Vec<&str> = info.dns_names.items().iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["*.example.com", "www.example.com"]);
    assert!(info.validity.is_some() && info.sealed.is_none());

    aws.s3.put(
        "role/certificate",
        aws.foreign(&aws.ca.certify(&["b.example.com"]))
            .to_string()
            .into_bytes(),
    );
    let mut request = provision("lab-b", &json!({}));
    request.source = object("role/certificate");
    request.usage = Usage::Digest;
    let other = lab.agent.provision(request).unwrap();
    assert_eq!(other.origin, Origin::Bundle);
    assert_eq!(aws.count("Decrypt"), 2);
    assert_eq!(
        aws.passage.asked(),
        [KMS_HOST, S3_HOST, KMS_HOST].map(|host| format!("{host}:443"))
    );

    let mut client = lab.client();
    let leaf = Certificate::try_from(www.leaf).unwrap();
    let served = SigningReply::Chain(Chain::try_from(vec![leaf]).unwrap());
    assert_eq!(client.call(&SigningRequest::Chain(info.id)).unwrap(), served);
    assert!(client.sign(other.id, Mechanism::Ecdsa, &[1; 32]).is_ok());
    let again = provision("lab-c", &aws.bundle("lab-c", &aws.ca.certify_key(&["c.test"], www.key)));
    assert_eq!(lab.agent.provision(again), Err(ControlError::KeyExists));
}

/// A certificate that was renewed for the same key takes the older one's place, and nothing else changes; sealed as well.
#[test]
fn a_renewed_bundle_of_the_same_key_is_its_newer_chain() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = Lab::of(aws.setup(&kept));
    lab.agent.install_aws(credentials()).unwrap();
    let asked = |bundle: &serde_json::Value| {
        let mut request = provision("lab-a", bundle);
        request.sealed = Some(name("web"));
        request
    };
    let first = aws.ca.certify(&["a.test"]);
    let old = aws.bundle("lab-a", &first);
    let before = lab.agent.provision(asked(&old)).unwrap();
    let key = before.id;
    assert_eq!(
        lab.agent.provision(asked(&old)),
        Err(ControlError::KeyExists),
        "nothing changed"
    );

    let next = aws.ca.certify_from(2020, &["a.test"], first.key);
    let new = aws.bundle("lab-a", &next);
    let mut others = asked(&new);
    others.usage = Usage::Digest;
    assert_eq!(lab.agent.provision(others), Err(ControlError::KeyExists));
    let mut unsealed = asked(&new);
    unsealed.sealed = None;
    assert_eq!(lab.agent.provision(unsealed), Err(ControlError::SealedOtherwise));
    assert_eq!(
        lab.agent.provision(provision("lab-b", &aws.bundle("lab-b", &next))),
        Err(ControlError::KeyExists),
        "threat_34: another name has no claim on the key"
    );
    let after = lab.agent.provision(asked(&new)).unwrap();
    let leaf = Certificate::try_from(next.leaf.clone()).unwrap();
    assert_eq!(lab.agent.chain(key), Ok(Some(Chain::try_from(vec![leaf]).unwrap())));
    assert_eq!(
        (after.id, after.generation, after.sealed.unwrap().number),
        (key, 1, before.sealed.unwrap().number + 1)
    );
    assert!(after.validity.unwrap().not_before > before.validity.unwrap().not_before);
    assert_eq!(
        lab.agent.provision(asked(&old)),
        Err(ControlError::KeyExists),
        "an older copy"
    );
    let other = aws.bundle("lab-a", &aws.ca.certify_from(2021, &["b.test"], next.key));
    assert_eq!(lab.agent.provision(asked(&other)), Err(ControlError::ChainNames));

    let kept_chain = lab.agent.chain(key);
    drop(lab);
    let mut lab = Lab::of(aws.setup(&kept));
    lab.agent.install_aws(credentials()).unwrap();
    for (_, blob) in kept.all() {
        lab.agent.restore(&blob).unwrap();
    }
    assert_eq!(lab.agent.chain(key), kept_chain, "its sealed state has the newer one");
}

/// The bundles of two names, one in the place of the other: the encryption context tells them apart, and so does each leaf.
#[test]
fn threat_34_bundles_of_two_names_cannot_be_swapped() {
    let aws = Aws::new();
    let mut lab = lab(&aws);
    let (a, b) = (aws.ca.certify(&["a.test"]), aws.ca.certify(&["b.test"]));
    let (of_a, of_b) = (aws.bundle("lab-a", &a), aws.bundle("lab-b", &b));
    assert_eq!(
        lab.agent.provision(provision("lab-a", &of_b)),
        Err(ControlError::BundleName)
    );
    assert_eq!(aws.asked(), 0, "nothing is asked of KMS for a bundle of another name");

    let mut renamed = of_b.clone();
    renamed["enclaveTls"]["name"] = "lab-a".into();
    assert_eq!(
        lab.agent.provision(provision("lab-a", &renamed)),
        Err(ControlError::CiphertextInvalid)
    );
    let mut swapped = of_a.clone();
    swapped["encryptedPrivateKey"] = of_b["encryptedPrivateKey"].clone();
    assert_eq!(
        lab.agent.provision(provision("lab-a", &swapped)),
        Err(ControlError::CiphertextInvalid)
    );

    let mut foreign = aws.foreign(&a);
    foreign["encryptedPrivateKey"] = aws.foreign(&b)["encryptedPrivateKey"].clone();
    assert_eq!(
        lab.agent.provision(provision("lab-a", &foreign)),
        Err(ControlError::ChainKeyMismatch)
    );
    let mut stripped = of_a.clone();
    stripped.as_object_mut().unwrap().remove("enclaveTls");
    assert_eq!(
        lab.agent.provision(provision("lab-a", &stripped)),
        Err(ControlError::CiphertextInvalid)
    );
    assert_eq!(lab.agent.list(0).total, 0);
    assert!(lab.agent.provision(provision("lab-a", &of_a)).is_ok());
}

/// threat_33: which KMS keys are asked, and for what, the measured policy says; the parent's inventory does not.
#[test]
fn threat_33_another_kms_key_is_refused() {
    let aws = Aws::new();
    let mut lab = lab(&aws);
    let certified = aws.ca.certify(&["a.test"]);
    let mut bundle = aws.bundle("lab-a", &certified);
    let elsewhere = BUNDLES.replace("us-east-1", "eu-west-1");
    for key in [OTHER, SEALING, "alias/bundles", "", &elsewhere] {
        let mut ours = bundle.clone();
        ours["enclaveTls"]["keyArn"] = key.into();
        for bundle in [&ours, &aws.foreign(&certified)] {
            let mut request = provision("lab-a", bundle);
            request.kms_key = Text::lossy(key);
            assert_eq!(lab.agent.provision(request), Err(ControlError::KmsKeyRefused), "{key}");
        }
    }
    bundle["enclaveTls"]["keyArn"] = OTHER.into();
    assert_eq!(
        lab.agent.provision(provision("lab-a", &bundle)),
        Err(ControlError::KmsKeyRefused)
    );
    let context = json!({"purpose": "bundle", "name": "lab-a"});
    bundle["enclaveTls"]["keyArn"] = BUNDLES.into();
    assert_eq!(aws.asked(), 0);
    bundle["encryptedPrivateKey"] = aws.encrypt(OTHER, certified.key_pem().as_bytes(), &context).into();
    assert_eq!(
        lab.agent.provision(provision("lab-a", &bundle)),
        Err(ControlError::CiphertextInvalid)
    );
}

#[test]
fn what_the_policy_refuses_is_refused_before_aws_is_asked() {
    let aws = Aws::new();
    let policy = aws.policy().replace("foreign = true", "foreign = false");
    let mut lab = Lab::of(aws.setup_of(policy, &Arc::default()));
    lab.agent.install_aws(credentials()).unwrap();
    let certified = aws.ca.certify(&["a.test"]);
    let bundle = aws.bundle("lab-a", &certified);
    let foreign = provision("lab-a", &aws.foreign(&certified));
    assert_eq!(lab.agent.provision(foreign), Err(ControlError::ForeignBundleRefused));
    assert_eq!(
        lab.agent.provision(provision("other", &bundle)),
        Err(ControlError::NameRefused)
    );
    let mut request = provision("server-a", &bundle);
    request.usage = Usage::Digest;
    assert_eq!(lab.agent.provision(request), Err(ControlError::UsageRefused));
    let mut request = provision("lab-a", &bundle);
    request.clients = vec![name("stranger")].try_into().unwrap();
    assert_eq!(lab.agent.provision(request), Err(ControlError::NoSuchClient));
    for region in ["eu-west-1", "us-east-1.evil.example", ""] {
        let mut request = provision("lab-a", &bundle);
        let mut elsewhere = object("a");
        if let enclave_wire::control::BundleSource::S3(object) = &mut elsewhere {
            object.region = Text::lossy(region);
        }
        request.source = elsewhere;
        assert_eq!(
            lab.agent.provision(request),
            Err(ControlError::RegionRefused),
            "{region}"
        );
    }
    assert_eq!(
        lab.agent.provision(provision("lab-a", &json!({"a": 1}))),
        Err(ControlError::BundleInvalid)
    );
    assert!(aws.passage.asked().is_empty());
}

#[test]
fn what_a_bundle_opens_to_is_judged_as_an_import_is() {
    let aws = Aws::new();
    let mut lab = lab(&aws);
    let certified = aws.ca.certify(&["a.test"]);
    let context = json!({"purpose": "bundle", "name": "lab-a"});
    let mut opens_to = |plaintext: &[u8]| {
        let mut bundle = aws.bundle("lab-a", &certified);
        bundle["encryptedPrivateKey"] = aws.encrypt(BUNDLES, plaintext, &context).into();
        lab.agent.provision(provision("lab-a", &bundle)).map(|_| ())
    };
    let p384 = pem("PRIVATE KEY", include_bytes!("../vectors/keys/p-384.der"));
    assert_eq!(opens_to(b"no PEM"), Err(ControlError::BundleInvalid));
    assert_eq!(
        opens_to(&certified.key.serialize_der()),
        Err(ControlError::BundleInvalid)
    );
    assert_eq!(opens_to(p384.as_bytes()), Err(ControlError::KeyTypeRefused));
    let another = aws.ca.certify(&["a.test"]).key_pem();
    assert_eq!(opens_to(another.as_bytes()), Err(ControlError::ChainKeyMismatch));

    let mut named = provision("lab-a", &aws.bundle("lab-a", &certified));
    named.dns_names = vec!["b.test".parse().unwrap()].try_into().unwrap();
    assert_eq!(lab.agent.provision(named), Err(ControlError::ChainNames));
    lab.clock.set(super::lab::NOW - 60);
    let mut incomplete = aws.bundle("lab-a", &certified);
    incomplete["certificateChain"] = "".into();
    assert_eq!(
        lab.agent.provision(provision("lab-a", &incomplete)),
        Err(ControlError::ChainIncomplete)
    );
    assert_eq!(lab.agent.list(0).total, 0);
}

#[test]
fn each_failure_of_aws_has_its_code() {
    let aws = Aws::new();
    let mut lab = lab(&aws);
    let certified = aws.ca.certify(&["a.test"]);
    let bundle = aws.bundle("lab-a", &certified);
    let mut ask = || lab.agent.provision(provision("lab-a", &bundle)).map(|_| ());
    aws.passage.refuse(Some(EgressError::NotAllowed));
    assert_eq!(ask(), Err(ControlError::EgressRefused));
    aws.passage.refuse(Some(EgressError::Unreachable));
    assert_eq!(ask(), Err(ControlError::AwsUnavailable));
    aws.passage.refuse(None);
    let faults = |plaintext| emulator_kms::Faults {
        plaintext,
        ..emulator_kms::Faults::default()
    };
    aws.kms.faults().set(faults(Some(emulator_kms::PlaintextFault::Beside)));
    assert_eq!(ask(), Err(ControlError::AwsReplyInvalid), "threat_32");
    aws.kms.faults().clear();
    // threat_31: a KMS of the parent's own, with a certificate of its own.
    let impostor = Aws::for_pairs(super::aws::Ca::new(), &[]);
    aws.passage.lead(KMS_HOST, impostor.kms.address());
    assert_eq!(ask(), Err(ControlError::AwsReplyInvalid), "threat_31");
    aws.passage.lead(KMS_HOST, aws.kms.address());
    assert_eq!(ask(), Ok(()));
    let mut request = provision("lab-b", &json!({}));
    request.source = object("absent");
    assert_eq!(lab.agent.provision(request), Err(ControlError::NoSuchObject));
}

/// KMS gives nothing to another image, nor to the same one under another policy.
#[test]
fn another_image_or_another_policy_is_refused_by_kms() {
    let aws = Aws::new();
    let bundle = aws.bundle("lab-a", &aws.ca.certify(&["a.test"]));
    let mut other_image = aws.setup(&Arc::default());
    other_image.pcrs.insert(0, [9; 48]);
    let narrower = aws.policy().replace("imports = true", "imports = false");
    let other_policy = aws.setup_of(narrower, &Arc::default());
    for setup in [other_image, other_policy] {
        let mut lab = Lab::of(setup);
        lab.agent.install_aws(credentials()).unwrap();
        let refused = lab.agent.provision(provision("lab-a", &bundle));
        assert_eq!(refused, Err(ControlError::AwsDenied));
        assert_eq!(lab.agent.create_sealed("lab-a", "g"), Err(ControlError::AwsDenied));
    }
    assert_eq!(aws.kms.counters().operation("Decrypt").attested, 2);
}

/// Without what it needs the service says which rule keeps it from AWS, and does everything else.
#[test]
fn a_policy_without_aws_speaks_to_nobody() {
    let aws = Aws::new();
    let bundle = aws.bundle("lab-a", &aws.ca.certify(&["a.test"]));
    let full = aws.policy();
    let (head, rest) = full.split_once("[attestation]").unwrap();
    let (_, after_root) = rest.split_once("[aws]").unwrap();
    let without_attestation = format!("{head}[aws]{after_root}");
    let mut no_egress = aws.setup(&Arc::default());
    no_egress.egress = None;
    for (setup, error) in [
        (
            aws.setup_of(without_attestation, &Arc::default()),
            ControlError::AttestationFailed,
        ),
        (
            aws.setup_of(POLICY.to_owned(), &Arc::default()),
            ControlError::KmsKeyRefused,
        ),
        (no_egress, ControlError::EgressRefused),
    ] {
        let mut lab = Lab::of(setup);
        let _ = lab.agent.install_aws(credentials());
        assert_eq!(lab.agent.provision(provision("lab-a", &bundle)), Err(error));
        lab.key("lab-b", "P-256");
    }
    assert!(aws.passage.asked().is_empty());
}
