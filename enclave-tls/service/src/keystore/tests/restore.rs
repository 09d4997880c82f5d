//! A name's state comes back: once, as it was, and never an older one within a run.

use std::sync::Arc;

use enclave_wire::State as Standing;
use enclave_wire::control::Freshness;

use super::change::{chain, sealed_key};
use super::*;
use crate::sealed::{DataKey, Envelope, Generation, State as SealedState};

const POLICY: [u8; 48] = [0; 48];

fn data_key() -> DataKey {
    let arn = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    DataKey::new(name("lab"), arn.parse().unwrap(), vec![7; 184], &[1; 32])
}

fn open(blob: &[u8]) -> SealedState {
    Envelope::parse(blob).unwrap().open(&data_key()).unwrap()
}

/// Makes a change as the service does, and gives what the agent stored.
fn stored(store: &KeyStore, change: Change) -> (Vec<u8>, Arc<Key>) {
    let planned = store.plan(change).unwrap();
    let blob = planned.state().unwrap().seal(&data_key(), &POLICY).unwrap();
    (blob, store.commit(planned).unwrap())
}

fn restore(store: &KeyStore, blob: &[u8]) -> Result<Restored, ControlError> {
    store.restore(open(blob), Freshness::Unproven, |_| Ok(()))
}

fn insert_sealed(store: &KeyStore) -> (Vec<u8>, Arc<Key>) {
    stored(store, Change::Insert(Box::new(sealed_key("web", "lab"))))
}

/// Two generations of `web`, and every state of it.
fn history() -> (KeyStore, Vec<Vec<u8>>, [Arc<Key>; 2]) {
    let store = store(&["www"]);
    let (first, one) = insert_sealed(&store);
    let (second, two) = insert_sealed(&store);
    let (third, two) = stored(
        &store,
        Change::InstallChain {
            key: two.id(),
            chain: chain(9),
        },
    );
    let (fourth, one) = stored(&store, Change::Supersede(one.id()));
    (store, vec![first, second, third, fourth], [one, two])
}

#[test]
fn a_restart_brings_back_what_was_stored() {
    let (before, blobs, keys) = history();
    let after = store(&["www"]);
    let restored = restore(&after, &blobs[3]).unwrap();
    assert_eq!(restored.keys, keys.each_ref().map(|key| key.id()));
    assert_eq!(restored.refused, []);
    for (was, is) in before
        .page(0, usize::MAX, 9)
        .keys
        .into_iter()
        .zip(after.page(0, usize::MAX, 9).keys)
    {
        let sealed = is.sealed.clone().unwrap();
        assert_eq!((sealed.number, sealed.freshness), (4, Freshness::Unproven));
        let fields = |info: KeyInfo| {
            (
                info.generation,
                info.state,
                info.usage,
                info.origin,
                info.dns_names,
                info.clients,
                info.spki,
            )
        };
        assert_eq!(fields(was), fields(is));
    }
    let client = credential(&after, 0).unwrap();
    let key = client.client().find(&keys[1].id()).unwrap();
    assert_eq!(key.chain(), &chain(9).served);
    assert!(
        key.signing()
            .sign(Usage::Digest, Mechanism::EcdsaSha256, b"message")
            .is_ok()
    );
    // And it goes on from there.
    let (_, three) = insert_sealed(&after);
    assert_eq!((three.entry().generation, three.sealed().unwrap().number), (3, 5));
    assert_eq!(three.sealed().unwrap().freshness, Freshness::Unproven);
}

#[test]
fn threat_35_an_older_state_is_refused_within_a_boot() {
    let (store, blobs, _) = history();
    for older in &blobs[..3] {
        assert_eq!(restore(&store, older), Err(ControlError::StateRollback));
    }
    assert!(restore(&store, &blobs[3]).is_ok());
    // Where nothing else tells them apart, the number does: the third has a chain that the second has not.
    let third = super::store(&["www"]);
    restore(&third, &blobs[2]).unwrap();
    assert_eq!(restore(&third, &blobs[1]), Err(ControlError::StateRollback));
    // After a restart the parent chooses: the service cannot know better, and says so.
    let after = super::store(&["www"]);
    let restored = restore(&after, &blobs[1]).unwrap();
    let key = after.get(&restored.keys[0]).unwrap();
    assert_eq!(key.entry().state, Standing::Live, "it was superseded");
    assert_eq!(key.sealed().unwrap().freshness, Freshness::Unproven);
    assert_eq!(restore(&after, &blobs[0]), Err(ControlError::StateRollback));
    assert!(restore(&after, &blobs[3]).is_ok());
    assert_eq!(restore(&after, &blobs[1]), Err(ControlError::StateRollback));
}

