//! Whether it matters how many keys a service has: ten, or ten thousand, one in a hundred RSA.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::runner::{self, Runner, SERVER_CORE, Spread};
use super::show::{Columns, number, ratio};
use super::softhsm::signing_key;
use super::start::{self, Start};
use crate::build::Binaries;
use crate::lab::Lab;
use crate::paths::Paths;
use crate::process;
use crate::progress;
use crate::table::Table;

pub(super) const TITLE: &str = "Ten keys and ten thousand";

/// As `signbench keys` reports it, and the module's size.
#[derive(Deserialize, Serialize)]
pub(super) struct Keys {
    few: Filled,
    many: Filled,
    signing: runner::Report,
    by_id: runner::Report,
    by_label: runner::Report,
    fresh: Vec<Fresh>,
    #[serde(default)]
    module_bytes: u64,
    #[serde(default)]
    start: Option<Start>,
}

#[derive(Deserialize, Serialize)]
struct Filled {
    keys: u32,
    rsa: u32,
    empty: Memory,
    made: Memory,
    signed: Memory,
    making_s: f64,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct Memory {
    resident_kib: u32,
    peak_kib: u32,
}

#[derive(Deserialize, Serialize)]
struct Fresh {
    name: String,
    base: Cost,
    few: Cost,
    many: Cost,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
struct Cost {
    wall_ms: Spread,
    cpu_ms: Spread,
    peak_kib: Spread,
}

/// Measures beside a lab, whose NSM and policy the services take.
pub(super) fn measure(paths: &Paths, lab: &Lab, runner: &Runner, quick: bool) -> Result<Keys> {
    let dir = runner.directory().join("keys");
    fs::create_dir(&dir)?;
    let module = &lab.description().module;
    let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
    let plan = json!({
        "service": service(paths, lab, &dir)?,
        "dir": dir,
        "few": FEW,
        "many": MANY,
        "signer": runner.signer(),
        "module": module,
        "variable": CONFIGURATION,
        "token": lab.description().token,
        "core": SERVER_CORE,
        "slice_ms": SLICE_MS,
        "rounds": rounds,
        "most_rounds": runner::most_rounds(rounds),
        "fresh": programs(paths, lab, &dir)?,
        "runs": if quick { QUICK_RUNS } else { RUNS },
    });
    let file = dir.join("plan.json");
    fs::write(&file, serde_json::to_string_pretty(&plan)?)?;
    let answer = progress::step("ten keys and ten thousand", || {
        process::capture(Command::new(runner.program()).arg("keys").arg(&file))
    })?;
    let mut keys: Keys = serde_json::from_str(&answer).context("signbench's report is not as expected")?;
    keys.module_bytes = fs::metadata(module)?.len();
    let start = progress::step("NGINX's start", || start::measure(paths, lab, quick))?;
    keys.start = Some(start);
    Ok(keys)
}

/// The command of a service under the lab's policy, but for its sockets. It has the lab's NSM: registers last as long as a process.
fn service(paths: &Paths, lab: &Lab, dir: &Path) -> Result<Vec<String>> {
    let attestation = &lab.description().attestation;
    let nsm = dir.join("nsm");
    let lent = attestation.nsm.as_ref().context("the lab's service is no process")?;
    process::run(Command::new("cp").arg("-r").arg(lent).arg(&nsm))?;
    let words = [
        &Binaries::of(paths).service,
        Path::new("--policy"),
        &attestation.policy,
        Path::new("--nsm"),
        &nsm,
    ];
    Ok(words.map(|word| word.display().to_string()).to_vec())
}

/// Programs that sign once, as `signbench/keys` takes them.
fn programs(paths: &Paths, lab: &Lab, dir: &Path) -> Result<Vec<Value>> {
    let client = dir.join("client").display().to_string();
    let source = paths.workspace().join("tests/functional/c/client.c");
    process::run(
        Command::new("gcc")
            .args(["-O2", "-pthread", "-o", &client])
            .arg(source)
            .arg("-ldl"),
    )?;
    let module = lab.description().module.display().to_string();
    let own = signing_key(lab.description(), "P-256")?
        .private_key
        .as_ref()
        .context("no file")?;
    let digest = dir.join("digest").display().to_string();
    fs::write(&digest, [0x5a; 32])?;
    let mut programs = vec![
        json!({
            "name": "a C client, C_Initialize alone",
            "words": [client, module, "/dev/null"], "input": "initialize none\n",
            "base": [client], "environment": {},
        }),
        json!({
            "name": "a C client, a find by CKA_ID and a signature",
            "words": [client, module, "/dev/null"],
            "input": "initialize none\nopen\nfind {id}\nsign_init 1041 0\nsign zeros:32\n",
            "base": [client], "environment": {},
        }),
    ];
    for (via, form) in [
        ("provider", &[][..]),
        ("engine", &["-engine", "pkcs11", "-keyform", "engine"][..]),
    ] {
        let conf = lab
            .description()
            .openssl_conf
            .get(via)
            .with_context(|| format!("no {via}"))?;
        let sign = |key: &str| {
            ["openssl", "pkeyutl", "-sign", "-in", &digest, "-inkey", key]
                .map(str::to_owned)
                .to_vec()
        };
        // The lab's names the configuration of the lab's own service; here the environment does.
        let lines = fs::read_to_string(conf)?;
        let own_lines = lines.lines().filter(|line| !line.contains("config="));
        let conf = dir.join(format!("{via}.cnf"));
        fs::write(&conf, own_lines.fold(String::new(), |text, line| text + line + "\n"))?;
        let words = [sign("{uri}"), form.iter().copied().map(str::to_owned).collect()].concat();
        programs.push(json!({
            "name": format!("openssl pkeyutl, {via}"),
            "words": words, "input": "",
            "base": sign(&own.display().to_string()),
            "environment": { "OPENSSL_CONF": conf },
        }));
    }
    Ok(programs)
}

impl Keys {
    /// Of one key, in KiB, once each has signed.
    fn of_one(&self) -> f64 {
        let grown = self
            .many
            .signed
            .resident_kib
            .saturating_sub(self.many.empty.resident_kib);
        f64::from(grown) / f64::from(self.many.keys.max(1))
    }

