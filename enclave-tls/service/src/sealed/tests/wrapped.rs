//! A data key that each of several KMS keys opens: threat 58 for the wraps, and what joining two headers gives.

use std::collections::HashSet;

use enclave_policy::aws::KeyArn;
use enclave_wire::{Decode as _, DecodeError};
use proptest::prelude::*;

use super::*;

/// The KMS keys of as many regions; their order is that of their ARNs.
fn arn(region: u8) -> KeyArn {
    ARN.replace("us-east-1", &format!("us-east-{region}")).parse().unwrap()
}

/// What the KMS key of a region gives and opens.
fn kek(region: u8) -> [u8; 32] {
    [0x40 | region; 32]
}

fn under(data_key: DataKey, regions: &[u8]) -> DataKey {
    regions.iter().fold(data_key, |data_key, region| {
        data_key
            .also_under(arn(*region), &kek(*region), vec![*region; 184])
            .unwrap()
    })
}

fn regional(group: &str, secret: u8, regions: &[u8]) -> DataKey {
    let [first, rest @ ..] = regions else {
        panic!("no region")
    };
    let data_key = DataKey::under(name(group), &[secret; 32], arn(*first), &kek(*first), vec![*first; 184]);
    under(data_key.unwrap(), rest)
}

fn blob(label: &str, data_key: &DataKey) -> Vec<u8> {
    let mut sealed = state(label, vec![generation(2, &key!("ed25519"))]);
    sealed.group = data_key.group.clone();
    sealed.seal(data_key, &POLICY).unwrap()
}

/// As after a restart, with one region's KMS.
fn open_in(blob: &[u8], region: u8) -> Result<State, SealedError> {
    let envelope = Envelope::parse(blob)?;
    let data_key = DataKey::of(envelope.header(), &arn(region), &kek(region))?;
    envelope.open(&data_key)
}

fn wraps(data_key: &DataKey) -> Vec<Wrap> {
    let Wrapping::Each(wraps) = &data_key.wrapping else {
        panic!("version 2")
    };
    wraps.iter().cloned().collect()
}

/// The blob with other wraps before what is its own.
fn with_wraps(blob: &[u8], wraps: &[Wrap]) -> Vec<u8> {
    let header = Envelope::parse(blob).unwrap().header;
    let mut old = Writer::new();
    let Wrapping::Each(its) = &header.wrapping else {
        panic!("version 2")
    };
    its.encode(&mut old);
    let old = old.into_bytes();
    let at = blob.windows(old.len()).position(|window| window == old).unwrap();
    let (before, after) = blob.split_at(at);
    let mut new = Writer::new();
    new.list(wraps);
    [before, &new.into_bytes(), &after[old.len()..]].concat()
}

#[test]
fn each_region_alone_opens_it() {
    for regions in [&[1][..], &[1, 2], &[2, 1], &[3, 1, 4, 2]] {
        let data_key = regional("lab", 1, regions);
        let blob = blob("web", &data_key);
        assert_eq!(blob[18], 2, "the version");
        for region in regions {
            assert_eq!(open_in(&blob, *region).unwrap().generations.len(), 1);
        }
        let named = data_key.wrapping.kms_keys();
        assert!(named.is_sorted() && named.len() == regions.len());
        assert_eq!(open_in(&blob, 9).err(), Some(SealedError::OtherDataKey), "unknown");
    }
}

#[test]
fn a_state_names_each_key_once_and_four_at_most() {
    let four = regional("lab", 1, &[1, 2, 3, 4]);
    let more = |region| four.also_under(arn(region), &kek(region), vec![region; 184]);
    assert_eq!(more(5).err(), Some(SealedError::Inconsistent));
    assert_eq!(
        regional("lab", 1, &[1]).also_under(arn(1), &kek(1), vec![1]).err(),
        Some(SealedError::Inconsistent)
    );
    let direct = data_key("lab", 1).also_under(arn(2), &kek(2), vec![2]);
    assert_eq!(direct.err(), Some(SealedError::Inconsistent), "version 1 has one key");
}

