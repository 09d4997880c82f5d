//! threat_42: the time of a refusal does not tell an absent key from a retired one, nor from another credential's.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::lab::Lab;
use e2e::lab::signing::Connection;
use e2e::lab::suite::Test;
use e2e::lab::unseen::Unseen;
use e2e::timing::rank::score;
use e2e::timing::{Lot, on_one_core};
use enclave_wire::signing::{Request, Sign};
use enclave_wire::{KeyId, Mechanism};

use crate::leaky::Leaky;
use crate::nothing_is_found;

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_42_control_five_microseconds_are_found,
    threat_42_absent_retired_and_anothers_key_take_the_same_time,
];

fn threat_42_absent_retired_and_anothers_key_take_the_same_time(lab: &Lab) -> Result<()> {
    nothing_is_found("a refusal", || {
        let unseen = Unseen::make(lab)?;
        let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
        let _pinned = on_one_core(lab.service()?)?;
        let scores = scores(&mut connection, &unseen.ids)?;
        Ok(scores.iter().any(|score| score.abs() >= CERTAIN))
    })
}

/// The same client and the same statistics, over a line that holds requests for one of the keys back for 5 µs.
fn threat_42_control_five_microseconds_are_found(lab: &Lab) -> Result<()> {
    let unseen = Unseen::make(lab)?;
    let [_, _, others] = unseen.ids;
    let line = Leaky::in_front_of(&lab.signing, others, Duration::from_micros(5))?;
    let mut connection = Connection::authenticated(&line.address(), &lab.credential()?)?;
    let _pinned = on_one_core(lab.service()?)?;
    let [same, absent, retired] = scores(&mut connection, &unseen.ids)?;
    ensure!(same.abs() < CERTAIN, "the line tells apart what it does not: {same}");
    ensure!(
        absent <= -CERTAIN && retired <= -CERTAIN,
        "5 µs were not found: nothing here would be"
    );
    Ok(())
}

/// Of each pair of the three, the score of Mann and Whitney.
fn scores(connection: &mut Connection, ids: &[KeyId; 3]) -> Result<[f64; 3]> {
    let mut times: [Vec<u64>; 3] = Default::default();
    let (mut lot, mut order) = (Lot::new(), [0, 1, 2]);
    for round in 0..ROUNDS + WARM_UP {
        lot.shuffle(&mut order)?;
        for which in order {
            let request = Request::Sign(Sign {
                key: ids[which],
                mechanism: Mechanism::Ecdsa,
                input: &[0xd1; 32],
            });
            let began = Instant::now();
            let reply = connection.exchange(&request)?;
            let nanoseconds = u64::try_from(began.elapsed().as_nanos())?;
            ensure!(reply.0.len() == REFUSED, "no refusal came: {reply:?}");
            if round >= WARM_UP {
                times[which].push(nanoseconds);
            }
        }
    }
    let [absent, retired, others] = &times;
    let scores = [score(absent, retired), score(absent, others), score(retired, others)];
    let [first, second, third] = scores;
    println!(
        "  {ROUNDS} pairs, scores: absent and retired {first:+.1}, absent and another's {second:+.1}, retired and another's \
         {third:+.1}; a difference is certain at {CERTAIN}"
    );
    Ok(scores)
}

/// By chance alone a score is this large once in 500 million times.
const CERTAIN: f64 = 6.0;
/// Pairs of each two.
const ROUNDS: usize = 10_000;
const WARM_UP: usize = 1_000;
/// A frame that carries an error's code.
const REFUSED: usize = 15;
