//! httpd and HAProxy over a line that fails: what each fault costs, to the handshake. For NGINX it is `outage.rs` and `workers.rs`, to the
//! call `faults.rs`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::copied::Copied;
use e2e::lab::fault::{Fault, Line};
use e2e::lab::program::run_with_input;
use e2e::lab::server::{Tls, s_client};
use e2e::lab::suite::Test;
use e2e::lab::{Endpoint, Lab};

use crate::faults::{REPLY, REQUEST};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_02_a_line_that_is_cut_costs_httpd_one_handshake,
    threat_02_a_line_that_is_cut_costs_httpd_with_an_engine_one_handshake,
    threat_02_a_line_that_is_cut_costs_haproxy_one_handshake,
    threat_57_a_reply_that_stops_costs_httpd_and_haproxy_few_handshakes,
];

fn threat_02_a_line_that_is_cut_costs_httpd_one_handshake(lab: &Lab) -> Result<()> {
    cut(lab, "httpd-provider")
}

fn threat_02_a_line_that_is_cut_costs_httpd_with_an_engine_one_handshake(lab: &Lab) -> Result<()> {
    cut(lab, "httpd-engine")
}

fn threat_02_a_line_that_is_cut_costs_haproxy_one_handshake(lab: &Lab) -> Result<()> {
    cut(lab, "haproxy")
}

/// A request that is cut is sent again, once; after a part of a reply one handshake fails, with an alert, and the next is good.
fn cut(lab: &Lab, via: &str) -> Result<()> {
    let faults = [
        (Fault::CutRequest(0), SERVED),
        (Fault::CutRequest(REQUEST / 2), SERVED),
        (Fault::EndRequest(REQUEST - 1), SERVED),
        (Fault::CutReply(0), SERVED),
        (Fault::EndReply(0), SERVED),
        (Fault::Trickle, SERVED),
        (Fault::Delay(Duration::from_millis(50)), SERVED),
        (Fault::CutReply(1), "alert"),
        (Fault::CutReply(REPLY - 1), "alert"),
        (Fault::EndReply(REPLY / 2), "alert"),
        (Fault::Twice, "alert"),
        (Fault::Flip(8 * 4), "alert"),
        // Nobody but the client can know.
        (Fault::Flip(8 * REPLY - 1), "bad signature"),
    ];
    lab.need_not_be_emulated()?;
    let line = Line::start(lab)?;
    let server = Copied::start(lab, via, &line)?;
    let endpoint = server.endpoint(lab.lasting_endpoint(via, "P-256")?)?;
    // The first makes the connection.
    ensure!(handshake(lab, endpoint, Tls::V13)? == SERVED, "{via} does not serve");
    let worker = server.worker()?;
    for tls in Tls::ALL {
        for (fault, wanted) in faults {
            let what = || format!("{via}, TLS {}, {fault:?}", tls.name());
            // libp11 tries once more where a signature failed.
            let is_tried_again = via == "httpd-engine" && wanted == "alert";
            let wanted = if is_tried_again { SERVED } else { wanted };
            let before = line.requests();
            line.plan([fault]);
            let came = handshake(lab, endpoint, tls)?;
            let (left, requests) = (line.planned(), line.requests() - before);
            ensure!(requests <= 2, "{}: {requests} requests", what());
            ensure!(left == 0, "{}: it did not come; {came}", what());
            ensure!(came.contains(wanted), "{}: {came}", what());
            let next = handshake(lab, endpoint, tls)?;
            ensure!(next == SERVED, "{}: and the next: {next}", what());
        }
    }
    ensure!(server.worker()? == worker, "{via}: the worker died");
    drop(server);
    line.wait_until_idle()
}

/// The handshake that meets it fails, and those behind it, until a probe finds the service again; none is tried without end.
fn threat_57_a_reply_that_stops_costs_httpd_and_haproxy_few_handshakes(lab: &Lab) -> Result<()> {
    lab.need_not_be_emulated()?;
    for via in ["httpd-provider", "httpd-engine", "haproxy"] {
        for count in [0, REPLY - 1] {
            stops(lab, via, count).with_context(|| format!("{via}, after {count} bytes"))?;
        }
    }
    Ok(())
}

fn stops(lab: &Lab, via: &str, count: usize) -> Result<()> {
    let line = Line::start(lab)?;
    let server = Copied::start(lab, via, &line)?;
    let endpoint = server.endpoint(lab.lasting_endpoint(via, "P-256")?)?;
    ensure!(handshake(lab, endpoint, Tls::V13)? == SERVED, "it does not serve");
    let (worker, before) = (server.worker()?, line.requests());
    line.plan([Fault::Stall(count)]);
    let came = handshake(lab, endpoint, Tls::V13)?;
    ensure!(came.contains("alert"), "the handshake that meets it: {came}");
    let mut tries = 1;
    while handshake(lab, endpoint, Tls::V13)? != SERVED {
        ensure!(tries < TRIES, "no handshake of {tries} went well");
        tries += 1;
        std::thread::sleep(REST);
    }
    let sent = line.requests() - before;
    ensure!(sent <= 1 + tries, "{sent} requests for {tries} handshakes");
    ensure!(server.worker()? == worker, "the worker died");
    drop(server);
    line.wait_until_idle()
}

/// What came of one: that a page was served, or what the client said.
fn handshake(lab: &Lab, endpoint: &Endpoint, tls: Tls) -> Result<String> {
    let mut client = s_client(endpoint, tls);
    client.args([
        "-sigalgs",
        "ECDSA+SHA256",
        "-verify_return_error",
        "-ign_eof",
        "-CAfile",
    ]);
    let request = format!("GET / HTTP/1.0\r\nHost: {}\r\n\r\n", endpoint.name);
    let ran = run_with_input(client.arg(&lab.ca), request.as_bytes())?;
    let served = ran.stdout.contains("Verification: OK") && ran.stdout.contains(" 200 OK");
    Ok(if served { SERVED.to_owned() } else { ran.stderr })
}

const SERVED: &str = "served";
const TRIES: u64 = 20;
/// After which the module looks again.
const REST: Duration = Duration::from_millis(300);
