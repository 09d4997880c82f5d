//! The client against a service that misbehaves.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected may stop at once, its service too"
)]

#[path = "../fake/mod.rs"]
mod fake;
mod stall;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use enclave_tls_pkcs11::client::Client;
use enclave_tls_pkcs11::config::Settings;
use enclave_tls_pkcs11::token::backend::{Backend, Listed, SignFailure, SignRequest, Unavailable};
use enclave_tls_pkcs11::token::deadline::{CALL, Deadline};
use enclave_wire::signing::{Entry, Listing, Page, Reply, SignError, operation};
use enclave_wire::{KeyType, Mechanism};
use fake::{Act, Fake, Home, p256, signature};

fn client(home: &Home) -> Client {
    Client::new(Settings::load(&home.config()).unwrap().unwrap()).unwrap()
}

fn sign(client: &Client, input: &[u8]) -> Result<Vec<u8>, SignFailure> {
    sign_within(client, input, CALL)
}

fn sign_within(client: &Client, input: &[u8], time: Duration) -> Result<Vec<u8>, SignFailure> {
    sign_by(client, &p256("www", 1), input, time)
}

fn sign_by(client: &Client, key: &Entry, input: &[u8], time: Duration) -> Result<Vec<u8>, SignFailure> {
    let request = SignRequest {
        key: key.id,
        key_type: KeyType::P256,
        mechanism: Mechanism::EcdsaSha256,
        input,
    };
    client.sign(request, Deadline::within(time))
}

fn open_sockets(client: &Client) -> usize {
    let mut count = 0;
    client.each_socket(&mut |_| count += 1);
    count
}

fn unavailable(cause: Unavailable) -> Result<Vec<u8>, SignFailure> {
    Err(SignFailure::Unavailable(cause))
}

fn good(input: &[u8]) -> Result<Vec<u8>, SignFailure> {
    Ok(signature(KeyType::P256, input))
}

#[test]
fn a_signature_costs_one_exchange_on_a_connection_that_is_kept() {
    let fake = Fake::honest();
    let client = client(&fake.home);
    for input in [&b"one"[..], b"", &[7; 16_384]] {
        assert_eq!(sign(&client, input), good(input));
    }
    assert_eq!((fake.accepted(), fake.count(operation::SIGN)), (1, 3));
    assert_eq!(fake.asked().len(), 3);
}

#[test]
fn threat_07_a_reply_to_another_request_is_never_a_signature() {
    type Swap = fn(&fake::Asked) -> Act;
    let swaps: [Swap; 7] = [
        |asked| Act::ReplyTo(asked.id.wrapping_sub(1), asked.reply.clone()),
        |asked| Act::ReplyTo(asked.id.wrapping_add(1), asked.reply.clone()),
        |asked| altered(asked, |signature| signature.key = p256("www", 2).id),
        |asked| altered(asked, |signature| signature.mechanism = Mechanism::Ecdsa),
        |asked| altered(asked, |signature| signature.input_len += 1),
        |asked| altered(asked, |signature| signature.signature.truncate(62)),
        |_| Act::Reply(Reply::Listing(Listing::Unchanged)),
    ];
    for (index, swap) in swaps.into_iter().enumerate() {
        let swapping = Arc::new(AtomicBool::new(true));
        let script = swapping.clone();
        let fake = Fake::new(move |asked| {
            if script.load(Ordering::SeqCst) {
                swap(asked)
            } else {
                Act::Honest
            }
        });
        let client = client(&fake.home);
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Protocol), "{index}");
        swapping.store(false, Ordering::SeqCst);
        assert_eq!(sign(&client, b"m"), good(b"m"));
        assert_eq!(fake.accepted(), 2, "the first connection was given up");
    }
}

fn altered(asked: &fake::Asked, alter: impl FnOnce(&mut enclave_wire::signing::Signature)) -> Act {
    let Reply::Signature(mut signature) = asked.reply.clone() else {
        return Act::Honest;
    };
    alter(&mut signature);
    Act::Reply(Reply::Signature(signature))
}

#[test]
fn threat_07_bytes_after_a_reply_end_the_connection() {
    let fake = Fake::new(|asked| {
        let mut writer = enclave_wire::Writer::new();
        asked.reply.write(&mut writer, asked.id);
        asked.reply.write(&mut writer, asked.id.wrapping_add(1));
        Act::Send(writer.into_bytes())
    });
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Protocol));
}

#[test]
fn threat_06_a_reply_in_single_bytes_is_a_reply() {
    let fake = Fake::new(|_| Act::Trickle);
    let client = client(&fake.home);
    for _ in 0..3 {
        assert_eq!(sign(&client, b"m"), good(b"m"));
    }
    assert_eq!(fake.accepted(), 1);
}

