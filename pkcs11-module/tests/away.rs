//! The built module while its service is away, or lacks a key: what it shows, what it refuses, and what becomes of its handles.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected may stop at once, its service too"
)]

mod driver;
mod fake;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use enclave_wire::identity::Certificate;
use enclave_wire::signing::{Entry, operation};
use enclave_wire::{Chain, Objects};
use fake::{Act, Fake, Home, p256};

/// A process with the module loaded that does as it is told.
struct Host {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Host {
    fn new(home: &Home) -> Self {
        let mut child = driver::command(&home.config(), "obey")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// One that has called `C_Initialize`.
    fn initialized(home: &Home) -> Self {
        let mut host = Self::new(home);
        assert_eq!(host.order("initialize"), ["0"]);
        host
    }

    /// The words of the answer to an order.
    fn order(&mut self, order: &str) -> Vec<String> {
        writeln!(self.orders, "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let mut words = answer.split_whitespace().map(str::to_owned);
        assert_eq!(words.next().as_deref(), order.split(' ').next());
        words.collect()
    }

    /// The handle of the one private key of a label, if the search brought it.
    fn key(&mut self, label: &str) -> Option<String> {
        let mut found = self.order(&format!("find {label}")).into_iter();
        let code = found.next().unwrap();
        assert!([OK, DEVICE_ERROR].contains(&code.as_str()), "{code}");
        let key = found.next();
        assert_eq!(found.next(), None);
        key
    }

    /// The code of a search for objects of this key's id, and the handles of what it brought.
    fn identified(&mut self, class: &str, entry: &Entry) -> Vec<String> {
        let id: String = entry.id.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.order(&format!("{class} {id}"))
    }

    fn sign(&mut self, key: &str) -> String {
        self.order(&format!("sign {key}")).remove(0)
    }

    /// Every object there is, with its attributes.
    fn everything(&mut self) -> Vec<(String, Vec<String>)> {
        let mut found = self.order("find");
        assert_eq!(found.remove(0), OK);
        found.sort();
        let attributes = |handle: String| (handle.clone(), self.order(&format!("attributes {handle}")));
        found.into_iter().map(attributes).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const OK: &str = "0";
const DEVICE_ERROR: &str = "30";
const KEY_HANDLE_INVALID: &str = "60";

/// A service with three keys, one of them with a chain, and the file that tells of them.
fn written_down() -> Fake {
    let fake = Fake::honest();
    fake.set_entries(vec![p256("www", 1), p256("api", 2), p256("mail", 3)]);
    let certificates = ["leaf", "issuer"].map(|name| Certificate::try_from(certificate(name)).unwrap());
    fake.install(p256("api", 2).id, Chain::try_from(certificates.to_vec()).unwrap());
    fake.home.write_objects(&fake.objects().to_file());
    fake
}

#[test]
fn threat_57_a_server_starts_without_the_service_and_only_signing_fails() {
    let fake = written_down();
    let told = Host::initialized(&fake.home).everything();
    assert_eq!(told.len(), 8);
    let home = fake.stop();
    let mut host = Host::initialized(&home);
    assert_eq!(host.order("token"), [OK, "1"]);
    assert_eq!(host.everything(), told, "to the byte");
    let key = host.key("www").unwrap();
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(host.sign(&key), DEVICE_ERROR);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(host.key("unknown"), None);

    let fake = Fake::at(home, 2, |_| Act::Honest);
    assert_eq!(host.sign(&key), OK, "as soon as it is back, by the same handle");
    assert_eq!(host.key("www"), Some(key));
    assert!(host.key("api").is_some(), "the file names it");
    drop(fake);
}

#[test]
fn threat_57_a_stalled_service_delays_the_first_search_alone() {
    let fake = Fake::new(|_| Act::Stall);
    fake.home.write_objects(&fake.objects().to_file());
    let mut host = Host::initialized(&fake.home);
    let begun = Instant::now();
    let key = host.key("www").unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(host.key("www").as_ref(), Some(&key));
        assert_eq!(host.order("find").len(), 3);
        assert_eq!(host.sign(&key), DEVICE_ERROR);
    }
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[test]
fn threat_51_a_worker_forked_while_the_service_is_away_has_its_parents_handles() {
    let home = written_down().stop();
    let mut host = Host::initialized(&home);
    let key = host.key("www").unwrap();
    host.order("fork");
    assert_eq!(host.order("initialize"), [OK]);
    assert_eq!(host.sign(&key), DEVICE_ERROR);
    assert_eq!(host.key("www").as_ref(), Some(&key));
    let _fake = Fake::at(home, 2, |_| Act::Honest);
    assert_eq!(host.sign(&key), OK);
}

#[test]
fn a_handle_of_another_process_means_the_same_key_while_the_service_is_away() {
    let home = written_down().stop();
    let key = Host::initialized(&home).key("www").unwrap();
    assert_eq!(
        Host::initialized(&home).sign(&key),
        DEVICE_ERROR,
        "not an invalid handle"
    );
}

#[test]
fn threat_10_a_service_that_refuses_the_credential_is_not_overruled() {
    let fake = written_down();
    fake.home.write_credential(8);
    let mut host = Host::initialized(&fake.home);
    assert_eq!(host.order("find"), [DEVICE_ERROR]);
    assert_eq!(host.key("www"), None);
    let home = fake.stop();
    assert_eq!(host.order("find").len(), 9, "away, the public file answers");
    let impostor = Fake::impostor_at(home);
    assert_eq!(host.order("find"), [DEVICE_ERROR]);
    assert_eq!(host.key("www"), None);
    drop(impostor);
}

/// An enclave that was restarted lost a born key, and has not yet opened a sealed one.
#[test]
fn threat_11_a_key_that_the_service_lacks_fails_its_own_signatures_alone() {
    let fake = written_down();
    let told = Host::initialized(&fake.home).everything();
    let fake = Fake::at(fake.stop(), 2, |_| Act::Honest);
    let (lost, kept) = (p256("api", 2), p256("www", 1));
    fake.set_entries(vec![kept.clone()]);
    let mut host = Host::initialized(&fake.home);
    assert_eq!(host.everything(), told, "to the byte, each object once");
    let key = host.key("api").unwrap();
    assert_eq!(host.identified("key", &lost), [OK, &key]);
    assert_eq!(host.identified("certificate", &lost).len(), 3, "both of its chain");
    assert_eq!(host.identified("certificate", &kept), [OK]);
    assert_eq!(host.key("unknown"), None);

    let good = host.key("www").unwrap();
    for _ in 0..50 {
        assert_eq!(host.sign(&key), KEY_HANDLE_INVALID);
        assert_eq!(host.sign(&good), OK);
    }
    assert_eq!(fake.count(operation::SIGN), 100, "one round trip a signature");
    assert_eq!(fake.accepted(), 1, "the connection stays");

    fake.set_entries(vec![kept, lost]);
    assert_eq!(host.sign(&key), OK, "by the same handle, without another search");
}

#[test]
fn threat_51_a_worker_has_its_parents_handle_of_a_key_that_the_service_lacks() {
    let fake = written_down();
    let all = vec![p256("www", 1), p256("api", 2)];
    fake.set_entries(vec![p256("www", 1)]);
    let mut host = Host::initialized(&fake.home);
    let key = host.key("api").unwrap();
    host.order("fork");
    assert_eq!(host.order("initialize"), [OK]);
    assert_eq!(host.sign(&key), KEY_HANDLE_INVALID);
    assert_eq!(host.key("api").as_ref(), Some(&key));
    assert_eq!(Host::initialized(&fake.home).sign(&key), KEY_HANDLE_INVALID);
    fake.set_entries(all);
    assert_eq!(host.sign(&key), OK);
}

#[test]
fn a_key_that_is_retired_and_written_down_no_more_is_not_found() {
    let fake = written_down();
    let mut host = Host::initialized(&fake.home);
    let key = host.key("api").unwrap();
    fake.set_entries(vec![p256("www", 1), p256("mail", 3)]);
    assert_eq!(host.key("api").as_ref(), Some(&key), "until the file says so too");
    fake.home.write_objects(&fake.objects().to_file());
    assert_eq!(host.key("api"), None);
    assert_eq!(host.identified("key", &p256("api", 2)), [OK]);
    assert_eq!(host.identified("certificate", &p256("api", 2)), [OK]);
    assert_eq!(host.order("find").len(), 5, "two keys");
    assert_eq!(host.sign(&key), KEY_HANDLE_INVALID);
}

#[test]
fn a_search_for_a_key_that_the_service_has_asks_it_once() {
    let fake = written_down();
    fake.set_entries(vec![p256("www", 1), p256("renewed", 4)]);
    let mut host = Host::initialized(&fake.home);
    host.key("www").unwrap();
    host.identified("key", &p256("renewed", 4));
    let asked: Vec<_> = fake.asked().iter().map(|asked| asked.operation).collect();
    assert_eq!(asked, [operation::FIND_BY_LABEL, operation::FIND_BY_ID]);
}

#[test]
fn what_is_no_objects_file_is_as_good_as_none() {
    let fake = written_down();
    let good = fake.objects().to_file();
    let home = fake.stop();
    let mut other_version = good.clone();
    other_version[20] = 2;
    let mut contradiction = good.clone();
    let end = contradiction.len() - 40;
    contradiction[end] ^= 1;
    let too_long = [&good[..], &vec![0; Objects::MAX_FILE]].concat();
    for (index, bad) in [&[][..], b"text", &good[..99], &other_version, &contradiction, &too_long]
        .into_iter()
        .enumerate()
    {
        home.write_objects(bad);
        let mut host = Host::initialized(&home);
        assert_eq!(host.order("find"), [DEVICE_ERROR], "{index}");
        home.write_objects(&good);
        assert_eq!(host.order("find").len(), 9, "{index}");
        home.write_objects(bad);
        assert_eq!(host.order("find").len(), 9, "{index}: the last good one counts");
    }
}

#[test]
fn a_file_that_is_replaced_is_read_at_the_next_search() {
    let fake = written_down();
    let only = |number| {
        fake.set_entries(vec![p256("www", number)]);
        fake.objects().to_file()
    };
    let (old, new) = (only(1), only(9));
    fake.home.write_objects(&old);
    let home = fake.stop();
    let mut host = Host::initialized(&home);
    let before = host.key("www").unwrap();
    home.write_objects(&new);
    let after = host.key("www").unwrap();
    assert_ne!(before, after);
    assert_eq!(
        host.sign(&before),
        DEVICE_ERROR,
        "a handle that was given out keeps its meaning"
    );
    home.write_objects(&old);
    assert_eq!(host.key("www"), Some(before));
}

/// HAProxy changes its root, and every server its user, before a worker calls `C_Initialize`.
#[test]
fn a_worker_in_a_jail_has_the_file_all_the_same() {
    let fake = written_down();
    let (first, second) = (fake.objects().to_file(), {
        fake.set_entries(vec![p256("renewed", 9)]);
        fake.objects().to_file()
    });
    let home = fake.stop();
    home.write_objects(&first);
    std::fs::create_dir(home.path().join("jail")).unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can change its root");
        return;
    }
    let mut host = Host::initialized(&home);
    host.order(&format!("jail {}", home.path().join("jail").display()));
    host.order("fork");
    assert_eq!(host.order("initialize"), [OK]);
    assert!(host.key("www").is_some());
    home.write_objects(&second);
    assert!(host.key("renewed").is_some(), "through the directory that stays open");
    std::fs::remove_file(home.path().join("objects")).unwrap();
    assert_eq!(host.order("finalize"), [OK]);
    assert_eq!(host.order("initialize"), [OK]);
    assert!(host.key("renewed").is_some(), "from memory");
}

/// A certificate of this name in form alone, RFC 5280, section 4.1.
fn certificate(name: &str) -> Vec<u8> {
    let tlv = |tag: u8, contents: &[u8]| {
        let length = u8::try_from(contents.len()).unwrap();
        // The long form in full, where the short one ends.
        let length = if length < 128 { vec![length] } else { vec![0x81, length] };
        [&[tag][..], &length, contents].concat()
    };
    let spki = p256(name, 2).spki.as_bytes().to_vec();
    let subject = tlv(0x30, &[]);
    let fields = [
        tlv(2, name.as_bytes()),
        tlv(0x30, &[]),
        subject.clone(),
        tlv(0x30, &[]),
        subject,
        spki,
    ];
    let whole = [tlv(0x30, &fields.concat()), tlv(0x30, &[]), tlv(3, &[0])];
    tlv(0x30, &whole.concat())
}
