//! What is published, and what is not; records that are written beside the asking, by a writer with troubles.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::writer::{Change, Writer};
use super::*;
use crate::clock::tests::{Directory, Simulated};

const THUMBPRINT: &str = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ";

fn challenge(kind: ChallengeKind, name: &str, number: u32) -> Challenge {
    let token = format!("token-{number}");
    let value = match kind {
        ChallengeKind::Http01 => format!("{token}.{THUMBPRINT}"),
        ChallengeKind::Dns01 => format!("{number:043}"),
    };
    Challenge {
        kind,
        name: name.try_into().unwrap(),
        token: Text::lossy(&token),
        value: Text::lossy(&value),
    }
}

/// A configuration with a name of each kind; more of `[dns01]` and `[http01]` as the test says.
fn config(dns01: &str, http01: &str) -> Config {
    let text = format!(
        "[enclave]\nimage = \"/i.eif\"\n[aws]\n[egress]\nallow = [\"ca.example:443\"]\n[acme.ca]\ndirectory = \"https://ca.example/d\"\n\
         terms_agreed = true\n{http01}[dns01]\n{dns01}\n[clients.nginx]\ngroup = \"a\"\n[servers.main]\nkind = \"nginx\"\nclient = \"nginx\"\n\
         [[certificates]]\nname = \"w\"\nsource = \"acme\"\naccount = \"ca\"\nkey_type = \"p-256\"\nservers = [\"main\"]\n\
         challenge = \"dns-01\"\ndns_names = [\"example.com\", \"*.example.com\"]\n\
         [[certificates]]\nname = \"h\"\nsource = \"acme\"\naccount = \"ca\"\nkey_type = \"p-256\"\nservers = [\"main\"]\n\
         dns_names = [\"www.example.com\"]\n\
         [[certificates]]\nname = \"n\"\nsource = \"acme\"\naccount = \"ca\"\nkey_type = \"p-256\"\nservers = [\"main\"]\n\
         challenge = \"none\"\ndns_names = [\"known.example.com\"]\n"
    );
    Config::parse(&text, Path::new("c.toml"))
        .map_err(|error| error.to_string())
        .unwrap()
}

/// A DNS service: what is written, what is seen, and its troubles.
#[derive(Default)]
struct Zone(Mutex<ZoneState>);

#[derive(Default)]
struct ZoneState {
    records: BTreeMap<String, BTreeSet<String>>,
    /// How often it must be asked until a change is seen.
    asks: u32,
    fails: bool,
    writing: BTreeSet<String>,
    calls: u32,
}

impl Zone {
    fn state(&self) -> MutexGuard<'_, ZoneState> {
        self.0.lock().unwrap()
    }

    fn change(&self, record: &str, change: impl FnOnce(&mut BTreeSet<String>)) -> Result<(), String> {
        let first = self.state().writing.insert(record.to_owned());
        assert!(first, "{record} is written twice at a time");
        // A real one reads, waits, and writes what it read.
        std::thread::sleep(Duration::from_millis(2));
        let mut state = self.state();
        state.calls += 1;
        state.writing.remove(record);
        if state.fails {
            return Err(format!("{record}: no"));
        }
        change(state.records.entry(record.to_owned()).or_default());
        state.records.retain(|_, texts| !texts.is_empty());
        Ok(())
    }
}

impl Writer for Zone {
    fn present(&self, record: &str, value: &str) -> Result<Option<Change>, String> {
        self.change(record, |texts| {
            texts.insert(value.to_owned());
        })?;
        Ok(Some(Change("C1".to_owned())))
    }

    fn is_done(&self, _: &Change) -> Result<bool, String> {
        let mut state = self.state();
        state.asks = state.asks.saturating_sub(1);
        Ok(state.asks == 0)
    }

    fn cleanup(&self, record: &str, value: &str) -> Result<(), String> {
        self.change(record, |texts| {
            texts.remove(value);
        })
    }
}

fn challenges(config: &Config) -> (Challenges, Arc<Simulated>, Arc<Zone>, Directory) {
    let directory = Directory::new();
    let (challenges, clock, zone) = challenges_in(&directory, config);
    (challenges, clock, zone, directory)
}

/// With what is in a directory from an earlier run.
fn challenges_in(directory: &Directory, config: &Config) -> (Challenges, Arc<Simulated>, Arc<Zone>) {
    let clock = Simulated::new();
    let challenges = Challenges::new(clock.clone(), Arc::default(), directory.path());
    challenges.configure(config);
    let zone = Arc::new(Zone::default());
    challenges.records.write_with(zone.clone());
    (challenges, clock, zone)
}