#[test]
fn threat_02_an_end_of_stream_at_any_byte_is_an_error_at_once() {
    // 14 of header, 32 of key, mechanism, input length, signature length, signature.
    for cut in 0..14 + 32 + 1 + 2 + 2 + 64 {
        let fake = Fake::new(move |_| Act::Cut(cut));
        let client = client(&fake.home);
        let begun = Instant::now();
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Unreachable), "{cut}");
        assert!(begun.elapsed() < CALL, "{cut}: waited for the deadline");
        assert_eq!(
            fake.count(operation::SIGN),
            1,
            "{cut}: a new connection is not tried twice"
        );
    }
}

#[test]
fn threat_11_idle_connections_that_died_are_replaced_silently() {
    let fake = Fake::new(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Act::Honest
    });
    let client = client(&fake.home);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| sign(&client, b"m").unwrap());
        }
    });
    assert!(fake.accepted() > 1, "several connections are idle now");
    fake.close_connections();
    assert_eq!(sign(&client, b"m"), good(b"m"));

    let home = fake.stop();
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Unreachable));
    let fake = Fake::at(home, 2, |_| Act::Honest);
    assert_eq!(sign(&client, b"m"), good(b"m"), "as soon as it is back");
    assert_eq!(fake.accepted(), 1);
}

#[test]
fn threat_07_a_reply_that_comes_too_late_is_no_one_elses() {
    let late = AtomicBool::new(true);
    let fake = Fake::new(move |_| {
        if late.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(200));
        }
        Act::Honest
    });
    let client = client(&fake.home);
    let late = sign_within(&client, b"late", Duration::from_millis(100));
    assert_eq!(late, unavailable(Unavailable::Stalled));
    assert_eq!(open_sockets(&client), 0, "its connection is closed");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(sign(&client, b"m"), good(b"m"));
    assert_eq!(fake.accepted(), 2);
}

/// 64 KiB, as PROTOCOL.md says; longer is not waited for, nor is there room made for it.
#[test]
fn threat_05_a_reply_beyond_the_planes_limit_is_refused_by_its_header() {
    for (length, cause) in [
        (65_536, Unavailable::Stalled),
        (65_537, Unavailable::Protocol),
        (u32::MAX, Unavailable::Protocol),
    ] {
        let fake = Fake::new(move |asked| {
            let mut writer = enclave_wire::Writer::new();
            asked.reply.write(&mut writer, asked.id);
            let mut bytes = writer.into_bytes();
            bytes[..4].copy_from_slice(&length.to_be_bytes());
            Act::Send(bytes)
        });
        let client = client(&fake.home);
        assert_eq!(sign(&client, b"m"), unavailable(cause), "{length}");
    }
}

#[test]
fn threat_11_a_request_whose_reply_had_begun_is_not_sent_again() {
    for cut in [1, 14, 20] {
        let first = AtomicBool::new(true);
        let fake = Fake::new(move |_| {
            if first.swap(false, Ordering::SeqCst) {
                Act::Honest
            } else {
                Act::Cut(cut)
            }
        });
        let client = client(&fake.home);
        assert_eq!(sign(&client, b"m"), good(b"m"));
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Unreachable), "{cut}");
        assert_eq!((fake.accepted(), fake.count(operation::SIGN)), (1, 2), "{cut}");
    }
}

#[test]
fn threat_07_an_error_of_another_request_is_none_of_this_one() {
    let ids: [fn(u64) -> u64; 3] = [|id| id.wrapping_add(1), |id| id.wrapping_sub(1), |_| 0];
    for id in ids {
        for error in [SignError::Busy, SignError::NoSuchKey] {
            if id(7) == 0 && error == SignError::Busy {
                // A service that is full says so before it has read an id.
                continue;
            }
            let fake = Fake::new(move |asked| Act::ReplyTo(id(asked.id), Reply::Error(error)));
            let client = client(&fake.home);
            assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Protocol), "{error:?}");
            assert_eq!(fake.count(operation::SIGN), 1);
        }
    }
}

#[test]
fn threat_08_a_service_that_stays_busy_costs_one_deadline() {
    // One that takes long to say so has the last try cut short.
    for time in [0, 300] {
        let fake = Fake::new(move |_| {
            std::thread::sleep(Duration::from_millis(time));
            Act::Reply(Reply::Error(SignError::Busy))
        });
        let client = client(&fake.home);
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Busy));
        let (begun, asked) = (Instant::now(), fake.asked().len());
        for _ in 0..100 {
            assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
        }
        assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
        assert_eq!(fake.asked().len(), asked);
    }
}

#[test]
fn threat_01_a_reply_that_stops_in_the_middle_is_a_missed_deadline() {
    let fake = Fake::new(|asked| {
        let mut writer = enclave_wire::Writer::new();
        asked.reply.write(&mut writer, asked.id);
        Act::Send(writer.into_bytes()[..20].to_vec())
    });
    let client = client(&fake.home);
    let begun = Instant::now();
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    assert!(begun.elapsed() < Duration::from_millis(1_500));
}

