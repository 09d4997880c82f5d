//! Row 57: what a service that stalls costs, and how soon it is used again.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use enclave_tls_pkcs11::client::Client;
use enclave_tls_pkcs11::token::backend::{Backend, Unavailable};
use enclave_tls_pkcs11::token::deadline::{CALL, Deadline};
use enclave_wire::signing::{Reply, operation};

use super::fake::{Act, Fake, p256};
use super::{client, good, sign, sign_by, sign_within, unavailable};

#[test]
fn threat_57_a_stall_costs_one_deadline_and_then_nothing() {
    let stalling = Arc::new(AtomicBool::new(true));
    let script = stalling.clone();
    let fake = Fake::new(move |_| {
        if script.load(Ordering::SeqCst) {
            Act::Stall
        } else {
            Act::Honest
        }
    });
    let client = client(&fake.home);
    let begun = Instant::now();
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    let asked = fake.asked().len();
    for _ in 0..1000 {
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    }
    assert!(fake.asked().len() <= asked + 1, "at most a probe was sent");

    stalling.store(false, Ordering::SeqCst);
    let back = Instant::now();
    while sign(&client, b"m").is_err() {
        assert!(back.elapsed() < Duration::from_secs(1), "recovers within a second");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sign(&client, b"m"), good(b"m"));
}

/// As RSA at a service that has much of it to do.
#[test]
fn threat_57_a_key_that_is_slow_fails_its_own_signatures_alone() {
    let (quick, slow) = (p256("www", 1), p256("slow", 2));
    let slow_id = slow.id;
    let fake = Fake::new(move |asked| match &asked.reply {
        Reply::Signature(made) if made.key == slow_id => Act::Stall,
        _ => Act::Honest,
    });
    fake.set_entries(vec![quick.clone(), slow.clone()]);
    let client = client(&fake.home);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                assert_eq!(sign_by(&client, &slow, b"m", CALL), unavailable(Unavailable::Stalled));
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            assert_eq!(sign_by(&client, &quick, b"m", CALL), good(b"m"));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    // The signatures of the slow one had their time, and were not refused at once.
    let asked = fake.asked();
    let of_slow = asked
        .iter()
        .filter(|asked| matches!(&asked.reply, Reply::Signature(made) if made.key == slow_id));
    assert_eq!(of_slow.count(), 2);
}

/// What comes back within a second, as row 57 promises.
fn comes_back(client: &Client) {
    let back = Instant::now();
    while sign(client, b"m").is_err() {
        assert!(back.elapsed() < Duration::from_secs(1), "recovers within a second");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(sign(client, b"m"), good(b"m"));
}

/// A service whose first signature never comes, and whose others take this long.
fn stalls_once(then: Duration) -> Fake {
    let stalling = AtomicBool::new(true);
    Fake::new(move |asked| {
        if asked.operation != operation::SIGN {
            return Act::Honest;
        }
        if stalling.swap(false, Ordering::SeqCst) {
            return Act::Stall;
        }
        std::thread::sleep(then);
        Act::Honest
    })
}

#[test]
fn threat_57_a_busy_service_comes_back_though_a_signature_takes_longer_than_a_ping() {
    let fake = stalls_once(Duration::from_millis(150));
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    comes_back(&client);
    assert_eq!(fake.count(operation::PING), 1, "one probe, and none for what follows");
}

#[test]
fn threat_57_a_probe_of_a_stalled_service_is_short_and_asks_for_no_signature() {
    let fake = Fake::new(|_| Act::Stall);
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!((fake.count(operation::PING), fake.count(operation::SIGN)), (1, 1));
}

/// Each probe costs its thread a whole deadline. The rest after the first is twice as long, so there is no second one yet.
#[test]
fn threat_57_a_service_that_answers_pings_alone_is_probed_less() {
    let stalling = Arc::new(AtomicBool::new(true));
    let script = stalling.clone();
    let fake = Fake::new(move |asked| match asked.operation {
        operation::SIGN if script.load(Ordering::SeqCst) => Act::Stall,
        _ => Act::Honest,
    });
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    while fake.count(operation::PING) == 0 {
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    }
    assert_eq!((fake.count(operation::PING), fake.count(operation::SIGN)), (1, 2));
    stalling.store(false, Ordering::SeqCst);
    comes_back(&client);
}

#[test]
fn threat_57_an_endpoint_that_hangs_keeps_no_probe_from_the_next() {
    let fake = stalls_once(Duration::ZERO);
    let hanging = fake.home.path().join("hanging");
    // Its backlog takes every connection, and no one answers.
    let _listener = UnixListener::bind(&hanging).unwrap();
    let first = format!("unix:{}", hanging.display());
    let second = fake.home.address();
    fake.home.write_config(&[&first, &second]);
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    comes_back(&client);
}

#[test]
fn threat_57_after_a_stall_no_idle_connection_is_probed() {
    let stalling = Arc::new(AtomicUsize::new(0));
    let script = stalling.clone();
    let fake = Fake::new(move |asked| {
        if asked.connection < script.load(Ordering::SeqCst) {
            return Act::Stall;
        }
        std::thread::sleep(Duration::from_millis(5));
        Act::Honest
    });
    let client = client(&fake.home);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| sign(&client, b"m").unwrap());
        }
    });
    assert!(fake.accepted() > 4, "several connections are idle now");
    stalling.store(fake.accepted(), Ordering::SeqCst);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    comes_back(&client);
}