#[test]
fn threat_58_wraps_out_of_order_or_twice_or_none_are_refused() {
    let data_key = regional("lab", 1, &[1, 2, 3]);
    let (blob, own) = (blob("web", &data_key), wraps(&data_key));
    let fifth = wraps(&regional("lab", 1, &[5, 6]));
    let [a, b, c] = [0, 1, 2].map(|at: usize| own[at].clone());
    let of = |wraps: &[Wrap]| Envelope::parse(&with_wraps(&blob, wraps)).err();
    assert_eq!(of(&own), None);
    for (what, wraps) in [
        ("order", vec![b.clone(), a.clone(), c.clone()]),
        ("the last ones", vec![a.clone(), c.clone(), b.clone()]),
        ("twice", vec![a.clone(), a.clone(), b.clone()]),
        ("none", vec![]),
    ] {
        assert_eq!(of(&wraps), Some(SealedError::Form(DecodeError::NotCanonical)), "{what}");
    }
    let five = [&own[..], &fifth].concat();
    assert_eq!(of(&five), Some(SealedError::Form(DecodeError::TooLong)));
    // Another number of them, each in order, is read, and is not authentic.
    let fewer = with_wraps(&blob, &[a, b]);
    assert_eq!(open_in(&fewer, 1).err(), Some(SealedError::NotAuthentic));
    let more = with_wraps(&blob, &[&own[..], &fifth[..1]].concat());
    assert_eq!(open_in(&more, 1).err(), Some(SealedError::NotAuthentic));
}

/// A wrap is of its group, its ARN and its data key, and every one of them is authenticated by the blob, whichever opened it.
#[test]
fn threat_58_wraps_of_another_group_or_key_are_refused() {
    let (ours, others) = (regional("lab", 1, &[1, 2]), regional("other", 2, &[1, 2]));
    let (blob, [own_1, own_2]) = (blob("web", &ours), <[Wrap; 2]>::try_from(wraps(&ours)).unwrap());
    let [other_1, other_2] = <[Wrap; 2]>::try_from(wraps(&others)).unwrap();
    let refused = |wraps: &[Wrap]| {
        let blob = with_wraps(&blob, wraps);
        [1, 2].map(|region| open_in(&blob, region).err())
    };
    let both = [Some(SealedError::NotAuthentic), Some(SealedError::NotAuthentic)];
    assert_eq!(refused(&[own_1.clone(), own_2.clone()]), [None, None]);
    assert_eq!(refused(&[other_1.clone(), other_2.clone()]), both, "another group's");
    assert_eq!(
        refused(&[own_1.clone(), other_2.clone()]),
        both,
        "one of another group's"
    );
    assert_eq!(refused(&[other_1, own_2.clone()]), both, "the other one");
    // Two ARNs exchanged: region 1's KMS is asked for what region 2's encrypted, and were it to give it, the wrap is not its own.
    let renamed = |wrap: &Wrap, region: u8| {
        let mut writer = Writer::new();
        wrap.encode(&mut writer);
        let bytes = writer.into_bytes();
        let mut renamed = Writer::new();
        renamed.bytes16(arn(region).to_string().as_bytes());
        renamed.put(&bytes[2 + ARN.len()..]);
        Wrap::decode(&mut Reader::new(&renamed.into_bytes())).unwrap()
    };
    let exchanged = with_wraps(&blob, &[renamed(&own_2, 1), renamed(&own_1, 2)]);
    let envelope = Envelope::parse(&exchanged).unwrap();
    let opened = DataKey::of(envelope.header(), &arn(1), &kek(2)).err();
    assert_eq!(opened, Some(SealedError::NotAuthentic));
    // The same secret and group, wrapped anew: the blob says which wraps are its own.
    let again = wraps(&regional("lab", 1, &[1, 2]));
    assert_eq!(refused(&again), both);
    // What KMS opened is no key.
    let header = Envelope::parse(&blob).unwrap().header;
    assert_eq!(
        DataKey::of(&header, &arn(1), &[1; 31]).err(),
        Some(SealedError::NoDataKey)
    );
    assert_eq!(
        DataKey::of(&header, &arn(1), &kek(2)).err(),
        Some(SealedError::NotAuthentic)
    );
}