/// Waits until something that another thread does is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn why(published: Published) -> String {
    match published {
        Published::No(why) => why.as_str().to_owned(),
        Published::Yes | Published::NotYet => format!("{published:?}"),
    }
}

const ROUTE53: &str = "route53 = {}";
/// `[http01]` with an address that nobody else has.
fn quiet() -> String {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let free = TcpListener::bind((Ipv4Addr::new(127, 0, 9, number), 0)).unwrap();
    format!("[http01]\nlisten = \"{}\"\n", free.local_addr().unwrap())
}

#[test]
fn only_names_of_the_configuration_with_their_kind_of_proof_have_anything_published() {
    let (challenges, _, zone, _directory) = challenges(&config(ROUTE53, &quiet()));
    use ChallengeKind::{Dns01, Http01};
    for (kind, name) in [
        (Http01, "example.com"),
        (Dns01, "www.example.com"),
        (Http01, "other.example"),
        (Http01, "known.example.com"),
        (Dns01, "known.example.com"),
        (Dns01, "*.example.com"),
    ] {
        let said = why(challenges.publish(&challenge(kind, name, 1)));
        assert!(
            said.contains("no certificate of the agent's configuration"),
            "{name}: {said}"
        );
        challenges.withdraw(&challenge(kind, name, 1));
    }
    let sound = challenge(Http01, "www.example.com", 1);
    for (token, value) in [
        ("", format!(".{THUMBPRINT}")),
        ("a/b", format!("a/b.{THUMBPRINT}")),
        ("token-1", THUMBPRINT.to_owned()),
        ("token-1", "token-1.short".to_owned()),
        ("token-1", format!("token-2.{THUMBPRINT}")),
        ("token-1", "<script>".to_owned()),
    ] {
        let spoilt = Challenge {
            token: Text::lossy(token),
            value: Text::lossy(&value),
            ..sound.clone()
        };
        assert!(
            why(challenges.publish(&spoilt)).contains("no challenge of RFC 8555"),
            "{token} {value}"
        );
    }
    let spoilt = Challenge {
        value: Text::lossy("v=spf1 +all"),
        ..challenge(Dns01, "example.com", 1)
    };
    assert!(why(challenges.publish(&spoilt)).contains("no challenge of RFC 8555"));
    assert_eq!(challenges.publish(&sound), Published::Yes);
    assert_eq!(zone.state().calls, 0);
}

#[test]
fn a_token_is_served_at_its_path_and_nowhere_else_until_it_is_withdrawn() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (challenges, clock, _, directory) =
        challenges(&config(ROUTE53, &format!("[http01]\nlisten = \"{address}\"\n")));
    let get = |path: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: www.example.com\r\n\r\n").unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        told
    };
    let one = challenge(ChallengeKind::Http01, "www.example.com", 1);
    assert_eq!(challenges.publish(&one), Published::Yes);
    let told = get("/.well-known/acme-challenge/token-1");
    assert!(
        told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with(&format!("\r\n\r\ntoken-1.{THUMBPRINT}")),
        "{told}"
    );
    for elsewhere in [
        "/",
        "/metrics",
        "/token-1",
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/token-2",
    ] {
        assert!(get(elsewhere).starts_with("HTTP/1.1 404 "), "{elsewhere}");
    }
    // An agent that is started again goes on with it.
    let serves = |agent: &Challenges| {
        let its = agent.tokens.texts();
        its.get("token-1").is_some_and(|text| text == one.value.as_str())
    };
    let (again, ..) = challenges_in(&directory, &config(ROUTE53, &quiet()));
    assert!(serves(&again));
    again.withdraw(&one);
    assert!(!serves(&again) && !serves(&challenges_in(&directory, &config(ROUTE53, &quiet())).0));
    challenges.withdraw(&one);
    assert!(get("/.well-known/acme-challenge/token-1").starts_with("HTTP/1.1 404 "));
    // What nobody withdraws ends all the same.
    assert_eq!(challenges.publish(&one), Published::Yes);
    clock.pass(LONGEST);
    assert_eq!(
        challenges.publish(&challenge(ChallengeKind::Http01, "www.example.com", 2)),
        Published::Yes
    );
    assert!(get("/.well-known/acme-challenge/token-1").starts_with("HTTP/1.1 404 "));
    // Without a certificate that needs it nobody listens.
    let mut without = config(ROUTE53, "");
    without.certificates.retain(|name, _| name.as_str() != "h");
    challenges.configure(&without);
    until("the listener ends", || TcpStream::connect(address).is_err());
}