    fn judge(&self) -> Table {
        let mut table = Table::new(["must hold", "is"]);
        let slower = self
            .signing
            .subject(MANY_NAME)
            .and_then(|many| many.ratio(FEW_NAME, "p50"));
        table.below(
            "C_Sign p50 with 10,000 keys by that with 10",
            slower.map_or(f64::MAX, |ratio| ratio.median),
            1.1,
            "times",
        );
        table.below("service's memory a key", self.of_one(), 16.0, "KiB");
        for fresh in self.fresh.iter().filter(|fresh| !fresh.name.contains("engine")) {
            let name = &fresh.name;
            table.below(
                &format!("{name}: from start to end"),
                fresh.many.wall_ms.median,
                100.0,
                "ms",
            );
            let more = fresh.many.peak_kib.median - fresh.base.peak_kib.median;
            table.below(
                &format!("{name}: memory over that without the module"),
                more / 1024.0,
                4.0,
                "MiB",
            );
        }
        if let Some(start) = &self.start {
            start.judge(&mut table);
        }
        let bytes = u32::try_from(self.module_bytes).map_or(f64::MAX, f64::from);
        table.below("the module", bytes / 1e6, 1.0, "MB");
        table
    }
}

pub(super) fn print(keys: &Keys) {
    let mut columns = Columns::new(["keys", "of them RSA", "made in, s", "resident, MiB", "of one key, KiB"]);
    for filled in [&keys.few, &keys.many] {
        let grown = f64::from(filled.signed.resident_kib.saturating_sub(filled.empty.resident_kib));
        columns.cells(vec![
            filled.keys.to_string(),
            filled.rsa.to_string(),
            format!("{:.1}", filled.making_s),
            format!("{:.1}", f64::from(filled.signed.resident_kib) / 1024.0),
            format!("{:.1}", grown / f64::from(filled.keys.max(1))),
        ]);
    }
    columns.print();
    println!();
    let mut columns = Columns::new([
        "µs, client and service on one core",
        "10 keys",
        "10,000",
        "times",
        "CPU 10 keys",
        "10,000",
    ]);
    for (what, report) in [
        ("C_SignInit and C_Sign, P-256", &keys.signing),
        ("a find by CKA_ID", &keys.by_id),
        ("a find by CKA_LABEL", &keys.by_label),
    ] {
        let of = |name: &str, figure: &str| number(report.subject(name).and_then(|subject| subject.figure(figure)));
        let times = report.subject(MANY_NAME).and_then(|many| many.ratio(FEW_NAME, "p50"));
        let mark = if report.subjects.iter().any(|subject| subject.disturbed) {
            " (disturbed)"
        } else {
            ""
        };
        columns.cells(vec![
            format!("{what}{mark}"),
            of(FEW_NAME, "p50"),
            of(MANY_NAME, "p50"),
            ratio(times),
            of(FEW_NAME, "cpu"),
            of(MANY_NAME, "cpu"),
        ]);
    }
    columns.print();
    println!();
    let mut columns = Columns::new([
        "a fresh process, median",
        "ms without the module",
        "10 keys",
        "10,000",
        "CPU, ms",
        "MiB without",
        "10 keys",
        "10,000",
    ]);
    for fresh in &keys.fresh {
        let [base, few, many] = [&fresh.base, &fresh.few, &fresh.many];
        let ms = |cost: &Cost| format!("{:.1}", cost.wall_ms.median);
        let mib = |cost: &Cost| format!("{:.1}", cost.peak_kib.median / 1024.0);
        columns.cells(vec![
            fresh.name.clone(),
            ms(base),
            ms(few),
            ms(many),
            format!("{:.1}", many.cpu_ms.median),
            mib(base),
            mib(few),
            mib(many),
        ]);
    }
    columns.print();
    println!();
    if let Some(start) = &keys.start {
        start.print();
        println!();
    }
    keys.judge().print();
}

const FEW: usize = 10;
const MANY: usize = 10_000;
/// As `signbench` calls its subjects.
const FEW_NAME: &str = "few";
const MANY_NAME: &str = "many";
/// Where the module finds its configuration.
const CONFIGURATION: &str = "ENCLAVE_TLS_PKCS11_CONFIG";
const SLICE_MS: u64 = 300;
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
const RUNS: usize = 20;
const QUICK_RUNS: usize = 7;
