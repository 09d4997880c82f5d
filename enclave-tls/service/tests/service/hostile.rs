//! threat_39: whatever the parent asks for, it gets what the measured policy allows.

use std::sync::Arc;

use enclave_attestation::Nsm as _;
use enclave_policy::Policy;
use enclave_wire::control::{
    Attest, BundleSource, ControlError, Create, Import, InstallAws, KeyInfo, Narrow, Provision, Reply, Request,
};
use enclave_wire::frame::encode_with;
use enclave_wire::log::Text;
use enclave_wire::{KeyId, KeyType, Name, Usage};
use proptest::prelude::*;
use proptest::sample::select;

use super::aws::{Aws, BUNDLES, KMS_HOST, OTHER, S3_HOST, SEALING, credentials, object, provision};
use super::kept::{Kept, Manner};
use super::lab::Lab;

/// What the parent may say, of the kinds that a policy has a word on.
#[derive(Debug, Clone)]
enum Asked {
    Create(String, KeyType, Usage, Option<String>, Vec<&'static str>),
    Import(String, Usage, &'static str, Option<String>),
    /// A bundle of ours or another's, with one member changed.
    Provision(
        String,
        Usage,
        &'static str,
        Source,
        Option<(&'static str, String)>,
        Option<String>,
    ),
    /// One of the states that were stored, a byte of it changed, or not.
    Restore(prop::sample::Index, Option<(prop::sample::Index, u8)>),
    Change(Change, prop::sample::Index),
    Hosts(Option<&'static str>, Option<&'static str>),
    Stores(Manner),
    Attest(Vec<u8>),
    Policy(Vec<u8>),
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Ours,
    Foreign,
    Object,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Supersede,
    Reinstate,
    Retire,
    Narrow(Usage),
}

fn asked() -> impl Strategy<Value = Asked> {
    let label = || select(vec!["lab-a", "lab-b", "server-a", "other", "LAB-A"]).prop_map(str::to_owned);
    let group = || prop::option::of(select(vec!["web", "g2"]).prop_map(str::to_owned));
    let usage = || select(Usage::ALL.to_vec());
    let key_type = select(vec!["P-256", "P-384", "P-521", "Ed25519"]).prop_map(|text| text.parse().unwrap());
    let clients = prop::collection::vec(select(vec!["www", "stranger"]), 0..3);
    let vector = select(vec!["p-256", "p-384", "ed25519", "rsa-2056", "secp256k1"]);
    let arn = select(vec![BUNDLES, SEALING, OTHER, "alias/a", ""]);
    let source = select(vec![Source::Ours, Source::Foreign, Source::Object]);
    let member = select(vec![
        "certificate",
        "certificateChain",
        "encryptedPrivateKey",
        "enclaveTls",
        "x",
    ]);
    let changed = prop::option::of((member, ".{0,20}"));
    let change = prop_oneof![
        Just(Change::Supersede),
        Just(Change::Reinstate),
        Just(Change::Retire),
        usage().prop_map(Change::Narrow)
    ];
    let host = || {
        prop::option::of(select(vec![
            "evil.example",
            "kms.eu-west-1.amazonaws.com",
            S3_HOST,
            KMS_HOST,
        ]))
    };
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => (label(), key_type, usage(), group(), clients).prop_map(|(l, k, u, g, c)| Asked::Create(l, k, u, g, c)),
        2 => (label(), usage(), vector, group()).prop_map(|(l, u, v, g)| Asked::Import(l, u, v, g)),
        4 => (label(), usage(), arn, source, changed, group())
            .prop_map(|(l, u, a, s, c, g)| Asked::Provision(l, u, a, s, c, g)),
        2 => (index(), prop::option::of((index(), any::<u8>()))).prop_map(|(s, c)| Asked::Restore(s, c)),
        3 => (change, index()).prop_map(|(c, k)| Asked::Change(c, k)),
        1 => (host(), host()).prop_map(|(k, s)| Asked::Hosts(k, s)),
        1 => select(vec![Manner::Keeps, Manner::Refuses]).prop_map(Asked::Stores),
        1 => prop::collection::vec(any::<u8>(), 0..=64).prop_map(Asked::Attest),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Asked::Policy),
    ]
}

/// A lab and a parent who may say anything.
struct Parent {
    aws: Aws,
    kept: Arc<Kept>,
    lab: Lab,
    policy: Policy,
}

impl Parent {
    fn new() -> Self {
        let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
        let mut lab = Lab::of(aws.setup(&kept));
        lab.agent.install_aws(credentials()).unwrap();
        let policy = Policy::parse(aws.policy().as_bytes()).unwrap();
        Self { aws, kept, lab, policy }
    }