#[test]
fn nothing_is_published_while_nobody_listens_and_the_place_is_tried_until_it_is_free() {
    let taken = TcpListener::bind("127.0.9.250:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = config(ROUTE53, &format!("[http01]\nlisten = \"{address}\"\n"));
    let (challenges, .., _directory) = challenges(&config);
    let one = challenge(ChallengeKind::Http01, "www.example.com", 1);
    let said = why(challenges.publish(&one));
    assert!(
        said.contains("nothing answers HTTP-01 challenges") && said.contains(&address.to_string()),
        "{said}"
    );
    assert!(challenges.tokens.texts().is_empty());
    drop(taken);
    until("it listens", || challenges.publish(&one) == Published::Yes);
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn refusals_that_are_kept_and_said_are_bounded() {
    let mut names = Names::default();
    let said = |names: &mut Names, number: usize| names.note(&format!("refusal {number}"));
    assert_eq!(said(&mut names, 1), Noted::New);
    assert_eq!(said(&mut names, 1), Noted::Unsaid);
    for number in 2..MOST_REFUSED {
        assert_eq!(said(&mut names, number), Noted::New);
    }
    assert_eq!(said(&mut names, MOST_REFUSED), Noted::Last);
    for number in 0..1_000 {
        said(&mut names, MOST_REFUSED + 1 + number);
    }
    assert_eq!(names.refused.len(), MOST_REFUSED);
}

#[test]
fn a_file_of_tokens_that_is_spoilt_is_no_hindrance() {
    let directory = Directory::new();
    let file = directory.path().join("http01.json");
    let strange = format!("{{\"a/b\":\"a/b.{THUMBPRINT}\",\"c\":\"<script>\",\"d\":\"d.{THUMBPRINT}\"}}");
    for (text, left) in [("{", 0), ("[]", 0), (strange.as_str(), 1)] {
        std::fs::write(&file, text).unwrap();
        let (challenges, ..) = challenges_in(&directory, &config(ROUTE53, &quiet()));
        assert_eq!(challenges.tokens.texts().len(), left, "{text}");
        let one = challenge(ChallengeKind::Http01, "www.example.com", 1);
        assert_eq!(challenges.publish(&one), Published::Yes);
        let (again, ..) = challenges_in(&directory, &config(ROUTE53, &quiet()));
        assert_eq!(again.tokens.texts().len(), left + 1, "{text}");
    }
}

#[test]
fn challenges_are_bounded() {
    let (challenges, .., _directory) = challenges(&config(ROUTE53, &quiet()));
    let one = |number| challenge(ChallengeKind::Http01, "www.example.com", number);
    for number in 0..1_000 {
        assert_eq!(challenges.publish(&one(number)), Published::Yes);
    }
    assert!(why(challenges.publish(&one(1_000))).contains("1000 challenges are published already"));
    assert_eq!(
        challenges.publish(&one(7)),
        Published::Yes,
        "the same again is no other"
    );
    challenges.withdraw(&one(7));
    assert_eq!(challenges.publish(&one(1_000)), Published::Yes);
}

#[test]
fn a_name_and_its_wildcard_have_two_texts_of_one_record_and_both_are_taken_away() {
    let (challenges, clock, zone, _directory) = challenges(&config(ROUTE53, &quiet()));
    zone.state().asks = 3;
    let both = [1, 2].map(|number| challenge(ChallengeKind::Dns01, "example.com", number));
    for one in &both {
        assert_eq!(
            challenges.publish(one),
            Published::NotYet,
            "it is written beside the asking"
        );
    }
    until("both are seen", || {
        clock.pass(Duration::from_secs(2));
        both.iter().all(|one| challenges.publish(one) == Published::Yes)
    });
    let texts = zone.state().records["_acme-challenge.example.com"].clone();
    assert_eq!(texts, both.iter().map(|one| one.value.as_str().to_owned()).collect());
    challenges.withdraw(&both[0]);
    until("one is left", || {
        zone.state().records.values().map(BTreeSet::len).sum::<usize>() == 1
    });
    challenges.withdraw(&both[1]);
    until("none is left", || zone.state().records.is_empty());
    // An agent that was restarted meanwhile.
    zone.change("_acme-challenge.example.com", |texts| {
        texts.insert(both[0].value.as_str().to_owned());
    })
    .unwrap();
    challenges.withdraw(&both[0]);
    until("none is left", || zone.state().records.is_empty());
}

