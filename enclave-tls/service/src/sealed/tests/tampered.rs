//! Threat 58: a state is forged, mixed with another, or a key and nonce are used twice.

use std::collections::HashSet;

use enclave_wire::DecodeError;
use proptest::prelude::*;

use super::*;

fn blob(label: &str) -> Vec<u8> {
    let sealed = state(label, vec![generation(2, &key!("p-256"))]);
    sealed.seal(&data_key("lab", 1), &POLICY).unwrap()
}

/// The blob with another header before the same salt and ciphertext.
fn with_header(blob: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Envelope::parse(blob).unwrap().header;
    let length = header.to_bytes().len();
    change(&mut header);
    [&header.to_bytes(), &blob[length..]].concat()
}

/// As after 10,000 restarts from one state.
#[test]
fn threat_58_no_two_blobs_have_the_same_salt_or_nonce() {
    let sealed = state("web", vec![generation(2, &key!("p-256"))]);
    let data_key = data_key("lab", 1);
    let mut salts = HashSet::new();
    let mut nonces = HashSet::new();
    for round in 0..10_000 {
        let envelope = Envelope::parse(&sealed.seal(&data_key, &POLICY).unwrap()).unwrap();
        let cipher = cipher_of(&data_key, &sealed.name, &envelope.salt).unwrap();
        assert!(
            salts.insert(envelope.salt) && nonces.insert(cipher.nonce),
            "round {round}"
        );
        assert!(envelope.open(&data_key).is_ok(), "round {round}");
    }
}

/// One salt, yet neither key nor nonce is shared by two names, two groups or two data keys.
#[test]
fn threat_58_name_and_group_and_data_key_give_each_its_own_cipher() {
    let mut outputs = HashSet::new();
    for (secret, group, label) in [
        (1, "a", "b"),
        (2, "a", "b"),
        (1, "b", "b"),
        (1, "a", "a"),
        (1, "a.b", "a"),
    ] {
        let cipher = cipher_of(&data_key(group, secret), &name(label), &[9; 32]).unwrap();
        let nonce = cipher.nonce;
        let mut zeros = [0; 32];
        cipher.seal(&[], &mut zeros).unwrap();
        assert!(outputs.insert(nonce.to_vec()) && outputs.insert(zeros.to_vec()));
    }
}

#[test]
fn threat_58_blobs_of_two_names_mixed_are_refused() {
    let [one, other] = ["one", "two"].map(blob);
    let header = Envelope::parse(&one).unwrap().header.to_bytes().len();
    // The salt and the ciphertext of the other, or only its ciphertext.
    for cut in [header, header + 32] {
        let mixed = [&one[..cut], &other[cut..]].concat();
        assert_eq!(refusal(&mixed, 1), Some(SealedError::NotAuthentic));
    }
    let renamed = with_header(&one, |header| header.name = name("two"));
    assert_eq!(refusal(&renamed, 1), Some(SealedError::NotAuthentic));
}

#[test]
fn threat_58_a_data_key_of_another_group_or_another_blob_is_refused() {
    let blob = blob("web");
    let open = |data_key: &DataKey| Envelope::parse(&blob).unwrap().open(data_key).err();
    assert_eq!(open(&data_key("other", 1)), Some(SealedError::OtherDataKey));
    let direct = |arn: &str, ciphertext: u8| DataKey {
        wrapping: Wrapping::Direct {
            kms_key: arn.parse().unwrap(),
            ciphertext: vec![ciphertext; 184],
        },
        ..data_key("lab", 1)
    };
    let elsewhere = ARN.replace("us-east-1", "us-east-2");
    assert_eq!(open(&direct(ARN, 8)), Some(SealedError::OtherDataKey));
    assert_eq!(open(&direct(&elsewhere, 7)), Some(SealedError::OtherDataKey));
    assert_eq!(open(&data_key("lab", 2)), Some(SealedError::NotAuthentic));
    // The blob says that it is another's: the secret alone does not make it so.
    let moved = with_header(&blob, |header| header.wrapping = direct(ARN, 8).wrapping);
    assert_eq!(refusal(&moved, 1), Some(SealedError::NotAuthentic));
    let regrouped = with_header(&blob, |header| header.group = name("other"));
    assert_eq!(refusal(&regrouped, 1), Some(SealedError::NotAuthentic));
}

