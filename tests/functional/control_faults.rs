//! The line between service and agent breaks, or plays tricks, at any byte of an exchange: both find each other again, and nothing is
//! lost.

use anyhow::{Context, Result, bail, ensure};
use e2e::lab::Lab;
use e2e::lab::control_line::{Break, ControlLine, Way};
use e2e::lab::second::{Options, Second};
use e2e::lab::suite::Test;

pub(super) const TESTS: &[Test] = e2e::tests![threat_01_a_control_line_that_breaks_at_any_byte_loses_nothing];

fn threat_01_a_control_line_that_breaks_at_any_byte_loses_nothing(lab: &Lab) -> Result<()> {
    let options = Options {
        with_lab_states: false,
        ..Options::like(lab)?
    };
    let mut second = Second::start(lab, &options)?;
    let line = ControlLine::in_front_of(&second.file("control.sock"))?;
    second.restart_service()?;
    ensure!(line.connections() == 1, "the service came by another way");
    // It ends with this run: had the service been started again, it would be gone.
    let wanted = ["create", "lab-e2e-line", "--type", "p-256", "--usage", "tls"];
    second.ctl(&[&wanted[..], &["--dns-name", "e2e.lab.test", "--client", "www-data"]].concat())?;
    let keys = second.ctl(&["list"])?;
    let (breaks, mut seen) = (breaks(lab.full), Vec::new());
    for &(way, count, how) in &breaks {
        let before = (line.broken(), line.connections());
        line.break_after(way, count, how);
        // Whether this gets its answer depends on the byte; a heartbeat may have been cut in its place.
        let asked = second.try_ctl(&["--json", "list"])?;
        let what = || format!("{how:?} after {count} bytes {way:?}; it was asked: {}", asked.printed());
        ensure!(!how.is_harmless() || asked.status.success(), "{}", what());
        same_keys(&second, &keys).with_context(what)?;
        let came_again = line.connections() > before.1;
        if line.broken() > before.0 {
            seen.push(how);
            ensure!(came_again || !how.ends_the_line(), "{}: no new connection", what());
            ensure!(!came_again || !how.is_harmless(), "{}: a new connection", what());
        }
    }
    for (_, _, how) in breaks {
        ensure!(seen.contains(&how), "{how:?} never came about");
    }
    every_key_is_made_once(&second, &line)?;
    ensure!(
        line.broken() >= u64::from(REQUEST),
        "it broke {} times only",
        line.broken()
    );
    let panics = second.service_log().matches("panicked").count();
    ensure!(panics == 0, "{}", second.service_log());
    Ok(())
}

/// A command whose request or answer was lost has made its key or has not; what was there stays, and no other comes into being.
fn every_key_is_made_once(second: &Second<'_>, line: &ControlLine) -> Result<()> {
    let mut expected = names(second)?;
    for (number, (way, count, how)) in CREATIONS.into_iter().enumerate() {
        let name = format!("lab-e2e-line-{number}");
        let wanted = ["create", &name, "--type", "p-256", "--usage", "tls"];
        let create = [&wanted[..], &["--dns-name", "e2e.lab.test", "--client", "www-data"]].concat();
        let before = line.broken();
        line.break_after(way, count, how);
        let asked = second.try_ctl(&create)?;
        let what = || format!("{how:?} after {count} bytes {way:?}; it was asked: {}", asked.printed());
        let mut now = names(second).with_context(what)?;
        ensure!(line.broken() > before, "{}: it did not come about", what());
        let made = now.iter().filter(|its| **its == name).count();
        ensure!(made <= 1, "{}: made {made} times", what());
        ensure!(made == 1 || !asked.status.success(), "{}: and there is none", what());
        if made == 0 {
            second.ctl(&create).with_context(what)?;
            now = names(second)?;
        }
        expected.push(name);
        expected.sort();
        ensure!(now == expected, "{}: {now:?}", what());
    }
    Ok(())
}

fn names(second: &Second<'_>) -> Result<Vec<String>> {
    let listed = answered(second)?;
    let keys = listed["keys"].as_array().context("no list of keys")?;
    let mut names: Vec<String> = keys
        .iter()
        .map(|key| key["name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// As soon as the service has dialled again; the command itself waits for one that is just coming.
fn answered(second: &Second<'_>) -> Result<serde_json::Value> {
    for _ in 0..TRIES {
        let ran = second.try_ctl(&["--json", "list"])?;
        if ran.status.success() {
            return Ok(serde_json::from_str(&ran.stdout)?);
        }
    }
    bail!("the service does not come back: {}", second.log())
}

fn same_keys(second: &Second<'_>, keys: &serde_json::Value) -> Result<()> {
    let now = answered(second)?;
    ensure!(now == *keys, "other keys: {now}");
    Ok(())
}

/// Every byte of a request, the reply's header and some of the rest; in the long run every byte of both, and more that stall.
fn breaks(full: bool) -> Vec<(Way, usize, Break)> {
    let (replies, stalls) = if full { (1, 8) } else { (97, 64) };
    let request = (0..REQUEST).map(|count| (Way::ToService, count));
    let reply = (0..REPLY).step_by(replies).map(|count| (Way::ToAgent, count));
    let all: Vec<_> = request
        .chain(reply)
        .map(|(way, count)| (way, usize::from(count)))
        .collect();
    let cut = all.iter().map(|(way, count)| (*way, *count, Break::Cut));
    let ended = all.iter().step_by(3).map(|(way, count)| (*way, *count, Break::End));
    let stalled = all
        .iter()
        .step_by(stalls)
        .map(|(way, count)| (*way, *count, Break::Stall));
    let tricks = [
        Break::Flip,
        Break::Duplicate,
        Break::Reorder,
        Break::Delay,
        Break::Trickle,
    ];
    let tricked = all.iter().step_by(if full { 1 } else { 5 });
    let tricked = tricked.flat_map(|(way, count)| tricks.map(|how| (*way, *count, how)));
    cut.chain(ended).chain(stalled).chain(tricked).collect()
}

/// In the request, and before, in and after the reply's header. A request of which another makes a different one is a different request.
const CREATIONS: [(Way, usize, Break); 7] = [
    (Way::ToService, 0, Break::Cut),
    (Way::ToService, 20, Break::Cut),
    (Way::ToService, 20, Break::Trickle),
    (Way::ToAgent, 0, Break::Cut),
    (Way::ToAgent, 13, Break::Cut),
    (Way::ToAgent, 13, Break::Flip),
    (Way::ToAgent, 20, Break::Stall),
];

/// What a request for the list has, at the least: a header.
const REQUEST: u16 = 14;
/// And the reply, with one key in it.
const REPLY: u16 = 200;
/// Each waits for some seconds.
const TRIES: usize = 10;