#[test]
fn who_wrote_a_record_takes_it_away_though_another_writes_the_next() {
    let (challenges, _, zone, _directory) = challenges(&config(ROUTE53, &quiet()));
    zone.state().asks = 1;
    let one = challenge(ChallengeKind::Dns01, "example.com", 1);
    assert_eq!(challenges.publish(&one), Published::NotYet);
    until("it is written", || zone.state().records.len() == 1);
    let other = Arc::new(Zone::default());
    challenges.records.write_with(other.clone());
    challenges.withdraw(&one);
    until("it is taken away", || zone.state().records.is_empty());
    assert_eq!(other.state().calls, 0);
}

#[test]
fn a_writer_that_fails_is_said_and_may_be_tried_again() {
    let (challenges, _, zone, _directory) = challenges(&config(ROUTE53, &quiet()));
    let one = challenge(ChallengeKind::Dns01, "example.com", 1);
    zone.state().fails = true;
    assert_eq!(challenges.publish(&one), Published::NotYet);
    let mut said = String::new();
    until("it fails", || {
        said = why(challenges.publish(&one));
        said != "NotYet"
    });
    assert_eq!(said, "_acme-challenge.example.com: no");
    zone.state().fails = false;
    zone.state().asks = 1;
    assert_eq!(challenges.publish(&one), Published::NotYet);
    until("it is written", || zone.state().records.len() == 1);
}

#[test]
fn what_cannot_be_taken_away_is_tried_some_times_and_said() {
    let (challenges, clock, zone, _directory) = challenges(&config(ROUTE53, &quiet()));
    let one = challenge(ChallengeKind::Dns01, "example.com", 1);
    zone.state().fails = true;
    challenges.withdraw(&one);
    until("six attempts", || {
        clock.pass(Duration::from_secs(200));
        zone.state().calls == 6
    });
    zone.state().fails = false;
    clock.pass(Duration::from_secs(3_600));
    // It is forgotten, and may be published again.
    until("it is written", || {
        challenges.publish(&one) == Published::NotYet && zone.state().records.len() == 1
    });
}

#[test]
fn a_hook_is_run_without_a_shell_with_its_arguments_and_nothing_of_the_agents_environment() {
    let directory = Directory::new();
    let (program, said) = (directory.path().join("dns hook"), directory.path().join("said"));
    let script = format!(
        "#!/bin/sh\n(printf '%s|' \"$@\"; env | sort | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=') >> '{}'\n",
        said.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hook = format!("hook = [\"{}\", \"$(id); x\"]", program.display());
    let challenges = Challenges::new(Simulated::new(), Arc::default(), directory.path());
    challenges.configure(&config(&hook, &quiet()));
    let one = challenge(ChallengeKind::Dns01, "example.com", 1);
    until("it is published", || challenges.publish(&one) == Published::Yes);
    let value = one.value.as_str();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
    let present = format!("$(id); x|present|_acme-challenge.example.com|{value}|{path}");
    assert_eq!(std::fs::read_to_string(&said).unwrap(), present);
    challenges.withdraw(&one);
    let both = present.clone() + &present.replace("present", "cleanup");
    until("it is cleaned up", || std::fs::read_to_string(&said).unwrap() == both);
    std::fs::write(&program, "#!/bin/sh\necho the zone is locked >&2\nexit 3\n").unwrap();
    let mut told = String::new();
    until("it fails", || {
        told = why(challenges.publish(&challenge(ChallengeKind::Dns01, "example.com", 2)));
        told != "NotYet"
    });
    assert!(told.ends_with("exit status: 3: the zone is locked"), "{told}");
}

#[test]
fn the_end_of_a_job_rings_the_bell() {
    let bell = Arc::new(Bell::default());
    let directory = Directory::new();
    let challenges = Challenges::new(Simulated::new(), Arc::clone(&bell), directory.path());
    challenges.ended();
    assert!(bell.wait(Duration::ZERO));
}

#[test]
fn a_delegated_record_is_written_where_its_cname_leads() {
    let place = |toml: &str| match config(toml, &quiet()).dns01 {
        Some(enclave_tls_config::Dns01::Route53(place)) => route53::Route53::new(place, None),
        other => panic!("{other:?}"),
    };
    let record = "_acme-challenge.www.example.com";
    assert_eq!(place(ROUTE53).written_as(record), record);
    let delegated = place("route53 = { delegated = \"acme.example.net\" }");
    assert_eq!(delegated.written_as(record), "www.example.com.acme.example.net");
}