/// The number alone would not do: it counts on in an enclave beside this one, too, where nothing was given up.
#[test]
fn threat_35_nothing_that_this_boot_gave_up_comes_back() {
    let (_, blobs, keys) = history();
    let id = keys[0].id();
    for give_up in [
        Change::Retire(id),
        Change::Narrow {
            key: id,
            usage: Usage::Tls,
        },
        Change::Supersede(id),
    ] {
        let [here, beside] = [(); 2].map(|()| {
            let store = store(&["www"]);
            restore(&store, &blobs[2]).unwrap();
            store
        });
        apply(&here, give_up).unwrap();
        let forked = (0..3).map(|_| {
            stored(
                &beside,
                Change::InstallChain {
                    key: id,
                    chain: chain(9),
                },
            )
            .0
        });
        let forked = forked.last().unwrap();
        assert!(open(&forked).number > here.sealed(&name("web")).unwrap().number);
        let before = here.page(0, usize::MAX, 9).keys;
        assert_eq!(restore(&here, &forked), Err(ControlError::StateRollback));
        assert_eq!(here.page(0, usize::MAX, 9).keys, before);
    }
}

/// The agent stored a state, and the word of it was lost: the service goes on from what is stored.
#[test]
fn a_state_that_goes_on_from_here_is_taken() {
    let (store, _, keys) = history();
    let signing = store.get(&keys[1].id()).unwrap();
    signing.count(Mechanism::EcdsaSha256, Ok(()));
    let [retired, added] = [
        Change::Retire(keys[0].id()),
        Change::Insert(Box::new(sealed_key("web", "lab"))),
    ]
    .map(|change| {
        store
            .plan(change)
            .unwrap()
            .state()
            .unwrap()
            .seal(&data_key(), &POLICY)
            .unwrap()
    });
    let restored = restore(&store, &added).unwrap();
    assert_eq!(restored.keys.len(), 3);
    assert_eq!(store.counters(9).len(), 1, "the same key counts on");
    assert_eq!(
        credential(&store, 0)
            .unwrap()
            .client()
            .find(&restored.keys[2])
            .unwrap()
            .entry()
            .generation,
        3
    );
    // Both have the number 5: the first that is taken stays.
    assert_eq!(restore(&store, &retired), Err(ControlError::StateRollback));
    assert_eq!(restore(&store, &added).unwrap(), restored);
    let (last, _) = stored(&store, Change::Retire(restored.keys[2]));
    let again = super::store(&["www"]);
    restore(&again, &added).unwrap();
    assert_eq!(restore(&again, &last).unwrap().keys.len(), 2);
    assert_eq!(again.get(&restored.keys[2]).err(), Some(ControlError::NoSuchKey));
    assert_eq!(again.keys().len(), 2);
}

#[test]
fn a_generation_that_the_policy_refuses_is_kept_aside() {
    let (_, blobs, keys) = history();
    let store = store(&["www"]);
    let accept = |generation: &Generation| match generation.generation {
        1 => Err(ControlError::UsageRefused),
        _ => Ok(()),
    };
    let restored = store.restore(open(&blobs[3]), Freshness::Unproven, accept).unwrap();
    assert_eq!(restored.keys, [keys[1].id()]);
    let refused = Refused {
        generation: 1,
        key: keys[0].id(),
        error: ControlError::UsageRefused,
    };
    assert_eq!(restored.refused, [refused]);
    assert_eq!(store.get(&keys[0].id()).err(), Some(ControlError::NoSuchKey));
    assert!(credential(&store, 0).unwrap().client().find(&keys[0].id()).is_none());
    let again = store.restore(open(&blobs[3]), Freshness::Unproven, accept);
    assert_eq!(again.unwrap(), restored);
    let same_key = NewKey {
        signing: SigningKey::from_pkcs8(&open(&blobs[3]).generations[0].key.to_pkcs8().unwrap()).unwrap(),
        ..sealed_key("web", "lab")
    };
    assert_eq!(insert(&store, same_key).err(), Some(ControlError::KeyExists));
    // The next state carries it on, for a policy that takes it.
    let (next, _) = insert_sealed(&store);
    let numbers: Vec<u32> = open(&next)
        .generations
        .iter()
        .map(|generation| generation.generation)
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(restore(&super::store(&["www"]), &next).unwrap().keys.len(), 3);
}

