//! Whatever lists of keys come: nothing panics, and no key is given up that servers may need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use enclave_tls_admin::protocol::Unable;
use enclave_wire::control::{KeyPage, Reply, Request};
use enclave_wire::{Chain, KeyId, Name};
use proptest::prelude::*;

use super::super::world::EnclaveError;
use super::worlds::Blind;
use super::*;

/// Lists what it was given, and notes what it is asked.
struct Lister {
    keys: Vec<KeyInfo>,
    cursors: Vec<Option<u32>>,
    given_up: Mutex<Vec<(KeyId, &'static str)>>,
}

impl Enclave for Lister {
    fn ask(&self, request: &Request) -> Result<Reply, EnclaveError> {
        Ok(match request {
            Request::List(from) => {
                let at = usize::try_from(*from).unwrap();
                let page: Vec<_> = self.keys.iter().skip(at).take(4).cloned().collect();
                let honest = at + page.len() < self.keys.len();
                let next = honest.then(|| (at + page.len()).try_into().unwrap());
                Reply::Keys(KeyPage {
                    total: 1,
                    next: self.cursors.get(at).copied().unwrap_or(next),
                    keys: page.try_into().unwrap(),
                })
            }
            Request::Chain(id) => {
                let its = self.keys.iter().find(|key| key.id == *id).unwrap();
                let leaf = leaf(&format!("{} {}", its.name, its.generation));
                Reply::Chain(Some(Chain::try_from(vec![leaf.try_into().unwrap()]).unwrap()))
            }
            Request::Supersede(id) => {
                self.given_up.lock().unwrap().push((*id, "supersede"));
                let key = self.keys.iter().find(|key| key.id == *id).unwrap();
                Reply::Superseded(KeyInfo {
                    state: State::Superseded,
                    ..key.clone()
                })
            }
            Request::Retire(id) => {
                self.given_up.lock().unwrap().push((*id, "retire"));
                Reply::Retired
            }
            Request::Credentials => Reply::Pong,
            _ => return Err(EnclaveError::Away(Unable::Deadline)),
        })
    }

    fn not_open(&self) -> BTreeMap<Name, String> {
        BTreeMap::new()
    }

    fn newer_chains(&self) -> BTreeSet<KeyId> {
        BTreeSet::new()
    }

    fn retired(&self) -> Vec<(KeyId, u32)> {
        Vec::new()
    }
}

fn any_key() -> impl Strategy<Value = KeyInfo> {
    let valid = prop_oneof![Just(None), Just(Some((0, i64::MAX))), Just(Some((0, 1)))];
    (0..3_usize, 0..5_u32, any::<bool>(), any::<bool>(), valid).prop_map(|(name, generation, live, tls, valid)| {
        key(&Made {
            state: if live { State::Live } else { State::Superseded },
            usage: if tls { Usage::Tls } else { Usage::Digest },
            dns_names: [&["c0.example"], &["c1.example"], &["c2.example"]][name],
            valid,
            ..Made::of(&format!("c{name:04}"), generation)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn threat_39_no_list_of_keys_makes_the_keeper_give_up_a_key_that_servers_may_need(
        keys in proptest::collection::vec(any_key(), 0..12),
        cursors in proptest::collection::vec(proptest::option::of(0..20_u32), 0..2),
        bad in proptest::collection::btree_set(0..3_usize, 0..2),
        runs in any::<bool>(),
        deaf in any::<bool>(),
    ) {
        let config = certificates(3);
        let (clock, directory) = (Simulated::new(), Directory::new());
        let helper = FakeHelper::new(&config);
        {
            let mut state = helper.state();
            state.bad = bad.iter().map(|n| format!("c{n:04}").parse().unwrap()).collect();
            state.deaf = deaf;
            if !runs {
                state.runs.clear();
            }
        }
        let enclave = Arc::new(Lister { keys: keys.clone(), cursors, given_up: Mutex::default() });
        let mut keeper = Keeper::new(Arc::clone(&enclave), helper.clone(), Box::new(Blind), clock.clone(), directory.path());
        for _ in 0..6 {
            let wait = keeper.pass(&config);
            clock.pass(wait + HOUR * 12);
            for (id, what) in enclave.given_up.lock().unwrap().drain(..) {
                let key = keys.iter().find(|key| key.id == id).unwrap();
                let live = helper.state().live.get(&key.name).copied();
                prop_assert!(live.is_some_and(|live| live.generation() > key.generation), "{what} {} {}", key.name, key.generation);
                prop_assert!(what != "retire" || key.state == State::Superseded);
                let reloaded = helper.state().with.get(&"main".parse().unwrap()).and_then(|with| with.get(&key.name).copied());
                prop_assert!(!runs || reloaded == live, "{what}: a server runs with another");
            }
        }
    }
}
