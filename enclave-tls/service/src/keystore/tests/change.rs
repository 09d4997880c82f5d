//! Plan, seal, store, commit: what is not committed leaves no trace.

use enclave_wire::control::{Freshness, Validity};
use enclave_wire::identity::Certificate;
use enclave_wire::{Chain, State as Standing};

use super::*;
use crate::chain::ValidChain;
use crate::sealed::State;

pub(super) fn sealed_key(label: &str, group: &str) -> NewKey {
    NewKey {
        sealed: Some(name(group)),
        ..new_key(label, &["www"])
    }
}

pub(super) fn chain(valid_until: i64) -> ValidChain {
    let certificate = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/chains/server.der"));
    ValidChain {
        served: Chain::try_from(vec![Certificate::try_from(certificate.to_vec()).unwrap()]).unwrap(),
        validity: Validity {
            not_before: 0,
            not_after: valid_until,
        },
    }
}

/// What there is to see of a name, and what its next state would be.
fn seen(store: &KeyStore, label: &str) -> (Vec<KeyInfo>, Option<Sealed>, Option<u32>, Vec<u8>) {
    let next = store.plan(Change::Insert(Box::new(sealed_key(label, "lab")))).ok();
    let listing = credential(store, 0).unwrap().client().list(0, 0, usize::MAX).unwrap();
    (
        store.page(0, usize::MAX, 256).keys,
        store.sealed(&name(label)),
        next.and_then(|planned| planned.state().map(|state| state.last_generation)),
        listing.to_bytes(),
    )
}

fn numbers(state: &State) -> Vec<u32> {
    state
        .generations
        .iter()
        .map(|generation| generation.generation)
        .collect()
}

#[test]
fn a_state_holds_the_name_as_it_will_be() {
    let store = store(&["www"]);
    let next = |change: Change| {
        let planned = store.plan(change).unwrap();
        let state = planned.state().unwrap();
        let summary: Vec<_> = state
            .generations
            .iter()
            .map(|generation| {
                (
                    generation.generation,
                    generation.state,
                    generation.usage,
                    generation.chain.certificates().len(),
                )
            })
            .collect();
        let seen = (state.number, state.last_generation, summary);
        assert_eq!((&state.name, &state.group), (&name("web"), &name("lab")));
        (seen, store.commit(planned).unwrap())
    };
    let insert = || Change::Insert(Box::new(sealed_key("web", "lab")));
    use Standing::{Live, Superseded};
    use Usage::{Digest, Tls};
    let (state, one) = next(insert());
    assert_eq!(state, (1, 1, vec![(1, Live, Digest, 0)]));
    let (state, two) = next(insert());
    assert_eq!(state, (2, 2, vec![(1, Live, Digest, 0), (2, Live, Digest, 0)]));
    let key = two.id();
    let (state, _) = next(Change::InstallChain { key, chain: chain(9) });
    assert_eq!(state, (3, 2, vec![(1, Live, Digest, 0), (2, Live, Digest, 1)]));
    let (state, _) = next(Change::Supersede(one.id()));
    assert_eq!(state, (4, 2, vec![(1, Superseded, Digest, 0), (2, Live, Digest, 1)]));
    let (state, _) = next(Change::Reinstate(one.id()));
    assert_eq!(state, (5, 2, vec![(1, Live, Digest, 0), (2, Live, Digest, 1)]));
    let (state, _) = next(Change::Supersede(one.id()));
    assert_eq!(state, (6, 2, vec![(1, Superseded, Digest, 0), (2, Live, Digest, 1)]));
    let (state, _) = next(Change::Narrow { key, usage: Tls });
    assert_eq!(state, (7, 2, vec![(1, Superseded, Digest, 0), (2, Live, Tls, 1)]));
    let (state, _) = next(Change::Retire(one.id()));
    assert_eq!(state, (8, 2, vec![(2, Live, Tls, 1)]));
    assert_eq!(
        store.plan(Change::Reinstate(one.id())).err(),
        Some(ControlError::NoSuchKey)
    );
    let (state, retired) = next(Change::Retire(key));
    assert_eq!((state, retired.id()), ((9, 2, vec![]), key));
    let (state, three) = next(insert());
    assert_eq!(state, (10, 3, vec![(3, Live, Digest, 0)]));
    let info = three.info();
    let expected = Sealed {
        group: name("lab"),
        number: 10,
        freshness: Freshness::Known,
    };
    assert_eq!((info.generation, info.sealed.as_ref()), (3, Some(&expected)));
    assert_eq!(store.sealed(&name("web")), Some(expected));
}