#[test]
fn threat_04_a_full_backlog_is_a_missed_deadline() {
    let home = Home::new();
    // Accepts nothing. The kernel holds some connections for it, so those are made first.
    let _listener = UnixListener::bind(home.socket()).unwrap();
    home.write_config(&[&format!("unix:{}", home.socket().display())]);
    let address = socket2::SockAddr::unix(home.socket()).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        if socket.connect(&address).is_err() {
            break;
        }
        waiting.push(socket);
    }
    let client = client(&home);
    let begun = Instant::now();
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Stalled));
    assert!(begun.elapsed() < Duration::from_millis(1_500));
}

#[test]
fn a_dead_service_is_an_error_at_once_each_time() {
    let home = Home::new();
    let client = client(&home);
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Unreachable));
    }
    assert!(begun.elapsed() < CALL);
}

/// The real vsock code, with no one at the other end: port 1 of the host, or no vsock at all.
#[test]
fn a_vsock_that_no_one_listens_on_is_an_error_in_time() {
    let home = Home::new();
    home.write_config(&["vsock:2:1", "vsock:1:1"]);
    let client = client(&home);
    let begun = Instant::now();
    assert!(matches!(
        sign(&client, b"m"),
        Err(SignFailure::Unavailable(
            Unavailable::Unreachable | Unavailable::Stalled
        ))
    ));
    assert!(begun.elapsed() < Duration::from_millis(1_500));
}

#[test]
fn threat_08_busy_is_retried_until_the_deadline() {
    let busy = Arc::new(AtomicUsize::new(5));
    let script = busy.clone();
    let fake = Fake::new(move |_| {
        let left = script.load(Ordering::SeqCst);
        script.store(left.saturating_sub(1), Ordering::SeqCst);
        if left > 0 {
            Act::Reply(Reply::Error(SignError::Busy))
        } else {
            Act::Honest
        }
    });
    fake.be_busy_for(3);
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), good(b"m"));
    assert_eq!(fake.count(operation::SIGN), 6);
    busy.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Busy));
    let tries = fake.count(operation::SIGN) - 6;
    assert!((5..200).contains(&tries), "{tries} tries in a second");
}

#[test]
fn sixty_four_signers_share_sixteen_connections() {
    let fake = Fake::new(|_| {
        std::thread::sleep(Duration::from_micros(200));
        Act::Honest
    });
    let client = client(&fake.home);
    std::thread::scope(|scope| {
        for thread in 0..64u8 {
            let client = &client;
            scope.spawn(move || {
                for turn in 0..50u8 {
                    assert_eq!(sign(client, &[thread, turn]), good(&[thread, turn]));
                }
            });
        }
    });
    assert!(fake.accepted() <= 16, "{}", fake.accepted());
    assert_eq!(open_sockets(&client), fake.accepted());
}

#[test]
fn no_nonce_and_no_first_id_is_used_twice() {
    let fake = Fake::new(|_| Act::Cut(0));
    let client = client(&fake.home);
    for _ in 0..20 {
        assert!(sign(&client, b"m").is_err());
    }
    let mut nonces = fake.hellos();
    let mut ids: Vec<_> = fake.asked().iter().map(|asked| asked.id).collect();
    nonces.sort_unstable();
    nonces.dedup();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((nonces.len(), ids.len()), (20, 20));
}

#[test]
fn threat_10_a_service_that_does_not_know_the_credential_is_refused_and_a_new_one_is_read() {
    let fake = Fake::honest();
    fake.home.write_credential(8);
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Refused));
    assert_eq!(fake.asked().len(), 0);
    fake.home.write_credential(7);
    assert_eq!(sign(&client, b"m"), good(b"m"), "the file was read again");
    std::fs::remove_file(fake.home.path().join("credential")).unwrap();
    fake.close_connections();
    assert_eq!(sign(&client, b"m"), good(b"m"), "and is kept when it is gone");
}

#[test]
fn threat_10_an_impostor_gets_no_request() {
    let fake = Fake::impostor();
    let client = client(&fake.home);
    assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Refused));
    assert_eq!(
        (fake.accepted(), fake.hellos().len()),
        (1, 0),
        "it was left after its challenge"
    );
}

#[test]
fn the_first_endpoint_that_authenticates_is_used() {
    let (first, second) = (Fake::honest(), Fake::honest());
    let socket = |fake: &Fake| fake.home.address();
    first.home.write_config(&[&socket(&first), &socket(&second)]);
    let client = client(&first.home);
    assert_eq!(sign(&client, b"m"), good(b"m"));
    assert_eq!((first.accepted(), second.accepted()), (1, 0));
    first.stop();
    assert_eq!(sign(&client, b"m"), good(b"m"));
    assert_eq!(second.accepted(), 1);
}