#[test]
fn a_key_that_is_here_under_another_name_is_refused() {
    let (_, blobs, _) = history();
    let mut state = open(&blobs[0]);
    state.name = name("other");
    let store = store(&["www"]);
    store.restore(state, Freshness::Unproven, |_| Ok(())).unwrap();
    assert_eq!(restore(&store, &blobs[0]), Err(ControlError::KeyExists));
    assert_eq!(restore(&store, &blobs[3]), Err(ControlError::KeyExists));
    assert_eq!(store.sealed(&name("web")), None);
    assert_eq!(store.keys().len(), 1);
}

#[test]
fn a_name_that_is_here_unsealed_or_in_another_group_is_refused() {
    let (_, blobs, _) = history();
    let unsealed = store(&["www"]);
    insert(&unsealed, new_key("web", &[])).unwrap();
    assert_eq!(restore(&unsealed, &blobs[3]), Err(ControlError::SealedOtherwise));
    let (group, _, _) = history();
    let mut state = open(&blobs[3]);
    (state.group, state.number) = (name("other"), 9);
    let error = group.restore(state, Freshness::Unproven, |_| Ok(())).err();
    assert_eq!(error, Some(ControlError::SealedOtherwise));
}

/// Generations 1 of this run and of the state are not the same key, and one number must not mean two.
#[test]
fn threat_35_a_generation_that_this_boot_made_is_not_replaced() {
    let (_, blobs, _) = history();
    let store = store(&["www"]);
    insert_sealed(&store);
    assert_eq!(restore(&store, &blobs[3]), Err(ControlError::StateRollback));
    let retired = super::store(&["www"]);
    let key = insert(&retired, new_key("web", &[])).unwrap();
    apply(&retired, Change::Retire(key.id())).unwrap();
    assert_eq!(restore(&retired, &blobs[3]), Err(ControlError::StateRollback));
}

#[test]
fn a_name_without_generations_keeps_its_counter() {
    let before = store(&["www"]);
    let (_, key) = insert_sealed(&before);
    let (empty, _) = stored(&before, Change::Retire(key.id()));
    let after = store(&["www"]);
    assert_eq!(restore(&after, &empty).unwrap().keys, []);
    let (_, next) = insert_sealed(&after);
    assert_eq!((next.entry().generation, next.sealed().unwrap().number), (2, 3));
}

/// A client's credential is rolled out when it is: the key waits for it.
#[test]
fn a_key_may_come_before_its_client() {
    let (_, blobs, keys) = history();
    let store = store(&[]);
    restore(&store, &blobs[3]).unwrap();
    install(&store, "www", 0).unwrap();
    install(&store, "other", 1).unwrap();
    let sees = |number| {
        credential(&store, number)
            .unwrap()
            .client()
            .find(&keys[0].id())
            .is_some()
    };
    assert_eq!((sees(0), sees(1)), (true, false));
    let Ok(Listing::Page(page)) = credential(&store, 0).unwrap().client().list(0, 0, usize::MAX) else {
        panic!("a page")
    };
    assert_eq!(page.entries.0.len(), 2);
}

#[test]
fn threat_35_an_expired_certificates_key_does_not_come_back_to_sign() {
    let (_, blobs, keys) = history();
    let store = store(&["www"]);
    restore(&store, &blobs[3]).unwrap();
    let key = store.get(&keys[1].id()).unwrap();
    // The certificate's own dates: what came with the chain is not in the state.
    let validity = key.info().validity.unwrap();
    assert!(validity.not_after > 9);
    assert!(!key.has_expired(|| validity.not_after));
    assert!(key.has_expired(|| validity.not_after + 1));
}

#[test]
fn a_chain_that_cannot_be_read_is_refused() {
    let (_, blobs, _) = history();
    let mut state = open(&blobs[3]);
    let not_x509 = enclave_wire::identity::Certificate::try_from(vec![0; 9]).unwrap();
    state.generations[0].chain = Arc::new(vec![not_x509].try_into().unwrap());
    let error = store(&[]).restore(state, Freshness::Unproven, |_| Ok(())).err();
    assert_eq!(error, Some(ControlError::StateInvalid));
}

#[test]
fn restored_keys_and_names_are_limited() {
    let (_, blobs, keys) = history();
    let full = store(&["www"]);
    let known = NameRecord::default();
    full.write().names = (0..MAX_NAMES)
        .map(|number| (name(&format!("n{number}")), known.clone()))
        .collect();
    assert_eq!(restore(&full, &blobs[3]), Err(ControlError::LimitReached));
    let full = store(&["www"]);
    for number in 0..MAX_KEYS - 1 {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        full.write().keys.insert(KeyId(id), Arc::clone(&keys[0]));
    }
    assert_eq!(restore(&full, &blobs[3]), Err(ControlError::LimitReached));
    assert!(restore(&full, &blobs[0]).is_ok());
}