/// Version 1's data key cannot be made into version 2's, or the other way round, though one KMS key made both.
#[test]
fn threat_58_the_versions_share_no_key() {
    let secret = [1; 32];
    let one = DataKey::new(name("lab"), arn(1), vec![1; 184], &secret);
    let two = DataKey::under(name("lab"), &secret, arn(1), &kek(1), vec![1; 184]).unwrap();
    let nonce = |data_key| cipher_of(data_key, &name("web"), &[9; 32]).unwrap().nonce;
    assert_ne!(nonce(&one), nonce(&two));
    let (of_one, of_two) = (blob("web", &one), blob("web", &two));
    assert!(!one.is_of(&Envelope::parse(&of_two).unwrap().header));
    assert!(!two.is_of(&Envelope::parse(&of_one).unwrap().header));
    assert_eq!(of_one[18], 1);
    for (mut blob, version) in [(of_one, 2), (of_two, 1)] {
        blob[18] = version;
        assert!(open_in(&blob, 1).is_err());
    }
}

/// As after as many regions that came back: neither salts nor nonces of wraps are used twice, nor with those of blobs.
#[test]
fn threat_58_no_two_wraps_have_the_same_salt() {
    let mut salts = HashSet::new();
    let sealed = state("web", vec![generation(2, &key!("ed25519"))]);
    for round in 0..2_000 {
        let data_key = regional("lab", 1, &[1, 2]);
        let blob = sealed.seal(&data_key, &POLICY).unwrap();
        assert!(salts.insert(Envelope::parse(&blob).unwrap().salt), "round {round}");
        let mut wrapped = HashSet::new();
        for wrap in wraps(&data_key) {
            let mut writer = Writer::new();
            wrap.encode(&mut writer);
            let bytes = writer.into_bytes();
            let (salt, sealed) = bytes[bytes.len() - 80..].split_at(32);
            assert!(salts.insert(salt.try_into().unwrap()), "round {round}");
            assert!(wrapped.insert(sealed.to_vec()), "one data key, two ciphertexts");
        }
    }
}

#[test]
fn threat_58_every_bit_of_a_wrapped_blob_counts() {
    let data_key = regional("lab", 1, &[1, 2]);
    let mut blob = blob("w", &data_key);
    for bit in 0..blob.len() * 8 {
        blob[bit / 8] ^= 1 << (bit % 8);
        for region in [1, 2] {
            assert!(open_in(&blob, region).is_err(), "bit {bit}");
        }
        blob[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(open_in(&blob, 1).is_ok() && open_in(&blob, 2).is_ok());
    for length in 0..blob.len() {
        let error = Envelope::parse(&blob[..length]).err();
        assert_eq!(error, Some(SealedError::Form(DecodeError::Truncated)), "{length}");
    }
}

/// One state was sealed while a region was away, another one after: what is known of both is known of the data key.
#[test]
fn what_two_headers_say_of_one_data_key_is_joined() {
    let early = regional("lab", 1, &[1]);
    let late = under(regional("lab", 1, &[1]), &[2]);
    let [of_early, of_late] = [&early, &late].map(|key| Envelope::parse(&blob("web", key)).unwrap().header);
    assert!(
        !early.is_of(&of_late),
        "wrapped anew, for all that a header shows another one"
    );
    let late = under(DataKey::of(&of_early, &arn(1), &kek(1)).unwrap(), &[2]);
    let of_late = {
        let envelope = Envelope::parse(&blob("web", &late)).unwrap();
        assert!(early.is_of(envelope.header()) && envelope.open(&early).is_ok());
        assert!(late.is_of(&of_early) && late.is(&early));
        envelope.header
    };
    assert!(late.joined(&of_early).is_none(), "nothing new");
    let joined = early.joined(&of_late).unwrap();
    assert_eq!(joined.wrapping, late.wrapping);
    assert!(
        early
            .joined(&Envelope::parse(&blob("web", &data_key("lab", 1))).unwrap().header)
            .is_none()
    );
}

proptest! {
    /// Nothing that is read panics, and what is read is written the same, and is opened in no region.
    #[test]
    fn threat_49_any_bytes_of_version_2_are_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        start in 0usize..700,
    ) {
        let whole = blob("web", &regional("lab", 1, &[1, 2]));
        for (place, byte) in bytes.iter_mut().enumerate().take(start) {
            *byte = whole.get(place).copied().unwrap_or(*byte);
        }
        bytes.extend(whole.get(bytes.len()..).unwrap_or_default());
        if let Ok(envelope) = Envelope::parse(&bytes) {
            let header = envelope.header().to_bytes();
            prop_assert_eq!(&header, &bytes[..header.len()]);
            if bytes != whole {
                prop_assert!(open_in(&bytes, 1).is_err() && open_in(&bytes, 2).is_err());
            }
        }
    }
}
