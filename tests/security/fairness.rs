//! What many clients of the signing plane may do to one: floods, silence, connections without end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::signing::Connection;
use e2e::lab::suite::Test;
use e2e::lab::{Enclave, Key, Lab, process};
use enclave_wire::signing::{Reply, Request, Sign, SignError};
use enclave_wire::{KeyId, Mechanism};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_01_a_stalled_frame_is_freed_and_disturbs_nobody,
    threat_02_half_closed_connections_end,
    threat_05_a_length_out_of_bounds_ends_the_connection,
    threat_08_connections_without_end_refuse_no_existing_client,
    threat_50_a_flood_of_rsa_4096_starves_no_ecdsa,
];

fn threat_01_a_stalled_frame_is_freed_and_disturbs_nobody(lab: &Lab) -> Result<()> {
    let mut other = Connection::authenticated(&lab.signing, &lab.credential()?)?;
    let before = deadlines(lab)?;
    let mut stalled: Vec<Connection> = Vec::new();
    for sent in [1, 4, 13] {
        let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
        connection.send(PING.get(..sent).context("a ping is longer")?)?;
        stalled.push(connection);
    }
    // One that never authenticates.
    stalled.push(Connection::open(&lab.signing)?);
    let began = Instant::now();
    for connection in &mut stalled {
        connection.until_closed()?;
    }
    ensure!(
        began.elapsed() < Duration::from_secs(2),
        "freed after {:?}",
        began.elapsed()
    );
    ensure!(deadlines(lab)? >= before + 4, "no deadline was counted");
    ensure!(
        matches!(other.ask(&Request::Ping)?, Reply::Pong(_)),
        "another client was disturbed"
    );
    Ok(())
}

/// At every offset of a request.
fn threat_02_half_closed_connections_end(lab: &Lab) -> Result<()> {
    let before = deadlines(lab)?;
    for sent in 0..PING.len() {
        let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
        connection.send(PING.get(..sent).context("a ping is longer")?)?;
        connection.close_writing()?;
        connection.until_closed()?;
        ensure!(deadlines(lab)? == before, "{sent} bytes: closed by a deadline");
    }
    Ok(())
}

fn threat_05_a_length_out_of_bounds_ends_the_connection(lab: &Lab) -> Result<()> {
    let before = deadlines(lab)?;
    for length in [0, 9, 16_641, u32::MAX] {
        let refused = counted(lab, "malformed")?;
        let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
        connection.send(&length.to_be_bytes())?;
        connection.send(PING.get(4..).context("a ping is longer")?)?;
        connection.until_closed()?;
        // Counted once its task has ended.
        let is_counted = || counted(lab, "malformed").is_ok_and(|now| now > refused);
        process::wait_until(Duration::from_secs(5), "the malformed frame to be counted", is_counted)?;
        ensure!(deadlines(lab)? == before, "{length}: closed by a deadline");
    }
    Ok(())
}

/// 1,024 connections at most, 1 s to authenticate; over the limit a client is told so and sent away.
fn threat_08_connections_without_end_refuse_no_existing_client(lab: &Lab) -> Result<()> {
    raise_limit_of_descriptors(MOST_OPEN + 200)?;
    let credential = lab.credential()?;
    let key = lab.key_of("P-256", "digest", "born")?;
    let mut existing = Connection::authenticated(&lab.signing, &credential)?;
    let refused = busy(lab)?;
    let mut crowd = VecDeque::new();
    let end = Instant::now()
        + if lab.full {
            Duration::from_secs(30)
        } else {
            Duration::from_secs(10)
        };
    while busy(lab)? < refused + if lab.full { 5_000 } else { 100 } {
        ensure!(
            Instant::now() < end,
            "{} connections, and nobody is refused",
            crowd.len()
        );
        for _ in 0..200 {
            crowd.extend(match lab.enclave {
                Enclave::Process => Connection::open(&lab.signing),
                // The emulated machine opens too few in the second that a stranger has; a client has its own bound.
                Enclave::Emulated => Connection::authenticated(&lab.signing, &credential),
            });
            if u64::try_from(crowd.len())? > MOST_OPEN {
                crowd.pop_front();
            }
        }
        let reply = sign_once(&mut existing, key, Mechanism::Ecdsa)?;
        ensure!(
            matches!(reply, Reply::Signature(_)),
            "an existing client was refused: {reply:?}"
        );
        let stats = lab.ctl(&["stats"])?;
        ensure!(
            stats["connections"].as_u64().is_some_and(|now| now <= 1_024),
            "no bound: {stats}"
        );
    }
    drop(crowd);
    let end = Instant::now() + Duration::from_secs(3);
    while Connection::authenticated(&lab.signing, &credential).is_err() {
        ensure!(Instant::now() < end, "no new client after the crowd has gone");
    }
    Ok(())
}

