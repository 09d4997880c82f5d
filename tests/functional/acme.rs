//! Certificates that the enclave orders: from the lab's pebble, through the web server's snippet and Route 53, and renewed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::Lab;
use e2e::lab::acme::{self, Leaf};
use e2e::lab::agent::{self, report};
use e2e::lab::caa::{self, Records};
use e2e::lab::process;
use e2e::lab::suite::Test;
use serde_json::Value;

pub(crate) const TESTS: &[Test] = e2e::tests![
    certificates_of_each_way_are_served,
    a_window_in_the_past_renews_with_a_new_key,
    the_hook_writes_records_in_place_of_route_53,
    an_agent_killed_in_mid_order_finishes_it,
    caa_records_name_the_account_that_the_enclave_has,
    the_enclave_says_which_names_caa_records_pin,
    a_ca_that_is_away_costs_nothing_that_is_served,
];

/// RSA and P-256 by HTTP-01 through the snippet, a name and its wildcard by DNS-01: each is served, and verifies by pebble's root.
fn certificates_of_each_way_are_served(lab: &Lab) -> Result<()> {
    for (certificate, names) in [
        ("lab-acme-rsa", &["acme-rsa.lab.test"][..]),
        ("lab-acme-p256", &["acme-p256.lab.test", "acme.lab.test"]),
        ("lab-acme-wildcard", &["wild.lab.test", "a.wild.lab.test"]),
    ] {
        for name in names {
            acme::leaf(lab, certificate, name).with_context(|| format!("{certificate} by {name}"))?;
        }
    }
    let report = report(lab)?;
    let account = report.accounts.first().context("no account")?;
    ensure!(account.problem.is_none() && account.url.is_some(), "{account:?}");
    for one in report.certificates.iter().filter(|one| one.source == "acme") {
        let renewal = one.renewal.as_ref().context("no renewal")?;
        ensure!(
            renewal.next.is_some() && renewal.last.is_some() && renewal.failures == 0,
            "{renewal:?}"
        );
    }
    // Nothing is left of what proved the names.
    process::wait_until(LIMIT, "no TXT record", || {
        acme::texts(lab, "_acme-challenge.wild.lab.test").is_ok_and(|texts| texts.is_empty())
    })
}

/// The CA says that it is time: another key is made, certified and deployed, and clients get it.
fn a_window_in_the_past_renews_with_a_new_key(lab: &Lab) -> Result<()> {
    let before = acme::leaf(lab, "lab-acme-p256", "acme.lab.test")?;
    acme::set_window_in_the_past(lab, &before)?;
    // It is asked about twice a day; a restart asks nobody, so the answer that it has is forgotten.
    acme::forget_windows(lab)?;
    let after = acme::changed(lab, "lab-acme-p256", "acme.lab.test", &before)?;
    ensure!(after.key != before.key, "the renewed certificate has the older key");
    Ok(())
}

/// The program of `[dns01]` in place of Route 53: all that it published for the name and its wildcard, it takes away. An order that the CA
/// refused meanwhile is made again, with other texts.
fn the_hook_writes_records_in_place_of_route_53(lab: &Lab) -> Result<()> {
    let text = fs::read_to_string(&lab.config)?;
    let program = lab.logs.join("dns-hook");
    let said = lab.logs.join("dns-hook.log");
    fs::write(&program, acme::hook(lab, &said)?)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let with_hook = text.replace("route53 = {}", &format!("hook = [\"{}\"]", program.display()));
    ensure!(with_hook != text, "the lab's configuration has no route53");
    fs::write(&lab.config, with_hook)?;
    let heard = || fs::read_to_string(&said).unwrap_or_default();
    let outcome = rotated(lab, "lab-acme-wildcard", "a.wild.lab.test").and_then(|_| {
        process::wait_until(LIMIT, "the records to be taken away", || {
            let heard = heard();
            let texts = |action: &str| -> BTreeSet<String> {
                let begin = format!("{action} _acme-challenge.wild.lab.test ");
                let its = heard.lines().filter_map(|line| line.strip_prefix(&begin));
                its.map(str::to_owned).collect()
            };
            let published = texts("present");
            published.len() >= 2 && texts("cleanup") == published
        })
    });
    fs::write(&lab.config, text)?;
    agent::reload(lab)?;
    outcome.with_context(|| format!("the hook was told:\n{}", heard()))
}

/// `kill -9` of the agent while an order is under way: the next run finishes.
fn an_agent_killed_in_mid_order_finishes_it(lab: &Lab) -> Result<()> {
    let mut before = acme::leaf(lab, "lab-acme-rsa", "acme-rsa.lab.test")?;
    for wait in [0, 300, 1_000] {
        acme::rotate(lab, "lab-acme-rsa")?;
        std::thread::sleep(Duration::from_millis(wait));
        agent::kill(lab, "agent")?;
        agent::start(lab, "agent")?;
        before = acme::changed(lab, "lab-acme-rsa", "acme-rsa.lab.test", &before)?;
    }
    Ok(())
}

/// What an administrator puts into DNS is made of what the live agent says.
fn caa_records_name_the_account_that_the_enclave_has(lab: &Lab) -> Result<()> {
    let report = report(lab)?;
    let account = report.accounts.first().context("no account")?;
    let pin = |method: &str| {
        let url = account.url.as_deref().unwrap_or_default();
        format!("{CA}; accounturi={url}; validationmethods={method}")
    };
    let printed = lab.ctl(&["acme", "caa", "--from-agent", "--issuer", CA])?;
    let zone = printed["zone"].as_str().context("no zone")?;
    let mut expected = String::new();
    for (name, issue, issuewild) in [
        ("acme-p256", pin("http-01"), ";".to_owned()),
        ("acme-rsa", pin("http-01"), ";".to_owned()),
        ("acme", pin("http-01"), ";".to_owned()),
        ("wild", pin("dns-01"), pin("dns-01")),
    ] {
        expected.push_str(&format!(
            "{name}.lab.test. IN CAA 0 issue \"{issue}\"\n{name}.lab.test. IN CAA 0 issuewild \"{issuewild}\"\n"
        ));
    }
    ensure!(zone == expected, "{zone}\nin place of\n{expected}");
    Ok(())
}

