//! What a certificate from pebble costs the service: P-256, two names by HTTP-01, at several shares of refused nonces.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::runner::Spread;
use crate::bench::show::Columns;
use crate::build::Binaries;
use crate::lab::{Ctl, Lab, Rotations, pebble};
use crate::progress;
use crate::table::Table;

/// All figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Issuance {
    /// To make a key on command, and nothing else: milliseconds.
    p256_key_ms: f64,
    rsa2048_key_ms: f64,
    at: Vec<Orders>,
}

/// Certificates that were ordered one after the other.
#[derive(Deserialize, Serialize)]
struct Orders {
    /// Of a hundred.
    nonces_refused: u32,
    orders: u32,
    /// Of the service, from the request to rotate until servers have the certificate, with all that the agent asks it meanwhile, but
    /// without signatures: milliseconds.
    all_ms: Spread,
}

pub(super) fn measure(rotations: &Rotations<'_>, lab: &Lab, binaries: &Binaries, quick: bool) -> Result<Issuance> {
    let service = *lab.description().pids.get("service").context("no service")?;
    let count = if quick { QUICK_ORDERS } else { ORDERS };
    let at = NONCES_REFUSED.map(|refused| {
        let what = format!("ordering {count} certificates with {refused} % of nonces refused");
        progress::step(&what, || orders(rotations, lab, service, refused, count))
    });
    let at = at.into_iter().collect::<Result<_>>()?;
    // After the orders: what the service lists to the agent grows with its keys.
    let ctl = Ctl::new(lab.place(), binaries);
    let key = |kind: &str, count: u32| {
        progress::step(&format!("making {count} {kind} keys"), || {
            keys(&ctl, service, kind, count)
        })
    };
    Ok(Issuance {
        p256_key_ms: key("p-256", P256_KEYS)?,
        rsa2048_key_ms: key("rsa-2048", RSA_KEYS)?,
        at,
    })
}

pub(super) fn print(measured: &Issuance) {
    let mut columns = Columns::new([
        "nonces refused",
        "orders",
        "all, ms",
        "key generation, ms",
        "besides, ms",
    ]);
    for at in &measured.at {
        let Spread { q1, median, q3 } = at.all_ms;
        columns.cells(vec![
            format!("{} %", at.nonces_refused),
            at.orders.to_string(),
            format!("{median:.1} ({q1:.1}–{q3:.1})"),
            format!("{:.2}", measured.p256_key_ms),
            format!("{:.1}", at.own_ms(measured.p256_key_ms)),
        ]);
    }
    columns.print();
    println!("  an RSA-2048 key takes {:.0} ms to make", measured.rsa2048_key_ms);
}

impl Issuance {
    /// By a CA that refuses no nonce, as CAs do; the other shows what that costs.
    pub(super) fn judge(&self, table: &mut Table) {
        for at in self.at.iter().filter(|at| at.nonces_refused == 0) {
            let what = "a certificate besides its key, no nonces refused";
            table.below(what, at.own_ms(self.p256_key_ms), LIMIT_MS, "ms");
        }
    }
}

impl Orders {
    fn own_ms(&self, key_ms: f64) -> f64 {
        self.all_ms.median - key_ms
    }
}

/// Keys that are not sealed, so that nothing else happens.
fn keys(ctl: &Ctl, service: u32, kind: &str, count: u32) -> Result<f64> {
    let before = Cpu::of(service)?;
    let made = (0..count).map(|number| {
        let name = format!("lab-bench-{kind}-{number}");
        let create = ["create", &name, "--type", kind, "--usage", "tls"];
        ctl.run(&[&create[..], &["--client", "www-data"]].concat())
    });
    let made: Vec<_> = made.collect::<Result<_>>()?;
    let spent = Cpu::of(service)?.since(&before);
    for id in made.iter().filter_map(|key| key["id"].as_str()) {
        ctl.run(&["retire", id, "--yes"])?;
    }
    Ok(spent / f64::from(count))
}

fn orders(rotations: &Rotations<'_>, lab: &Lab, service: u32, nonces_refused: u32, count: u32) -> Result<Orders> {
    pebble::restart(lab, nonces_refused)?;
    // The first makes an account too.
    order(rotations)?;
    let spent = (0..count).map(|_| {
        let before = Cpu::of(service)?;
        order(rotations)?;
        Ok(Cpu::of(service)?.since(&before))
    });
    let spent = spent.collect::<Result<_>>()?;
    Ok(Orders {
        nonces_refused,
        orders: count,
        all_ms: Spread::of(spent).context("no order")?,
    })
}

fn order(rotations: &Rotations<'_>) -> Result<()> {
    let rotation = rotations.begin(CERTIFICATE)?;
    rotations.wait(&rotation, "deployed")
}

/// Nanoseconds on a processor, by thread, but for those that sign: they work for servers, which are reloaded meanwhile. A thread that
/// ends is forgotten; those that work for an order live some seconds longer.
struct Cpu(BTreeMap<u32, u64>);

impl Cpu {
    fn of(pid: u32) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let path = task?.path();
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if SIGNING.iter().any(|begins| name.starts_with(begins)) {
                continue;
            }
            let number = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            // It may have ended since.
            let schedstat = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            let spent = schedstat.split(' ').next().and_then(|text| text.parse().ok());
            threads.extend(number.zip(spent));
        }
        Ok(Self(threads))
    }

    /// Milliseconds since then.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn since(&self, before: &Self) -> f64 {
        let own = |(thread, spent): (&u32, &u64)| spent.saturating_sub(before.0.get(thread).copied().unwrap_or(0));
        self.0.iter().map(own).sum::<u64>() as f64 / 1e6
    }
}

const CERTIFICATE: &str = "lab-acme-p256";
const LIMIT_MS: f64 = 20.0;
const NONCES_REFUSED: [u32; 2] = [0, 90];
const ORDERS: u32 = 10;
const QUICK_ORDERS: u32 = 5;
const P256_KEYS: u32 = 50;
const RSA_KEYS: u32 = 20;
/// How the names of threads that sign begin.
const SIGNING: [&str; 2] = ["sign-", "rsa-"];