#[test]
fn threat_58_every_field_of_the_header_is_authenticated() {
    let blob = blob("web");
    assert_eq!(refusal(&with_header(&blob, |_| ()), 1), None);
    type Change = (&'static str, fn(&mut Header));
    let changes: [Change; 11] = [
        ("number", |header| header.number += 1),
        ("last generation", |header| header.last_generation += 1),
        ("ARN", |header| {
            header.wrapping = Wrapping::Direct {
                kms_key: ARN.replace("1111", "2222").parse().unwrap(),
                ciphertext: vec![7; 184],
            }
        }),
        ("policy", |header| header.policy_sha384[47] ^= 1),
        ("generation", |header| header.generations[0].generation = 1),
        ("state", |header| header.generations[0].state = Standing::Superseded),
        ("usage", |header| header.generations[0].usage = Usage::Digest),
        ("origin", |header| header.generations[0].origin = Origin::Imported),
        ("key", |header| header.generations[0].key = KeyId([1; 32])),
        ("a generation less", |header| header.generations.clear()),
        ("a generation more", |header| {
            let more = Summary {
                generation: 3,
                key: KeyId([1; 32]),
                ..header.generations[0]
            };
            header.generations.push(more);
        }),
    ];
    for (what, change) in changes {
        assert_eq!(
            refusal(&with_header(&blob, change), 1),
            Some(SealedError::NotAuthentic),
            "{what}"
        );
    }
}

#[test]
fn threat_58_every_bit_counts() {
    let sealed = state("w", vec![generation(2, &key!("ed25519"))]);
    let mut blob = sealed.seal(&data_key("lab", 1), &POLICY).unwrap();
    for bit in 0..blob.len() * 8 {
        blob[bit / 8] ^= 1 << (bit % 8);
        assert!(refusal(&blob, 1).is_some(), "bit {bit}");
        blob[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(refusal(&blob, 1), None);
}

#[test]
fn a_part_of_a_blob_and_more_than_a_blob_are_refused() {
    let whole = blob("web");
    for length in 0..whole.len() {
        let error = Envelope::parse(&whole[..length]).err();
        assert_eq!(error, Some(SealedError::Form(DecodeError::Truncated)), "{length}");
    }
    let longer = [&whole[..], &[0]].concat();
    let error = Envelope::parse(&longer).err();
    assert_eq!(error, Some(SealedError::Form(DecodeError::Trailing)));
}

/// What only the service itself could get wrong.
#[test]
fn an_authentic_blob_whose_parts_disagree_is_refused() {
    let sealed = state("web", vec![generation(2, &key!("p-256"))]);
    let data_key = data_key("lab", 1);
    let header = || Header::new(&sealed, &data_key, &POLICY).unwrap();
    let contents = || contents::write(&sealed.generations).unwrap();
    let refusal_of = |header: &Header, contents| refusal(&seal(header, contents, &data_key).unwrap(), 1);
    assert_eq!(refusal_of(&header(), contents()), None);
    let mut other_key = header();
    other_key.generations[0].key = KeyId([1; 32]);
    let mut more = header();
    more.generations.push(Summary {
        generation: 3,
        key: KeyId([1; 32]),
        ..more.generations[0]
    });
    let mut trailing = contents();
    trailing.push(0);
    let mut miscounted = contents();
    miscounted[1] = 2;
    let mut cut = contents();
    cut.pop();
    let not_a_key = |mut contents: Zeroizing<Vec<u8>>| {
        let last = contents.len() - 1;
        contents[last] ^= 1;
        contents
    };
    for (what, header, contents) in [
        ("key", &other_key, contents()),
        ("count", &more, contents()),
        ("another count", &header(), miscounted),
        ("trailing", &header(), trailing),
        ("cut", &header(), cut),
        ("not a key", &header(), not_a_key(contents())),
        ("empty", &header(), Zeroizing::default()),
    ] {
        assert_eq!(refusal_of(header, contents), Some(SealedError::Inconsistent), "{what}");
    }
}

proptest! {
    /// Nothing that is read panics, and what is read is written the same.
    #[test]
    fn threat_49_any_bytes_are_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in 0usize..300,
    ) {
        let whole = blob("web");
        // Random bytes alone would never get past the magic.
        for (place, byte) in bytes.iter_mut().enumerate().take(start) {
            *byte = whole.get(place).copied().unwrap_or(*byte);
        }
        bytes.extend(whole.get(bytes.len()..).unwrap_or_default());
        if let Ok(envelope) = Envelope::parse(&bytes) {
            prop_assert_eq!(&envelope.header().to_bytes(), &bytes[..envelope.header().to_bytes().len()]);
            if bytes != whole {
                prop_assert!(envelope.open(&believing(envelope.header(), 1)).is_err());
            }
        }
    }

    /// What was decrypted is read as strictly, though only a service could have written it.
    #[test]
    fn threat_49_any_contents_are_read_or_refused(contents in prop::collection::vec(any::<u8>(), 0..300)) {
        let header = Header::new(&state("web", vec![generation(2, &key!("ed25519"))]), &data_key("lab", 1), &POLICY).unwrap();
        prop_assert!(contents::read(&contents, &header.generations).is_err());
    }
}