/// The records that are printed pin every name of every certificate, as the enclave sees them; without them, or with others, none is
/// said to be.
fn the_enclave_says_which_names_caa_records_pin(lab: &Lab) -> Result<()> {
    let open = all("open", |_| "none");
    let before = Stands::of(lab, None)?;
    ensure!(before == open, "{before:?} without records");

    let mut records = Records::none(lab);
    records.put(&lab.ctl(&["acme", "caa", "--from-agent", "--issuer", CA])?)?;
    let pinned = Stands::of(lab, None)?;
    let expected = all("pinned", |name| name.trim_start_matches("*."));
    ensure!(pinned == expected, "{pinned:?} with the records that were printed");

    // One name's records go; those above it let any account of the CA have it.
    records.clear("acme.lab.test")?;
    records.add("lab.test", &[("issue", CA)])?;
    let climbed = Stands::of(lab, Some("lab-acme-p256"))?;
    let expected = Stands::expected([
        ("acme-p256.lab.test", "pinned", "acme-p256.lab.test"),
        ("acme.lab.test", "not-pinned", "lab.test"),
    ]);
    ensure!(climbed == expected, "{climbed:?} with records above");

    drop(records);
    let after = Stands::of(lab, None)?;
    ensure!(after == open, "{after:?} when the records are gone");
    Ok(())
}

/// The CA is stopped for a while: an order fails and is tried again, the old certificate is served all the time.
fn a_ca_that_is_away_costs_nothing_that_is_served(lab: &Lab) -> Result<()> {
    let before = acme::leaf(lab, "lab-acme-rsa", "acme-rsa.lab.test")?;
    let its = acme::kill(lab)?;
    let outcome = (|| {
        acme::rotate(lab, "lab-acme-rsa")?;
        std::thread::sleep(AWAY);
        let meanwhile = acme::shown(lab, "lab-acme-rsa", "acme-rsa.lab.test")?;
        ensure!(meanwhile == before, "servers have another than before");
        Ok(())
    })();
    acme::start(lab, &its)?;
    outcome?;
    // An administrator need not wait for the next attempt. The CA has forgotten account and order, and both are begun anew.
    acme::rotate(lab, "lab-acme-rsa")?;
    acme::changed(lab, "lab-acme-rsa", "acme-rsa.lab.test", &before)?;
    // What comes next finds no order under way.
    agent::wait_for(lab, "all orders to end well", |report| {
        let mut ordered = report.certificates.iter().filter(|one| one.source == "acme");
        ordered.all(|one| one.state == "served" && one.generations.iter().all(|one| one.not_after.is_some()))
    })
    .map(drop)
}

/// What the check of CAA records says.
#[derive(Debug, PartialEq, Eq)]
struct Stands {
    status: Option<i32>,
    /// Name, verdict, where the records stand, and whether there is something to do.
    names: Vec<[String; 4]>,
}

impl Stands {
    fn of(lab: &Lab, certificate: Option<&str>) -> Result<Self> {
        let (status, said) = caa::check(lab, certificate)?;
        let word = |one: &Value, of: &str| one[of].as_str().unwrap_or("none").to_owned();
        let todo = |one: &Value| if one["todo"].is_null() { "well" } else { "to do" }.to_owned();
        let names = said["names"].as_array().context("no names")?.iter();
        let mut names: Vec<_> = names
            .map(|one| [word(one, "name"), word(one, "verdict"), word(one, "at"), todo(one)])
            .collect();
        names.sort();
        Ok(Self { status, names })
    }

    /// Pinned to account and method there is nothing to do; else there is, and the status says so.
    fn expected<'a>(names: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>) -> Self {
        let todo = |verdict| if verdict == "pinned" { "well" } else { "to do" };
        let names = names.into_iter();
        let mut names: Vec<_> = names
            .map(|(name, verdict, at)| [name, verdict, at, todo(verdict)].map(str::to_owned))
            .collect();
        names.sort();
        let is_well = names.iter().all(|[_, verdict, ..]| verdict == "pinned");
        Self {
            status: Some(if is_well { 0 } else { 3 }),
            names,
        }
    }
}

/// All names that the lab's CA issues for stand so.
fn all(verdict: &str, at: impl Fn(&'static str) -> &'static str) -> Stands {
    let names = [
        "acme-p256.lab.test",
        "acme-rsa.lab.test",
        "acme.lab.test",
        "wild.lab.test",
        "*.wild.lab.test",
    ];
    Stands::expected(names.into_iter().map(|name| (name, verdict, at(name))))
}

fn rotated(lab: &Lab, certificate: &str, name: &str) -> Result<Leaf> {
    let before = acme::leaf(lab, certificate, name)?;
    agent::reload(lab)?;
    acme::rotate(lab, certificate)?;
    acme::changed(lab, certificate, name, &before)
}

/// An order takes seconds, and what failed once a minute.
const LIMIT: Duration = Duration::from_secs(180);
/// What pebble calls itself in CAA records.
const CA: &str = "pebble.letsencrypt.org";
/// Longer than the enclave waits between two attempts to reach a CA.
const AWAY: Duration = Duration::from_secs(20);