#[test]
fn refusals_are_told_apart_and_keep_the_connection() {
    for (error, failure) in [
        (SignError::NoSuchKey, SignFailure::NoSuchKey),
        (SignError::UsageRefused, SignFailure::UsageRefused),
        (SignError::InputLength, SignFailure::InputLength),
        (SignError::Failed, SignFailure::Failed),
    ] {
        let fake = Fake::new(move |_| Act::Reply(Reply::Error(error)));
        let client = client(&fake.home);
        assert_eq!(sign(&client, b"m"), Err(failure));
        assert_eq!(sign(&client, b"m"), Err(failure));
        assert_eq!(fake.accepted(), 1);
    }
    for error in [
        SignError::Malformed,
        SignError::Version,
        SignError::AuthenticationFailed,
    ] {
        let fake = Fake::new(move |_| Act::Reply(Reply::Error(error)));
        let client = client(&fake.home);
        assert_eq!(sign(&client, b"m"), unavailable(Unavailable::Protocol));
        assert_eq!(open_sockets(&client), 0);
    }
}

#[test]
fn a_listing_is_read_page_by_page_and_then_not_at_all() {
    let fake = Fake::honest();
    fake.set_entries((0..50).map(|number| p256("www", number)).collect());
    fake.set_page(7);
    let client = client(&fake.home);
    let deadline = Deadline::within(CALL);
    let Ok(Listed::All(snapshot, entries)) = client.list(None, deadline) else {
        panic!("no listing");
    };
    assert_eq!((entries.len(), fake.count(operation::LIST)), (50, 8));
    assert!(matches!(client.list(Some(snapshot), deadline), Ok(Listed::Unchanged)));
    assert_eq!(fake.count(operation::LIST), 9);
    let label = enclave_wire::signing::Label::try_from("www").unwrap();
    assert_eq!(client.find_by_label(&label, deadline).map(|found| found.len()), Ok(50));

    // A version of another boot means nothing, though it may have the same number.
    let home = fake.stop();
    let fake = Fake::at(home, 2, |_| Act::Honest);
    fake.set_entries(vec![p256("www", 1)]);
    assert!(matches!(client.list(Some(snapshot), deadline), Ok(Listed::All(_, entries)) if entries.len() == 1));
}

#[test]
fn a_listing_that_changes_meanwhile_is_begun_again() {
    let changes = Arc::new(AtomicUsize::new(2));
    let script = changes.clone();
    let fake = Fake::new(move |asked| match &asked.reply {
        Reply::Listing(Listing::Page(page)) if page.next.is_none() && script.load(Ordering::SeqCst) > 0 => {
            script.fetch_sub(1, Ordering::SeqCst);
            Act::Reply(Reply::Error(SignError::ListChanged))
        }
        _ => Act::Honest,
    });
    fake.set_entries((0..4).map(|number| p256("www", number)).collect());
    fake.set_page(2);
    let client = client(&fake.home);
    assert!(matches!(client.list(None, Deadline::within(CALL)), Ok(Listed::All(_, entries)) if entries.len() == 4));
    assert_eq!(fake.count(operation::LIST), 6);
}

#[test]
fn a_listing_without_an_end_is_given_up() {
    let fake = Fake::new(|asked| match &asked.reply {
        Reply::Listing(Listing::Page(page)) => Act::Reply(Reply::Listing(Listing::Page(Page {
            next: Some(1),
            ..page.clone()
        }))),
        _ => Act::Honest,
    });
    let client = client(&fake.home);
    let listed = client.list(None, Deadline::within(CALL));
    assert!(matches!(listed, Err(Unavailable::Protocol)), "{listed:?}");
    assert_eq!(fake.count(operation::LIST), 2);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn threat_49_no_reply_is_a_signature_but_the_right_one(
        at in 0usize..115, bits in 1u8.., tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        let is_whole = tail.is_empty();
        let fake = Fake::new(move |asked| {
            let mut writer = enclave_wire::Writer::new();
            asked.reply.write(&mut writer, asked.id);
            let mut bytes = writer.into_bytes();
            bytes[at] ^= bits;
            bytes.extend_from_slice(&tail);
            Act::Send(bytes)
        });
        let client = client(&fake.home);
        let request = SignRequest {
            key: p256("www", 1).id,
            key_type: KeyType::P256,
            mechanism: Mechanism::EcdsaSha256,
            input: b"m",
        };
        // A longer length has the client wait for what does not come.
        let signed = client.sign(request, Deadline::within(Duration::from_millis(60)));
        // The signature itself is what the service says it is: nothing but a whole frame with other bits there can pass.
        let is_in_signature = at >= 51 && is_whole;
        proptest::prop_assert_eq!(signed.is_ok(), is_in_signature, "{:?}", signed);
    }
}
