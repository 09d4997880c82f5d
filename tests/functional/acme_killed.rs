//! The service is killed while it orders a certificate.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::acme::{self, Said};
use e2e::lab::service::{self, Stalled};
use e2e::lab::suite::Test;
use e2e::lab::{Lab, agent, process};

pub(crate) const TESTS: &[Test] =
    e2e::tests![threat_53_a_service_killed_in_mid_order_gets_the_certificate_all_the_same];

/// When the CA has the order, when it looks at the proof, and when the certificate is there to be fetched: servers have the older pair
/// until the other comes, which the order that was begun brings, or another one.
fn threat_53_a_service_killed_in_mid_order_gets_the_certificate_all_the_same(lab: &Lab) -> Result<()> {
    lab.needs_a_process("it kills the service at steps of an order")?;
    for [step, next] in [[ORDERED, PROVEN], [PROVEN, ISSUED], [ISSUED, FETCHED]] {
        let killed = || killed_between(lab, step, next).with_context(|| format!("killed at {step:?}"));
        let mut attempts = 1..ATTEMPTS;
        while !killed()? {
            let too_late =
                || format!("each of {ATTEMPTS} times the CA was at {next:?} before it was stopped at {step:?}");
            attempts.next().with_context(too_late)?;
        }
    }
    Ok(())
}

/// False: the CA went on to the next step before it was stopped, so nothing was killed.
fn killed_between(lab: &Lab, step: &str, next: &str) -> Result<bool> {
    let before = acme::leaf(lab, CERTIFICATE, HOST)?;
    let said = Said::from_now(lab, "acme")?;
    acme::rotate(lab, CERTIFICATE)?;
    process::wait_until(LIMIT, step, || said.count(step).is_ok_and(|times| times > 0))?;
    // Nothing more comes of the CA until the older pair was seen.
    let ca = Stalled::stop_process(agent::pid(lab, "acme")?)?;
    if said.count(next)? > 0 {
        ca.resume();
        acme::changed(lab, CERTIFICATE, HOST, &before)?;
        return Ok(false);
    }
    service::kill(lab)?;
    service::start(lab)?;
    process::wait_until(LIMIT, "the older pair", || {
        acme::shown(lab, CERTIFICATE, HOST).is_ok_and(|leaf| leaf == before)
    })?;
    ca.resume();
    let after = acme::changed(lab, CERTIFICATE, HOST, &before)?;
    ensure!(after.key != before.key, "the renewed certificate has the older key");
    let orders = said.count(ORDERED)?;
    ensure!(orders <= 2, "{orders} orders were made");
    Ok(true)
}

const CERTIFICATE: &str = "lab-acme-rsa";
const HOST: &str = "acme-rsa.lab.test";
/// What pebble says of each step.
const ORDERED: &str = "Added order";
const PROVEN: &str = "validations.";
const ISSUED: &str = "Issued certificate serial";
const FETCHED: &str = "POST /certZ/";
/// Of being as fast as the CA.
const ATTEMPTS: usize = 20;
const LIMIT: Duration = Duration::from_secs(60);
