//! Sealed state: what opens, and everything else, which does not.

mod bounds;
mod measured;
mod poison;
mod tampered;
mod vectors;
mod wrapped;

use enclave_wire::KeyId;

use super::*;

/// A private key of `tests/vectors/keys`.
macro_rules! key {
    ($name:literal) => {
        Arc::new(
            SigningKey::from_pkcs8(include_bytes!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/vectors/keys/",
                $name,
                ".der"
            )))
            .unwrap(),
        )
    };
}
use key;

const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const POLICY: [u8; 48] = [0x50; 48];

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn data_key(group: &str, secret: u8) -> DataKey {
    DataKey::new(name(group), ARN.parse().unwrap(), vec![7; 184], &[secret; 32])
}

/// What somebody has who knows the secret and believes what the header says of it.
fn believing(header: &Header, secret: u8) -> DataKey {
    DataKey {
        group: header.group.clone(),
        wrapping: header.wrapping.clone(),
        secret: data_key::kept(&[secret; 32]),
    }
}

fn generation(number: u32, key: &Arc<SigningKey>) -> Generation {
    Generation {
        generation: number,
        state: Standing::Live,
        usage: Usage::Tls,
        origin: Origin::Born,
        dns_names: vec!["www.example.com".parse().unwrap()].try_into().unwrap(),
        clients: vec![name("nginx")].try_into().unwrap(),
        chain: Arc::default(),
        key: Arc::clone(key),
    }
}

fn state(label: &str, generations: Vec<Generation>) -> State {
    State {
        name: name(label),
        group: name("lab"),
        number: 5,
        last_generation: 3,
        generations,
    }
}

/// Which rule the blob breaks, for somebody who has the secret.
fn refusal(blob: &[u8], secret: u8) -> Option<SealedError> {
    Envelope::parse(blob)
        .and_then(|envelope| envelope.open(&believing(envelope.header(), secret)))
        .err()
}

#[test]
fn what_was_sealed_is_opened() {
    let mut old = generation(1, &key!("rsa-2048"));
    (old.state, old.usage, old.origin) = (Standing::Superseded, Usage::Digest, Origin::Bundle);
    let sealed = state("web", vec![old, generation(3, &key!("ed25519"))]);
    let blob = sealed.seal(&data_key("lab", 1), &POLICY).unwrap();
    let envelope = Envelope::parse(&blob).unwrap();
    let header = envelope.header();
    assert_eq!(
        (header.policy_sha384, header.wrapping.kms_keys()),
        (POLICY, vec![&ARN.parse().unwrap()])
    );
    assert_eq!(
        (&header.name, header.number, header.generations.len()),
        (&name("web"), 5, 2)
    );
    let opened = envelope.open(&data_key("lab", 1)).unwrap();
    assert_eq!((&opened.name, &opened.group), (&sealed.name, &sealed.group));
    assert_eq!((opened.number, opened.last_generation), (5, 3));
    assert_eq!(opened.generations.len(), sealed.generations.len());
    for (opened, sealed) in opened.generations.iter().zip(&sealed.generations) {
        assert_eq!(Summary::from(opened), Summary::from(sealed));
        assert_eq!(
            (&opened.dns_names, &opened.clients, &opened.chain),
            (&sealed.dns_names, &sealed.clients, &sealed.chain)
        );
        assert_eq!(opened.key.spki(), sealed.key.spki());
    }
}

/// A name whose last generation is retired: its number goes on.
#[test]
fn a_state_may_have_no_generations() {
    let blob = state("web", Vec::new()).seal(&data_key("lab", 1), &POLICY).unwrap();
    let opened = Envelope::parse(&blob).unwrap().open(&data_key("lab", 1)).unwrap();
    assert_eq!((opened.last_generation, opened.generations.len()), (3, 0));
}

/// Threat 48: what cannot be printed or copied is in no log and no panic.
#[test]
fn threat_48_a_data_key_can_be_neither_printed_nor_copied() {
    struct Probe<T>(std::marker::PhantomData<T>);
    trait Absent {
        const PRINTS: bool = false;
        const COPIES: bool = false;
    }
    impl<T> Absent for Probe<T> {}
    // Where the bound holds, this comes before the trait's.
    impl<T: std::fmt::Debug> Probe<T> {
        const PRINTS: bool = true;
    }
    impl<T: Clone> Probe<T> {
        const COPIES: bool = true;
    }
    assert_eq!((Probe::<u8>::PRINTS, Probe::<Generation>::COPIES), (true, true));
    assert_eq!((Probe::<DataKey>::PRINTS, Probe::<DataKey>::COPIES), (false, false));
    assert_eq!((Probe::<State>::PRINTS, Probe::<Generation>::PRINTS), (false, false));
}

#[test]
fn each_refusal_has_its_control_error() {
    use enclave_wire::control::ControlError;
    let errors = [SealedError::NotAuthentic, SealedError::TooLarge, SealedError::Library].map(ControlError::from);
    assert_eq!(
        errors,
        [
            ControlError::StateInvalid,
            ControlError::LimitReached,
            ControlError::Failed
        ]
    );
}
