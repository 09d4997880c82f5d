//! threat_42: absent, retired and another credential's key look the same, in bytes and in time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::lab::Lab;
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::scratch::Scratch;
use e2e::lab::signing::{Connection, Frame};
use e2e::lab::suite::Test;
use enclave_wire::frame::{ERROR, encode_with};
use enclave_wire::signing::{Request, Sign, SignError};
use enclave_wire::{KeyId, Mechanism};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_42_absent_retired_and_anothers_key_are_equal_to_the_byte,
    threat_42_absent_retired_and_anothers_key_take_the_same_time,
];

fn threat_42_absent_retired_and_anothers_key_are_equal_to_the_byte(lab: &Lab) -> Result<()> {
    let unseen = Unseen::make(lab)?;
    for request in ["sign", "a digest that is none", "find", "chain"] {
        let mut replies = Vec::new();
        for key in unseen.ids {
            // A connection each, so that the request ids are the same.
            let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
            replies.push(connection.exchange(&asking(request, key))?);
        }
        ensure!(
            replies.iter().all(|reply| Some(reply) == replies.first()),
            "{request}: {replies:?}"
        );
        if request != "find" {
            let no_such_key = encode_with(ERROR, 3, |body| body.put(&[SignError::NoSuchKey.byte()])).into_bytes();
            ensure!(replies.first() == Some(&Frame(no_such_key)), "{request}: {replies:?}");
        }
    }
    // The control: a key of one's own is another answer.
    let own = TestKey::create(lab, "lab-e2e-own", "P-256", "digest", WEB_SERVERS)?;
    let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
    let reply = connection.exchange(&asking("sign", id_of(&own.key.id)?))?;
    ensure!(reply.0.len() > 64, "no signature by a key of one's own: {reply:?}");
    Ok(())
}

/// Medians of many requests that take turns, so that a busy machine disturbs all three alike.
fn threat_42_absent_retired_and_anothers_key_take_the_same_time(lab: &Lab) -> Result<()> {
    let unseen = Unseen::make(lab)?;
    let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
    let mut medians = Vec::new();
    for _ in 0..if lab.full { 10 } else { 3 } {
        let mut times: [Vec<Duration>; 3] = Default::default();
        for _ in 0..2_000 {
            for (key, times) in unseen.ids.iter().zip(&mut times) {
                let request = asking("sign", *key);
                let began = Instant::now();
                connection.exchange(&request)?;
                times.push(began.elapsed());
            }
        }
        medians = times.iter_mut().map(|times| median(times)).collect();
        let (least, most) = (medians.iter().min(), medians.iter().max());
        let (least, most) = (least.context("no time")?, most.context("no time")?);
        // A signature, or a search through other clients' keys, would take longer by far more than this.
        if *most < least.mul_f64(1.2) + Duration::from_micros(2) {
            return Ok(());
        }
    }
    anyhow::bail!("absent, retired, another's: {medians:?}")
}

/// The ids of three keys that the lab's credential cannot see.
struct Unseen<'a> {
    /// Absent, retired, another credential's.
    ids: [KeyId; 3],
    _others: TestKey<'a>,
    _retired: TestKey<'a>,
    _scratch: Scratch,
}

impl<'a> Unseen<'a> {
    fn make(lab: &'a Lab) -> Result<Self> {
        let scratch = Scratch::new()?;
        lab.ctl(&[
            "credential",
            "e2e-stranger",
            "--out",
            &scratch.file("stranger").display().to_string(),
        ])?;
        let others = TestKey::create(lab, "lab-e2e-stranger", "P-256", "digest", "e2e-stranger")?;
        let retired = TestKey::create(lab, "lab-e2e-retired", "P-256", "digest", WEB_SERVERS)?;
        retired.retire()?;
        let ids = [KeyId([0x5a; 32]), id_of(&retired.key.id)?, id_of(&others.key.id)?];
        Ok(Self {
            ids,
            _others: others,
            _retired: retired,
            _scratch: scratch,
        })
    }
}

fn asking(what: &str, key: KeyId) -> Request<'static> {
    let sign = |input| {
        Request::Sign(Sign {
            key,
            mechanism: Mechanism::Ecdsa,
            input,
        })
    };
    match what {
        "find" => Request::FindById(key),
        "chain" => Request::Chain(key),
        "sign" => sign(&[0xd1; 32]),
        _ => sign(&[]),
    }
}

fn id_of(text: &str) -> Result<KeyId> {
    Ok(KeyId(
        hex::decode(text)?.try_into().map_err(|_| anyhow!("not a key's id"))?,
    ))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
