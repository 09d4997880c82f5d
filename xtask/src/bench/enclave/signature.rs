//! C_Sign on a lab whose service runs in an emulated machine. `machinebench/sign.rs` says what that shows and what it does not.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::workshop::Workshop;
use crate::bench::runner::Spread;
use crate::bench::show::{Columns, ratio};
use crate::bench::softhsm::signing_key;
use crate::lab::{self, Description, Enclave};
use crate::paths::Paths;
use crate::progress;
use crate::table::Table;

/// As `machinebench` reports it.
#[derive(Deserialize, Serialize)]
pub(super) struct Signature {
    rounds: usize,
    kept: usize,
    disturbed: bool,
    module_us: Spread,
    raw_us: Spread,
    ping_us: Spread,
    service_us: Spread,
    module_by_raw: Spread,
}

/// Measures on a lab of its own.
pub(super) fn measure(paths: &Paths, workshop: &Workshop, quick: bool) -> Result<Signature> {
    let dir = workshop.lab();
    let lab = lab::up(paths, &dir, Enclave::Emulated)?;
    let measured = progress::step("measuring a signature through the bridge", || {
        on_lab(workshop, lab.description(), quick)
    });
    lab::down(paths, &dir)?;
    measured
}

fn on_lab(workshop: &Workshop, lab: &Description, quick: bool) -> Result<Signature> {
    let key = signing_key(lab, "P-256")?;
    let configuration = lab
        .env
        .get(CONFIGURATION)
        .context("the lab's module has no configuration")?;
    let credential = std::path::Path::new(configuration).with_file_name(CREDENTIAL);
    let plan = json!({
        "signer": workshop.signer()?,
        "module": lab.module,
        "token": lab.token,
        "label": key.label,
        "id": key.id,
        "signing": lab.signing,
        "credential": credential,
        "slice_ms": SLICE_MS,
        "rounds": if quick { QUICK_ROUNDS } else { ROUNDS },
    });
    workshop.measure("sign", &plan, lab.env.clone())
}

impl Signature {
    pub(super) fn print(&self) {
        let mut columns = Columns::new(["", "p50 (quartiles)"]);
        for (name, spread) in [
            ("P  an empty exchange, without the module", self.ping_us),
            ("S  the signature, without the module", self.raw_us),
            ("C  C_SignInit and C_Sign", self.module_us),
            ("S − P  the service's own time, emulated", self.service_us),
        ] {
            let Spread { q1, median, q3 } = spread;
            columns.cells(vec![name.to_owned(), format!("{median:.0} ({q1:.0}–{q3:.0})")]);
        }
        columns.cells(vec![
            "C / S  what the module adds".to_owned(),
            ratio(Some(self.module_by_raw)),
        ]);
        let mark = if self.disturbed { ", disturbed" } else { "" };
        columns.cells(vec![
            "rounds".to_owned(),
            format!("{}/{}{mark}", self.kept, self.rounds),
        ]);
        columns.print();
    }

    /// C / (P + (S − P)) is C / S.
    pub(super) fn judge(&self, table: &mut Table) {
        table.below(
            "C_Sign by exchange and service",
            self.module_by_raw.median,
            RATIO,
            "times",
        );
    }
}

const RATIO: f64 = 1.3;
/// A slice has some hundred operations under emulation.
const SLICE_MS: u64 = 300;
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
/// Where the module finds its configuration; the credential lies beside it.
const CONFIGURATION: &str = "ENCLAVE_TLS_PKCS11_CONFIG";
const CREDENTIAL: &str = "credential";