fn busy(lab: &Lab) -> Result<u64> {
    counted(lab, "busy")
}

fn raise_limit_of_descriptors(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let current = Some(limit.current.unwrap_or(u64::MAX).max(wanted));
    Ok(setrlimit(Resource::Nofile, Rlimit { current, ..limit })?)
}

/// Sixteen clients ask for RSA-4096 as fast as they can. Were there one queue, an ECDSA request would wait behind sixteen.
fn threat_50_a_flood_of_rsa_4096_starves_no_ecdsa(lab: &Lab) -> Result<()> {
    let rsa = TestKey::create(lab, "lab-e2e-flood", "RSA-4096", "digest", WEB_SERVERS)?;
    let p256 = lab.key_of("P-256", "digest", "born")?;
    let mut client = Connection::authenticated(&lab.signing, &lab.credential()?)?;
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(Connection::authenticated(&lab.signing, &lab.credential()?)?);
    }
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| -> Result<()> {
        for connection in &mut flood {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && sign_once(connection, &rsa.key, Mechanism::RsaPssSha256).is_ok()
                {
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let watched = watch(&mut client, p256, &made);
        stop.store(true, Ordering::Relaxed);
        watched
    })
}

/// How many RSA signatures are made while an ECDSA request waits: those that the cores were at, and as many again for a
/// machine that is busy with the flood itself.
fn watch(client: &mut Connection, p256: &Key, made: &AtomicU64) -> Result<()> {
    let cores = u64::try_from(thread::available_parallelism()?.get())?;
    thread::sleep(Duration::from_millis(200));
    let mut overtaken: Vec<u64> = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while overtaken.len() < 100 || made.load(Ordering::Relaxed) < 100 {
        ensure!(Instant::now() < end, "there is no flood: {made:?} RSA signatures");
        let before = made.load(Ordering::Relaxed);
        let reply = sign_once(client, p256, Mechanism::Ecdsa)?;
        ensure!(matches!(reply, Reply::Signature(_)), "{reply:?}");
        overtaken.push(made.load(Ordering::Relaxed) - before);
        thread::sleep(Duration::from_millis(5));
    }
    overtaken.sort_unstable();
    let median = overtaken.get(overtaken.len() / 2).copied().unwrap_or_default();
    ensure!(
        median <= 2 * cores,
        "half of the ECDSA requests waited behind more than {median} RSA signatures"
    );
    Ok(())
}

fn sign_once(connection: &mut Connection, key: &Key, mechanism: Mechanism) -> Result<Reply> {
    let key = KeyId(
        hex::decode(&key.id)?
            .try_into()
            .map_err(|_| anyhow!("not a key's id"))?,
    );
    let reply = connection.ask(&Request::Sign(Sign {
        key,
        mechanism,
        input: &[0xd1; 32],
    }))?;
    ensure!(reply != Reply::Error(SignError::Busy), "BUSY");
    Ok(reply)
}

fn deadlines(lab: &Lab) -> Result<u64> {
    counted(lab, "deadlines")
}

fn counted(lab: &Lab, what: &str) -> Result<u64> {
    let count = lab.ctl(&["stats"])?[what].as_u64();
    count.with_context(|| format!("no {what} in the statistics"))
}

/// A whole frame: length 10, version 1, operation 8, request id 3.
const PING: [u8; 14] = [0, 0, 0, 10, 1, 8, 0, 0, 0, 0, 0, 0, 0, 3];
const FLOOD: usize = 16;
/// Twice the service's limit.
const MOST_OPEN: u64 = 2_048;
