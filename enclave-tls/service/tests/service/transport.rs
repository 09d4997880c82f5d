//! Peers that stall, stop, send too much or go away.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use enclave_tls::platform::Limits;
use enclave_wire::Mechanism;
use enclave_wire::signing::{Reply, Request, Sign, SignError};

use super::client::Client;
use super::lab::Lab;

/// threat_01: a peer that stalls in mid-frame is let go after a second, and nobody else waits for it.
#[test]
fn threat_01_a_stall_in_mid_frame_is_cut() {
    let mut lab = Lab::new();
    let key = lab.key("lab-a", "P-256").id;
    let (mut stalled, mut client) = (lab.client(), lab.client());
    let frame = stalled.frame(&Request::Sign(Sign {
        key,
        mechanism: Mechanism::Ecdsa,
        input: &[1; 32],
    }));
    let begun = Instant::now();
    stalled.stream.write_all(&frame[..20]).unwrap();
    while begun.elapsed() < Duration::from_millis(500) {
        assert!(client.sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    }
    assert!(stalled.is_closed());
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&begun.elapsed()));
    lab.until(|lab| lab.statistics.deadlines.get() == 1 && lab.statistics.connections.get() == 1);
}

/// threat_01: one that asks and never reads is let go as well.
#[test]
fn threat_01_a_peer_that_does_not_read_is_cut() {
    let mut lab = Lab::with(Limits {
        write: Duration::from_millis(300),
        ..Limits::default()
    });
    for _ in 0..300 {
        lab.key("lab-a", "P-256");
    }
    let mut client = lab.client();
    client.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let list = |client: &mut Client| {
        let frame = client.frame(&Request::List(enclave_wire::signing::List {
            known_version: 0,
            cursor: 0,
        }));
        client.stream.write_all(&frame)
    };
    while list(&mut client).is_ok() {}
    lab.until(|lab| lab.statistics.deadlines.get() == 1 && lab.statistics.connections.get() == 0);
}

#[test]
fn an_idle_connection_is_closed() {
    let lab = Lab::with(Limits {
        idle: Duration::from_millis(300),
        ..Limits::default()
    });
    let mut client = lab.client();
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(150));
        assert!(client.call(&Request::Ping).is_ok(), "each request begins the time anew");
    }
    let begun = Instant::now();
    assert!(client.is_closed());
    assert!(begun.elapsed() >= Duration::from_millis(200));
}

/// threat_02: the end of the stream at any byte of a frame is the end, and costs no time.
#[test]
fn threat_02_half_close_at_every_offset() {
    let mut lab = Lab::new();
    let key = lab.key("lab-a", "P-256").id;
    let length = lab
        .client()
        .frame(&Request::Sign(Sign {
            key,
            mechanism: Mechanism::Ecdsa,
            input: &[1; 32],
        }))
        .len();
    let begun = Instant::now();
    for offset in 0..=length {
        let mut client = lab.client();
        let frame = client.frame(&Request::Sign(Sign {
            key,
            mechanism: Mechanism::Ecdsa,
            input: &[1; 32],
        }));
        client.stream.write_all(&frame[..offset]).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        if offset == length {
            assert!(
                matches!(client.read().unwrap().1, Reply::Signature(_)),
                "what was whole is answered"
            );
        }
        assert!(client.is_closed());
    }
    lab.until(|lab| lab.statistics.connections.get() == 0);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(lab.cpu_time() > Duration::ZERO);
    let before = lab.cpu_time();
    std::thread::sleep(Duration::from_millis(300));
    assert!(lab.cpu_time() - before < Duration::from_millis(100), "nothing spins");
}

/// threat_05: a length beyond the limit is refused before anything is allocated for it.
#[test]
fn threat_05_an_oversized_header_is_refused() {
    let lab = Lab::new();
    for length in [0u32, 9, 16_641, 1 << 20, u32::MAX] {
        let mut client = lab.client();
        let mut frame = client.frame(&Request::Ping);
        frame[..4].copy_from_slice(&length.to_be_bytes());
        client.stream.write_all(&frame).unwrap();
        let (header, reply) = client.read().unwrap();
        assert_eq!(
            (header.request_id, reply),
            (client.last_id, Reply::Error(SignError::Malformed)),
            "{length}"
        );
        assert!(client.is_closed());
    }
}