    fn say(&mut self, asked: Asked) -> Option<Reply> {
        let name = |text: &str| Name::try_from(text).unwrap();
        let group = |group: Option<String>| group.map(|group| name(&group));
        let request = match asked {
            Asked::Create(label, key_type, usage, sealed, clients) => Request::Create(Create {
                name: name(&label),
                key_type,
                usage,
                dns_names: Vec::new().try_into().unwrap(),
                clients: clients.into_iter().map(name).collect::<Vec<_>>().try_into().unwrap(),
                sealed: group(sealed),
            }),
            Asked::Import(label, usage, vector, sealed) => Request::Import(Import {
                name: name(&label),
                usage,
                dns_names: Vec::new().try_into().unwrap(),
                clients: Vec::new().try_into().unwrap(),
                sealed: group(sealed),
                pkcs8: self::vector(vector).try_into().ok().unwrap(),
            }),
            Asked::Provision(label, usage, arn, source, changed, sealed) => Request::Provision(Provision {
                usage,
                kms_key: Text::lossy(arn),
                sealed: group(sealed),
                source: self.source(&label, source, changed),
                ..provision(&label, &serde_json::Value::Null)
            }),
            Asked::Restore(which, changed) => Request::Restore(self.state(which, changed)?.try_into().unwrap()),
            Asked::Change(change, which) => {
                let key = self.key(which)?;
                match change {
                    Change::Supersede => Request::Supersede(key),
                    Change::Reinstate => Request::Reinstate(key),
                    Change::Retire => Request::Retire(key),
                    Change::Narrow(usage) => Request::Narrow(Narrow { key, usage }),
                }
            }
            Asked::Hosts(kms, s3) => Request::InstallAws(InstallAws {
                kms_host: kms.map(|host| host.parse().unwrap()),
                s3_host: s3.map(|host| host.parse().unwrap()),
                ..credentials()
            }),
            Asked::Stores(manner) => {
                self.kept.behave(manner);
                return None;
            }
            Asked::Attest(nonce) => Request::Attest(Attest {
                nonce: nonce.try_into().unwrap(),
                keys: Vec::new().try_into().unwrap(),
            }),
            Asked::Policy(bytes) => Request::Policy(Some(bytes.try_into().unwrap())),
        };
        Some(self.lab.agent.call(&request))
    }

    fn source(&self, label: &str, source: Source, changed: Option<(&'static str, String)>) -> BundleSource {
        let certified = self.aws.ca.certify(&["a.test"]);
        let mut bundle = match source {
            Source::Ours => self.aws.bundle(label, &certified),
            Source::Foreign | Source::Object => self.aws.foreign(&certified),
        };
        if let Some((member, value)) = changed {
            bundle[member] = value.into();
        }
        let bytes = bundle.to_string().into_bytes();
        if matches!(source, Source::Object) {
            self.aws.s3.put("a", bytes);
            return object("a");
        }
        BundleSource::Document(bytes.try_into().unwrap())
    }

    fn state(&self, which: prop::sample::Index, changed: Option<(prop::sample::Index, u8)>) -> Option<Vec<u8>> {
        let names = ["lab-a", "lab-b", "server-a"];
        let states: Vec<_> = names.iter().flat_map(|name| self.kept.states(name)).collect();
        let mut blob = which.get_checked(&states)?.blob.as_bytes().to_vec();
        if let Some((at, byte)) = changed {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        Some(blob)
    }

    fn key(&mut self, which: prop::sample::Index) -> Option<KeyId> {
        let keys = self.lab.agent.list(0).keys.into_items();
        which.get_checked(&keys).map(|info| info.id)
    }

    fn is_within_its_policy(&mut self) {
        let keys: Vec<KeyInfo> = self.lab.agent.list(0).keys.into_items();
        for info in keys {
            assert_eq!(self.policy.allows(&info.name, info.usage), Ok(()), "{info:?}");
            assert_eq!(self.policy.allows_key(info.key_type), Ok(()), "{info:?}");
        }
        assert_eq!(self.lab.agent.status().policy_sha384, Some(self.policy.sha384()));
        assert_eq!(self.lab.nsm.register(16).unwrap().value, self.policy.pcr16());
        let hosts = [KMS_HOST, S3_HOST].map(|host| format!("{host}:443"));
        assert!(self.aws.passage.asked().iter().all(|host| hosts.contains(host)));
    }
}

trait GetChecked {
    fn get_checked<'a, T>(&self, of: &'a [T]) -> Option<&'a T>;
}

impl GetChecked for prop::sample::Index {
    fn get_checked<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| self.get(of))
    }
}

fn vector(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/vectors/keys/{name}.der", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn threat_39_no_request_widens_the_policy(all in prop::collection::vec(asked(), 1..30)) {
        let mut parent = Parent::new();
        for asked in all {
            let said = format!("{asked:?}");
            let reply = parent.say(asked);
            // What panics is answered with this.
            prop_assert_ne!(reply, Some(Reply::Error(ControlError::Failed)), "{}", said);
        }
        parent.is_within_its_policy();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    /// Bytes that are no request end the connection, and nothing else.
    #[test]
    fn threat_39_no_bytes_do_harm(
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 1..12),
    ) {
        let mut parent = Parent::new();
        let known = [0x11, 0x28, 0x29, 0x31, 0x44, 0xc4];
        for (number, (operation, body)) in (1..).zip(frames) {
            let operation = if operation % 2 == 0 { known[usize::from(operation) % known.len()] } else { operation };
            let frame = encode_with(operation, number, |writer| writer.put(&body)).into_bytes();
            let reply = parent.lab.agent.send_raw(&frame);
            prop_assert_ne!(&reply, &Some(Reply::Error(ControlError::Failed)), "{:x} {:?}", operation, body);
            if reply == Some(Reply::Error(ControlError::Malformed)) {
                parent.lab.reconnect();
            }
        }
        parent.is_within_its_policy();
    }
}
