//! How much a state holds, and in which order.

use enclave_wire::DecodeError;
use enclave_wire::control::SealedState;
use enclave_wire::identity::Certificate;

use super::*;

fn many(count: u32) -> State {
    let generations = (1..=count).map(|number| {
        let key = SigningKey::generate("Ed25519".parse().unwrap()).unwrap();
        generation(number, &Arc::new(key))
    });
    State {
        last_generation: count,
        ..state("web", generations.collect())
    }
}

#[test]
fn sixty_four_generations_fit() {
    let blob = many(64).seal(&data_key("lab", 1), &POLICY).unwrap();
    let opened = Envelope::parse(&blob).unwrap().open(&data_key("lab", 1)).unwrap();
    assert_eq!(opened.generations.len(), 64);
    let error = many(65).seal(&data_key("lab", 1), &POLICY).err();
    assert_eq!(error, Some(SealedError::TooManyGenerations));
}

/// The limit is the control plane's, to the byte.
#[test]
fn a_state_has_at_most_120_000_bytes() {
    let chain = |last: usize| {
        let certificates = [8_192, 8_192, 8_192, 8_192, last];
        let certificates = certificates.map(|length| Certificate::try_from(vec![1; length]).unwrap());
        Arc::new(Chain::try_from(certificates.to_vec()).unwrap())
    };
    let sealed = |last: usize| {
        let mut state = many(3);
        for generation in &mut state.generations {
            generation.chain = chain(6_500);
        }
        state.generations[2].chain = chain(last);
        state.seal(&data_key("lab", 1), &POLICY)
    };
    let spare = 120_000 - sealed(6_500).unwrap().len();
    let largest = sealed(6_500 + spare).unwrap();
    assert_eq!(largest.len(), 120_000);
    assert_eq!(refusal(&largest, 1), None);
    assert_eq!(sealed(6_500 + spare + 1).err(), Some(SealedError::TooLarge));
    assert!(SealedState::try_from(largest.clone()).is_ok());
    assert!(SealedState::try_from([largest.as_slice(), &[0]].concat()).is_err());
    let error = Envelope::parse(&[largest.as_slice(), &[0]].concat()).err();
    assert_eq!(error, Some(SealedError::TooLarge));
}

#[test]
fn numbers_that_are_out_of_order_are_neither_sealed_nor_read() {
    let in_order = || {
        state(
            "web",
            vec![generation(2, &key!("p-256")), generation(3, &key!("ed25519"))],
        )
    };
    type Change = (&'static str, fn(&mut State));
    let changes: [Change; 6] = [
        ("descending", |state| state.generations.reverse()),
        ("equal", |state| state.generations[0].generation = 3),
        ("zero", |state| state.generations[0].generation = 0),
        ("above the last", |state| state.last_generation = 2),
        ("number zero", |state| state.number = 0),
        ("a key twice", |state| {
            state.generations[0].key = Arc::clone(&state.generations[1].key);
        }),
    ];
    for (what, change) in changes {
        let mut state = in_order();
        change(&mut state);
        let error = state.seal(&data_key("lab", 1), &POLICY).err();
        assert_eq!(error, Some(SealedError::Inconsistent), "{what}");
        // The same, by somebody who does not ask.
        let mut header = Header::new(&in_order(), &data_key("lab", 1), &POLICY).unwrap();
        (header.number, header.last_generation) = (state.number, state.last_generation);
        header.generations = state.generations.iter().map(Summary::from).collect();
        let contents = contents::write(&state.generations).unwrap();
        let blob = seal(&header, contents, &data_key("lab", 1)).unwrap();
        let error = Envelope::parse(&blob).err();
        assert_eq!(error, Some(SealedError::Form(DecodeError::NotCanonical)), "{what}");
    }
    assert!(in_order().seal(&data_key("lab", 1), &POLICY).is_ok());
}

#[test]
fn a_state_is_sealed_in_its_own_group_only() {
    let error = state("web", Vec::new()).seal(&data_key("other", 1), &POLICY).err();
    assert_eq!(error, Some(SealedError::OtherDataKey));
}

#[test]
fn another_version_is_said_so() {
    let mut blob = state("web", Vec::new()).seal(&data_key("lab", 1), &POLICY).unwrap();
    for version in [0, 3, 255] {
        blob[18] = version;
        assert_eq!(refusal(&blob, 1), Some(SealedError::Version));
    }
    blob[0] = b'E';
    assert_eq!(refusal(&blob, 1), Some(SealedError::Form(DecodeError::Invalid)));
}