/// threat_06: whole frames, however they come; and the largest there is.
#[test]
fn threat_06_byte_by_byte_and_all_at_once() {
    let mut lab = Lab::with(Limits {
        frame: Duration::from_secs(20),
        ..Limits::default()
    });
    let key = lab.key("lab-a", "P-256").id;
    let mut client = lab.client();
    let frame = client.frame(&Request::Sign(Sign {
        key,
        mechanism: Mechanism::EcdsaSha256,
        input: &[1; 300],
    }));
    for byte in &frame {
        client.stream.write_all(std::slice::from_ref(byte)).unwrap();
    }
    assert!(matches!(client.read().unwrap().1, Reply::Signature(_)));
    for length in [0, 1, 450, 500, 512, 1_000, 16_384] {
        assert!(
            client.sign(key, Mechanism::EcdsaSha256, &vec![1; length]).is_ok(),
            "{length}"
        );
    }
    // Two requests in one write are answered one after the other.
    let mut frames = client.frame(&Request::Ping);
    frames.extend(client.frame(&Request::FindById(key)));
    client.stream.write_all(&frames).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let mut replies = vec![0; 4_096];
    let count = std::io::Read::read(&mut client.stream, &mut replies).unwrap();
    assert!(count > 14 + 16 + 14, "both replies came");
}

/// threat_09: clients that go away at any point leave nothing behind.
#[test]
fn threat_09_killed_clients_leave_nothing() {
    let mut lab = Lab::new();
    let key = lab.key("lab-a", "P-256").id;
    assert_eq!(lab.sockets(), 1);
    for round in 0..10_000usize {
        let mut client = Client::dial(&lab.signing).unwrap();
        if round % 3 > 0 {
            client = lab.client();
        }
        let frame = client.frame(&Request::Sign(Sign {
            key,
            mechanism: Mechanism::Ecdsa,
            input: &[1; 32],
        }));
        client.stream.write_all(&frame[..round % frame.len()]).unwrap();
        if round % 2 == 0 {
            let rest = client.stream.write_all(&frame[round % frame.len()..]);
            // The first part tells that the frame is too long for one who has not authenticated,
            // so the service may have hung up already.
            assert!(rest.is_ok() || round % 3 == 0, "{round}: {rest:?}");
        }
    }
    lab.until(|lab| lab.statistics.connections.get() == 0);
    lab.until(|lab| lab.sockets() == 1);
    assert!(lab.client().sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
}

/// threat_49: frames that are damaged in any way end their own connection, and nothing panics.
#[test]
fn threat_49_damaged_frames_harm_nobody() {
    let mut lab = Lab::with(Limits {
        frame: Duration::from_millis(50),
        ..Limits::default()
    });
    let key = lab.key("lab-a", "P-256").id;
    let mut other = lab.client();
    let mut random = [0; 4];
    for round in 0..600usize {
        let mut client = if round % 4 == 0 {
            Client::dial(&lab.signing).unwrap()
        } else {
            lab.client()
        };
        let input = [1; 32];
        let mut frame = client.frame(&Request::Sign(Sign {
            key,
            mechanism: Mechanism::Ecdsa,
            input: &input,
        }));
        for _ in 0..=round % 3 {
            aws_lc_rs::rand::fill(&mut random).unwrap();
            let [high, low, value, cut] = random;
            let at = usize::from(u16::from_be_bytes([high, low])) % frame.len();
            frame[at] = value;
            if cut < 40 {
                frame.truncate(at.max(1));
            }
        }
        let _ = client.stream.write_all(&frame);
        let _ = client.stream.shutdown(Shutdown::Write);
        while client.read_raw().is_ok() {}
        assert!(other.sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    }
    assert_eq!(lab.statistics.panics.get(), 0);
    lab.until(|lab| lab.statistics.connections.get() == 1);
}