/// The agent did not store the state, or the name is not sealed and the service failed between: nothing happened.
#[test]
fn what_is_not_committed_leaves_no_trace() {
    let store = store(&["www"]);
    let [one, two] = [(); 2].map(|()| insert(&store, sealed_key("web", "lab")).unwrap());
    let before = seen(&store, "web");
    for change in [
        Change::Insert(Box::new(sealed_key("web", "lab"))),
        Change::Insert(Box::new(sealed_key("new", "lab"))),
        Change::Insert(Box::new(new_key("unsealed", &["www"]))),
        Change::InstallChain {
            key: one.id(),
            chain: chain(9),
        },
        Change::Supersede(one.id()),
        Change::Reinstate(one.id()),
        Change::Narrow {
            key: one.id(),
            usage: Usage::Tls,
        },
        Change::Retire(two.id()),
    ] {
        drop(store.plan(change).unwrap());
        assert_eq!(seen(&store, "web"), before);
    }
    drop(store.reseal(&name("web")).unwrap());
    assert_eq!(seen(&store, "web"), before);
    assert_eq!(store.sealed(&name("new")), None);
    let new = insert(&store, new_key("new", &[])).unwrap();
    assert_eq!(
        (new.entry().generation, new.place()),
        (1, 2),
        "as if nothing had been planned"
    );
}

#[test]
fn what_was_planned_before_another_change_is_not_committed() {
    let store = store(&["www"]);
    let key = insert(&store, sealed_key("web", "lab")).unwrap();
    let stale = store.plan(Change::Supersede(key.id())).unwrap();
    insert(&store, new_key("other", &[])).unwrap();
    assert_eq!(store.commit(stale).err(), Some(ControlError::Failed));
    assert_eq!(store.get(&key.id()).unwrap().entry().state, Standing::Live);
}

#[test]
fn a_name_is_sealed_all_or_none_and_in_one_group() {
    let store = store(&["www"]);
    let sealed = insert(&store, sealed_key("sealed", "lab")).unwrap();
    let plain = insert(&store, new_key("plain", &[])).unwrap();
    let refused = |new: NewKey| {
        let admitted = store.admits(&new.name, new.clients.items(), new.sealed.as_ref());
        let planned = store.plan(Change::Insert(Box::new(new))).map(drop);
        assert_eq!(planned, admitted);
        admitted.err()
    };
    let otherwise = Some(ControlError::SealedOtherwise);
    assert_eq!(refused(new_key("sealed", &[])), otherwise);
    assert_eq!(refused(sealed_key("sealed", "other")), otherwise);
    assert_eq!(refused(sealed_key("plain", "lab")), otherwise);
    assert_eq!(refused(sealed_key("sealed", "lab")), None);
    assert_eq!(store.reseal(&name("plain")).err(), otherwise);
    // The parent keeps a state of the one; nobody keeps anything of the other.
    for key in [sealed, plain] {
        apply(&store, Change::Retire(key.id())).unwrap();
    }
    assert_eq!(refused(new_key("sealed", &[])), otherwise);
    assert_eq!(refused(sealed_key("sealed", "other")), otherwise);
    let now_sealed = insert(&store, sealed_key("plain", "lab")).unwrap();
    assert_eq!(now_sealed.entry().generation, 2);
}

#[test]
fn sealing_again_changes_the_number_alone() {
    let store = store(&["www"]);
    let key = insert(&store, sealed_key("web", "lab")).unwrap();
    let before = key.info();
    let planned = store.reseal(&name("web")).unwrap();
    let state = planned.state().unwrap();
    assert_eq!((state.number, numbers(state)), (2, vec![1]));
    store.commit(planned).unwrap();
    let after = store.get(&key.id()).unwrap().info();
    assert_eq!(after.sealed.as_ref().map(|sealed| sealed.number), Some(2));
    assert_eq!(
        KeyInfo {
            sealed: before.sealed.clone(),
            ..after
        },
        before
    );
}

#[test]
fn a_sealed_name_has_at_most_64_generations() {
    let store = store(&["www"]);
    for _ in 0..64 {
        insert(&store, sealed_key("web", "lab")).unwrap();
        insert(&store, new_key("plain", &[])).unwrap();
    }
    let error = insert(&store, sealed_key("web", "lab")).err();
    assert_eq!(error, Some(ControlError::LimitReached));
    assert!(insert(&store, new_key("plain", &[])).is_ok());
}

#[test]
fn a_bundle_brings_its_chain() {
    let store = store(&["www"]);
    let new = NewKey {
        chain: Some(chain(9)),
        origin: Origin::Bundle,
        ..sealed_key("web", "lab")
    };
    let planned = store.plan(Change::Insert(Box::new(new))).unwrap();
    let state = planned.state().unwrap();
    assert_eq!(state.generations[0].chain.certificates().len(), 1);
    let key = store.commit(planned).unwrap();
    assert_eq!(
        (key.origin(), key.info().validity),
        (Origin::Bundle, Some(chain(9).validity))
    );
}
