//! NGINX's test and start with many server blocks, against the same with keys in files.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::workshop::Workshop;
use crate::bench::runner::Spread;
use crate::bench::show::{Columns, ratio};
use crate::lab::{Many, Startable};
use crate::progress;
use crate::table::Table;

/// As `agentbench` reports it.
#[derive(Deserialize, Serialize)]
pub(super) struct Starts {
    test: Compared,
    start: Compared,
}

#[derive(Deserialize, Serialize)]
struct Compared {
    pairs: usize,
    base_cpu_ms: Spread,
    base_wall_ms: Spread,
    cpu_ms: Spread,
    wall_ms: Spread,
    cpu_ratio: Spread,
    wall_ratio: Spread,
}

pub(super) fn measure(workshop: &Workshop<'_>, many: &Many) -> Result<Starts> {
    progress::step("making as many keys in files", || {
        workshop.measure::<Value>("files", &json!({ "dir": many.files, "names": many.names }))
    })?;
    let plan = json!({
        "base": server(&many.control),
        "other": server(&many.server),
        "pairs": if workshop.quick { QUICK_PAIRS } else { PAIRS },
    });
    progress::step("starting NGINX, again and again", || workshop.measure("starts", &plan))
}

fn server(server: &Startable) -> Value {
    let mut test = server.words.clone();
    test.extend(["-t".into(), "-q".into()]);
    json!({
        "test": test,
        "start": server.words,
        "environment": server.environment,
        "pid_file": server.files.pid_file,
        "address": server.address,
    })
}

pub(super) fn print(all: &[(&str, &Starts)]) {
    let mut columns = Columns::new([
        "median",
        "CPU with files, ms",
        "CPU, ms",
        "times (quartiles)",
        "with files, ms",
        "ms",
        "times (quartiles)",
    ]);
    for (name, starts) in all {
        for (what, compared) in [("nginx -t", &starts.test), ("start to listening", &starts.start)] {
            columns.cells(vec![
                format!("{name}, {what}"),
                format!("{:.0}", compared.base_cpu_ms.median),
                format!("{:.0}", compared.cpu_ms.median),
                ratio(Some(compared.cpu_ratio)),
                format!("{:.0}", compared.base_wall_ms.median),
                format!("{:.0}", compared.wall_ms.median),
                ratio(Some(compared.wall_ratio)),
            ]);
        }
    }
    columns.print();
}

impl Starts {
    pub(super) fn judge(&self, table: &mut Table) {
        for (what, compared) in [("nginx -t", &self.test), ("NGINX's start", &self.start)] {
            for (of, ratio) in [("CPU", compared.cpu_ratio), ("time", compared.wall_ratio)] {
                let what = format!("{what}, {of} by that with files");
                table.below(&what, ratio.median, TIMES, "times");
            }
        }
    }
}

/// Of the provider. The engine's is measured, and has no target.
const TIMES: f64 = 3.0;
const PAIRS: usize = 5;
const QUICK_PAIRS: usize = 3;