#[test]
fn threat_57_a_search_that_runs_out_of_time_costs_no_signature() {
    let fake = Fake::new(|asked| {
        if asked.operation != operation::SIGN {
            std::thread::sleep(Duration::from_millis(5));
        }
        Act::Honest
    });
    fake.set_entries((0..250).map(|number| p256("www", number)).collect());
    fake.set_page(1);
    let client = client(&fake.home);
    let deadline = Deadline::within(CALL);
    while client.chain(p256("www", 1).id, deadline).is_ok() {}
    assert_eq!(sign(&client, b"m"), good(b"m"));
    let accepted = fake.accepted();
    for _ in 0..100 {
        assert_eq!(client.chain(p256("www", 1).id, deadline), Err(Unavailable::Stalled));
    }
    assert_eq!(sign(&client, b"m"), good(b"m"));
    assert_eq!(fake.accepted(), accepted, "no connection is lost for want of time");
    let listed = client.list(None, Deadline::within(CALL));
    assert!(matches!(listed, Err(Unavailable::Stalled)), "page by page");
    assert_eq!(sign(&client, b"m"), good(b"m"));
}

#[test]
fn threat_57_a_call_that_began_late_says_nothing_of_the_service() {
    let fake = stalls_once(Duration::ZERO);
    let client = client(&fake.home);
    let late = client.find_by_id(p256("www", 1).id, Deadline::within(Duration::ZERO));
    assert!(late.is_err());
    assert_eq!(fake.accepted(), 0);
    let late = sign_within(&client, b"m", Duration::from_millis(50));
    assert_eq!(late, unavailable(Unavailable::Stalled));
    assert_eq!(sign(&client, b"m"), good(b"m"));
}

/// Sixteen hold the connections, more wait for one, with more time than those.
#[test]
fn threat_57_all_who_wait_for_a_connection_are_woken_by_a_stall() {
    let fake = Fake::new(|_| Act::Stall);
    let client = client(&fake.home);
    let signs = |time: u64| {
        let begun = Instant::now();
        assert!(sign_within(&client, b"m", Duration::from_millis(time)).is_err());
        begun.elapsed()
    };
    let early = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| signs(700));
        }
        while fake.count(operation::SIGN) < 16 {
            std::thread::yield_now();
        }
        for _ in 0..40 {
            scope.spawn(|| {
                if signs(2_000) < Duration::from_millis(1_500) {
                    early.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    // Some may have had a place before the stall was known.
    assert!(early.load(Ordering::SeqCst) >= 24, "{early:?}");
}
