use std::os::unix::fs::PermissionsExt;

use enclave_wire::control::{BundleSource, Freshness, Provision, Sealed};
use enclave_wire::log::Text;

use super::*;

/// A directory of one test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ctl-store-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        Self(path)
    }

    fn open(&self) -> Store {
        Store::open(&self.0).map_err(|error| error.to_string()).unwrap()
    }

    fn write(&self, file: &str, contents: &str) {
        fs::write(self.0.join(file), contents).unwrap();
        fs::set_permissions(self.0.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn info(id: u8, name: &str, generation: u32) -> KeyInfo {
    KeyInfo {
        id: KeyId([id; 32]),
        name: name.parse().unwrap(),
        generation,
        key_type: "p-256".parse().unwrap(),
        usage: Usage::Digest,
        state: State::Live,
        origin: Origin::Imported,
        dns_names: vec!["*.example.com".parse().unwrap(), "example.com".parse().unwrap()]
            .try_into()
            .unwrap(),
        clients: vec!["nginx".parse().unwrap()].try_into().unwrap(),
        spki: vec![1].try_into().unwrap(),
        validity: None,
        sealed: None,
    }
}

fn pkcs8(text: &[u8]) -> Pkcs8 {
    text.to_vec().try_into().ok().unwrap()
}

fn errors<T>(items: Vec<Result<T, ItemError>>) -> Vec<String> {
    items
        .into_iter()
        .filter_map(Result::err)
        .map(|error| error.to_string())
        .collect()
}

const BOOT: BootId = BootId([1; 16]);

#[test]
fn a_kept_key_is_read_as_it_was_written_and_then_forgotten() {
    let scratch = Scratch::new("kept");
    let store = scratch.open();
    let mut key = info(0xab, "www", 2);
    let chain = Chain::try_from(vec![vec![7; 300].try_into().unwrap()]).unwrap();
    assert!(
        !store.put_chain(key.id, &chain).unwrap(),
        "not kept, so its chain is not either"
    );
    store.keep_key(&key, &pkcs8(b"secret")).unwrap();
    assert!(store.put_chain(key.id, &chain).unwrap());
    key.usage = Usage::Tls;
    key.state = State::Superseded;
    assert!(store.amend(&key, BOOT).unwrap());

    let kept = store.keys().pop().unwrap().unwrap();
    assert_eq!(
        (kept.id, kept.generation, kept.usage, kept.superseded),
        (key.id, 2, Usage::Tls, true)
    );
    assert_eq!(
        (kept.dns_names.as_slice(), kept.clients.as_slice()),
        (key.dns_names.items(), key.clients.items())
    );
    assert_eq!(store.private_key(key.id).unwrap().as_bytes(), b"secret");
    assert_eq!(store.chains().pop().unwrap().unwrap(), (key.id, chain));
    for part in ["keys", "chains"] {
        for name in file_names(&scratch.0.join(part)).unwrap() {
            let mode = fs::metadata(scratch.0.join(part).join(name)).unwrap().mode();
            assert_eq!(mode & 0o7777, 0o600);
        }
    }
    assert!(store.forget(key.id).unwrap());
    assert!(!store.forget(key.id).unwrap());
    assert_eq!((store.keys().len(), store.chains().len()), (0, 0));
    assert!(
        file_names(&scratch.0.join("keys")).unwrap().is_empty(),
        "the private key is gone too"
    );
}

#[test]
fn generations_of_a_name_come_in_their_order() {
    let scratch = Scratch::new("order");
    let store = scratch.open();
    for (id, name, generation) in [(3, "b", 1), (2, "a", 9), (1, "a", 10)] {
        store.keep_key(&info(id, name, generation), &pkcs8(b"k")).unwrap();
    }
    let order: Vec<_> = store.keys().into_iter().map(|key| key.unwrap().generation).collect();
    assert_eq!(order, [9, 10, 1]);
}

#[test]
fn a_key_that_came_later_stays_later_though_the_service_counts_anew() {
    let scratch = Scratch::new("later");
    let store = scratch.open();
    store.keep_key(&info(9, "www", 2), &pkcs8(b"k")).unwrap();
    // After a restart the service holds the first as generation 1, and the next is its generation 2.
    store.keep_key(&info(1, "www", 2), &pkcs8(b"k")).unwrap();
    store.amend(&info(1, "www", 2), BOOT).unwrap();
    let order: Vec<_> = store
        .keys()
        .into_iter()
        .map(|key| key.unwrap())
        .map(|key| (key.id.0[0], key.generation))
        .collect();
    assert_eq!(order, [(9, 2), (1, 3)]);
}

#[test]
fn a_client_has_its_two_newest_credentials() {
    let scratch = Scratch::new("credentials");
    let store = scratch.open();
    let client: Name = "nginx".parse().unwrap();
    for n in [1, 2, 3, 3] {
        let new = Credential {
            id: CredentialId([n; 16]),
            verifier: Verifier([n; 32]),
        };
        store.add_credential(&client, new).unwrap();
    }
    let (name, credentials) = store.credentials().pop().unwrap().unwrap();
    assert_eq!(name, client);
    assert_eq!(
        credentials
            .iter()
            .map(|c| (c.id.0[0], c.verifier.0[31]))
            .collect::<Vec<_>>(),
        [(2, 2), (3, 3)]
    );
    assert!(
        scratch
            .read("credentials/nginx.toml")
            .starts_with("[[credential]]\nid = \"0202")
    );
}

#[test]
fn what_a_restart_lost_is_remembered_until_its_name_has_a_new_key() {
    let scratch = Scratch::new("volatile");
    let store = scratch.open();
    store.note_volatile(&info(1, "www", 1), BOOT).unwrap();
    store.note_volatile(&info(2, "www", 2), BOOT).unwrap();
    store.note_volatile(&info(3, "api", 1), BOOT).unwrap();
    assert_eq!(
        store.volatile().len(),
        3,
        "two generations of one boot live side by side"
    );
    store.note_volatile(&info(4, "www", 1), BootId([2; 16])).unwrap();
    let names: Vec<_> = store
        .entries()
        .into_iter()
        .map(|entry| (entry.id.0[0], entry.kept))
        .collect();
    assert_eq!(names, [(3, false), (4, false)]);
}

#[test]
fn a_file_that_is_wrong_is_named_with_its_line_and_the_others_are_read() {
    let scratch = Scratch::new("wrong");
    let store = scratch.open();
    store.keep_key(&info(1, "www", 1), &pkcs8(b"k")).unwrap();
    let good = scratch.read(&format!("keys/{}.toml", KeyId([1; 32])));
    let id = |n: u8| KeyId([n; 32]).to_string();
    let file = |n: u8| format!("keys/{}.toml", id(n));
    scratch.write(&file(2), &(good.clone() + "colour = 1\n"));
    scratch.write(&file(3), &good.replace("\"digest\"", "\"sign\""));
    scratch.write(&file(4), &good.replace("generation = 1", "generation = -1"));
    scratch.write(&file(5), &good.replace("superseded = false\n", ""));
    scratch.write("keys/www.toml", &good);
    scratch.write(&format!("keys/{}.pem", id(6)), "x");
    assert_eq!(store.keys().iter().filter(|key| key.is_ok()).count(), 1);
    let errors = errors(store.keys());
    for expected in [
        format!("{}:7: unknown field `colour`", file(2)),
        format!("{}:3: expected \"tls\", \"tls-client\" or \"digest\"", file(3)),
        format!("{}:2: ", file(4)),
        "missing field `superseded`".to_owned(),
        "keys/www.toml: a file here is named ID.toml".to_owned(),
        format!("keys/{}.pem: a private key without its .toml", id(6)),
    ] {
        assert!(
            errors.iter().any(|error| error.contains(&expected)),
            "{expected}: {errors:#?}"
        );
    }
}

#[test]
fn a_credential_that_is_wrong_is_not_repeated() {
    let scratch = Scratch::new("secret");
    let store = scratch.open();
    let id = "11".repeat(16);
    for verifier in [
        format!("\"{}\"", "5e".repeat(31)),
        format!("\"{}\" x", "5e".repeat(32)),
        "5".repeat(18),
    ] {
        scratch.write(
            "credentials/a.toml",
            &format!("[[credential]]\nid = \"{id}\"\nverifier = {verifier}\n"),
        );
        let errors = errors(store.credentials());
        assert!(errors[0].starts_with("credentials/a.toml:3: "), "{errors:?}");
        assert!(!errors[0].contains("5e5e") && !errors[0].contains("555"), "{errors:?}");
    }
    scratch.write("credentials/a.toml", "credential = []\n");
    assert_eq!(
        errors(store.credentials()),
        ["credentials/a.toml: a client has one or two credentials"]
    );
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    let scratch = Scratch::new("mode");
    let store = scratch.open();
    store.keep_key(&info(1, "www", 1), &pkcs8(b"k")).unwrap();
    let path = scratch.0.join(format!("keys/{}.pem", KeyId([1; 32])));
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(
        store
            .private_key(KeyId([1; 32]))
            .err()
            .unwrap()
            .to_string()
            .contains("its mode is 0640")
    );
}

#[test]
fn the_directory_is_private_and_has_one_user() {
    let scratch = Scratch::new("private");
    let store = scratch.open();
    assert_eq!(fs::metadata(&scratch.0).unwrap().mode() & 0o7777, 0o700);
    assert!(matches!(Store::open(&scratch.0), Err(OpenError::InUse(_))));
    scratch.write("keys/.tmp-1", "half a key");
    drop(store);
    drop(scratch.open());
    assert!(
        file_names(&scratch.0.join("keys")).unwrap().is_empty(),
        "what an interrupted write left is removed"
    );
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(matches!(Store::open(&scratch.0), Err(OpenError::NotPrivate(_))));
}

#[test]
fn a_state_takes_the_place_of_the_older_and_what_was_lost_of_its_name_is_forgotten() {
    let scratch = Scratch::new("state");
    let store = scratch.open();
    let (www, api): (Name, Name) = ("www".parse().unwrap(), "api".parse().unwrap());
    store.note_volatile(&info(1, "www", 1), BOOT).unwrap();
    store.note_volatile(&info(2, "api", 1), BOOT).unwrap();
    for state in [b"older".to_vec(), b"newer".to_vec()] {
        store.put_state(&www, &state.try_into().unwrap()).unwrap();
    }
    assert_eq!(store.state(&www).unwrap().unwrap().as_bytes(), b"newer");
    assert_eq!(store.state(&api).unwrap(), None);
    assert_eq!(
        store.sealed_names().into_iter().map(Result::unwrap).collect::<Vec<_>>(),
        [www]
    );
    assert_eq!(store.volatile().len(), 1);
    let mode = fs::metadata(scratch.0.join("sealed/www.sealed")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
    scratch.write("sealed/-x.sealed", "");
    assert_eq!(
        errors(store.sealed_names()),
        ["sealed/-x.sealed: a file here is named NAME.sealed"]
    );
}

#[test]
fn a_bundle_that_is_wrong_is_named_and_the_others_are_read() {
    let scratch = Scratch::new("bundles");
    let store = scratch.open();
    let provision = Provision {
        name: "www".parse().unwrap(),
        usage: Usage::Tls,
        dns_names: vec![].try_into().unwrap(),
        clients: vec!["nginx".parse().unwrap()].try_into().unwrap(),
        sealed: None,
        kms_key: Text::lossy("arn:aws:kms:r:1:key/k"),
        source: BundleSource::Document(b"{}".to_vec().try_into().unwrap()),
    };
    store.keep_bundle(&info(1, "www", 1), &provision).unwrap();
    let read = store.bundle(KeyId([1; 32])).unwrap();
    let again = store.provision(&read).unwrap();
    let usage = Usage::Digest; // what the key has now
    assert_eq!(again, Provision { usage, ..provision });

    let id = |n: u8| KeyId([n; 32]).to_string();
    let good = scratch.read(&format!("bundles/{}.toml", id(1)));
    scratch.write(
        &format!("bundles/{}.toml", id(2)),
        &(good.clone() + "s3 = \"s3://bkt/k\"\n"),
    );
    scratch.write(&format!("bundles/{}.toml", id(3)), &(good.clone() + "s3 = \"bkt/k\"\n"));
    scratch.write(&format!("bundles/{}.json", id(4)), "{}");
    scratch.write("bundles/www.toml", &good);
    assert_eq!(store.bundles().iter().filter(|bundle| bundle.is_ok()).count(), 1);
    let errors = errors(store.bundles());
    for expected in [
        format!("bundles/{}.toml: an object of S3 has both", id(2)),
        format!("bundles/{}.toml:8: expected s3://BUCKET/KEY", id(3)),
        format!("bundles/{}.json: a bundle without its .toml", id(4)),
        "bundles/www.toml: a file here is named ID.toml".to_owned(),
    ] {
        assert!(
            errors.iter().any(|error| error.contains(&expected)),
            "{expected}: {errors:#?}"
        );
    }
}

#[test]
fn a_key_that_is_noted_nowhere_is_noted_and_no_other() {
    let scratch = Scratch::new("unrecorded");
    let store = scratch.open();
    let sealed = KeyInfo {
        sealed: Some(Sealed {
            group: "default".parse().unwrap(),
            number: 1,
            freshness: Freshness::Known,
        }),
        ..info(1, "sealed", 1)
    };
    scratch.write("sealed/sealed.sealed", "its state");
    store.keep_key(&info(2, "kept", 1), &pkcs8(b"k")).unwrap();
    store.note_volatile(&info(3, "noted", 1), BOOT).unwrap();
    let keys = [
        sealed.clone(),
        info(2, "kept", 1),
        info(3, "noted", 1),
        info(4, "new", 1),
    ];
    assert_eq!(store.note_unrecorded(&keys, BOOT).unwrap(), 1);
    assert_eq!(store.note_unrecorded(&keys, BOOT).unwrap(), 0);
    assert_eq!(store.volatile().len(), 2);
    std::fs::remove_file(scratch.0.join("sealed/sealed.sealed")).unwrap();
    assert_eq!(
        store.note_unrecorded(&[sealed], BOOT).unwrap(),
        1,
        "its state is not here"
    );
}
