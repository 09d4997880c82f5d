//! The line between service and agent breaks at any byte of an exchange: both find each other again, and nothing is lost.

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
    for (way, count, how) in breaks(lab.full) {
        let before = (line.broken(), line.connections());
        line.break_after(way, count, how);
        // Whether this gets its answer depends on the byte; a heartbeat may have been cut in its place.
        let asked = second.try_ctl(&["--json", "list"])?;
        let what = || format!("{how:?} after {count} bytes {way:?}; it was asked: {}", asked.printed());
        same_keys(&second, &keys).with_context(what)?;
        if line.broken() > before.0 {
            ensure!(line.connections() > before.1, "{}: no new connection", what());
        }
    }
    ensure!(
        line.broken() >= u64::from(REQUEST),
        "it broke {} times only",
        line.broken()
    );
    let panics = second.service_log().matches("panicked").count();
    ensure!(panics == 0, "{}", second.service_log());
    Ok(())
}

/// As soon as the service has dialled again; the command itself waits for one that is just coming.
fn same_keys(second: &Second<'_>, keys: &serde_json::Value) -> Result<()> {
    for _ in 0..TRIES {
        let ran = second.try_ctl(&["--json", "list"])?;
        if ran.status.success() {
            let now: serde_json::Value = serde_json::from_str(&ran.stdout)?;
            ensure!(now == *keys, "other keys: {now}");
            return Ok(());
        }
    }
    bail!("the service does not come back: {}", second.log())
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
    cut.chain(ended).chain(stalled).collect()
}

/// What a request for the list has, at the least: a header.
const REQUEST: u16 = 14;
/// And the reply, with one key in it.
const REPLY: u16 = 200;
/// Each waits for some seconds.
const TRIES: usize = 10;
