//! The tests, by stage. A stage that fails does not keep the others from running, and at the end each has its verdict
//! and its minutes.

mod aarch64;
mod count;
mod deny;
mod docs;
mod e2e;
mod full;
mod image;
mod mutants;
pub(crate) mod package;
mod timing;
mod vsock;

use std::env;
use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use self::count::Counts;
use crate::build::cargo;
use crate::elevate;
use crate::lab::Enclave;
use crate::paths::Paths;
use crate::process;
use crate::progress::title;
use crate::setup::{pebble, promtool, python};
use crate::table::{Table, Verdict};

/// Which tests to run; by default the quick ones.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also soaks, long repeats and sanitizers
    #[arg(long)]
    full: bool,
    /// Only these stages (see --list), of the quick and of the full ones
    #[arg(long, value_name = "NAME", num_args = 1..)]
    part: Vec<String>,
    /// Only the stage `mutants`, and of its guards those in whose threat, text, file or tests one of these words stands
    #[arg(long, value_name = "WORD", num_args = 0.., conflicts_with_all = ["full", "part"])]
    mutants: Option<Vec<String>>,
    /// Say which stages there are
    #[arg(long)]
    list: bool,
}

/// One stage.
struct Stage {
    name: &'static str,
    about: &'static str,
    full_only: bool,
    run: fn(&Paths) -> Result<Counts>,
}

/// Runs the chosen stages; the exit status tells whether all passed.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<ExitCode> {
    for part in &options.part {
        ensure!(
            STAGES.iter().any(|stage| stage.name == part),
            "no stage {part}; see --list"
        );
    }
    let chosen = STAGES
        .iter()
        .filter(|stage| match (&options.mutants, options.part.is_empty()) {
            (Some(_), _) => stage.name == MUTANTS,
            (None, true) => options.full || !stage.full_only,
            (None, false) => options.part.iter().any(|part| part == stage.name),
        });
    if options.list {
        for stage in STAGES {
            writeln!(io::stdout(), "{:<12} {}", stage.name, stage.about)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut total = Counts::default();
    let mut table = Table::new(["stage", "minutes", "passed", "failed", "skipped"]);
    for stage in chosen {
        let (counts, time) = run_stage(stage, || match &options.mutants {
            Some(words) => mutants::some(paths, words),
            None => (stage.run)(paths),
        });
        let minutes = format!("{:.1}", time.as_secs_f64() / 60.0);
        let [passed, failed, skipped] = [counts.passed, counts.failed, counts.skipped].map(|count| count.to_string());
        table.row(
            [stage.name.into(), minutes, passed, failed, skipped],
            Verdict::of(counts.failed == 0),
        );
        total = total + counts;
    }
    title("Stages");
    table.print();
    println!(
        "\ntest: {} passed, {} failed, {} skipped",
        total.passed, total.failed, total.skipped
    );
    Ok(if total.failed == 0 && total.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_stage(stage: &Stage, run: impl FnOnce() -> Result<Counts>) -> (Counts, Duration) {
    title(&format!("{}: {}", stage.name, stage.about));
    let begin = Instant::now();
    let counts = run().unwrap_or_else(|error| {
        println!("{} FAILED: {error:#}", stage.name);
        Counts {
            failed: 1,
            ..Counts::default()
        }
    });
    (counts, begin.elapsed())
}

fn setup(paths: &Paths) -> Result<Counts> {
    Counts::of_one(&mut xtask(paths, &["setup"])?)
}

fn fmt(paths: &Paths) -> Result<Counts> {
    Counts::of_one(cargo(paths).args(["fmt", "--all", "--check"]))
}

fn clippy(paths: &Paths) -> Result<Counts> {
    Counts::of_one(cargo(paths).args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn unit(paths: &Paths) -> Result<Counts> {
    let mut command = cargo(paths);
    command.args(["test", "--quiet", "--workspace", "--exclude", "e2e", "--no-fail-fast"]);
    command.env(python::VARIABLE, python::interpreter(paths)?);
    command.env(promtool::VARIABLE, promtool::promtool(paths)?);
    command.envs(pebble::variables(paths)?);
    Counts::of_tests(&mut command)
}

fn build(paths: &Paths) -> Result<Counts> {
    crate::build::lab(paths)?;
    Ok(Counts::ONE)
}

fn demo(paths: &Paths) -> Result<Counts> {
    let mut counts = Counts::default();
    for enclave in [Enclave::Process, Enclave::Emulated] {
        if enclave == Enclave::Emulated {
            process::show(&mut xtask(paths, &["setup", "--machine"])?)?;
        }
        enclave.build(paths)?; // as this user, not as root
        counts = counts + Counts::of_one(&mut xtask(paths, &["demo", "--enclave", enclave.name()])?)?;
    }
    Ok(counts)
}

/// This program again, as root.
fn xtask(paths: &Paths, arguments: &[&str]) -> Result<Command> {
    let mut command = match elevate::is_root() {
        true => Command::new(env::current_exe()?),
        false => elevate::sudo(paths)?,
    };
    command.args(arguments);
    Ok(command)
}

const STAGES: &[Stage] = &[
    quick("setup", "the Debian packages that the rest needs", setup),
    quick("fmt", "every file is formatted", fmt),
    quick("clippy", "no warning, by the lints of the workspace", clippy),
    quick("deny", "bans, licences and sources of all dependencies", deny::run),
    quick("docs", "tests and paths that the documents name are there", docs::run),
    quick("unit", "the tests of every crate", unit),
    quick("build", "the release build of what follows", build),
    quick("image", "the image: measured, taken apart, booted", image::run),
    quick(
        "package",
        "deb and RPM: what is in them, and their units under a systemd",
        package::run,
    ),
    quick(
        "vsock",
        "the module's tests over vsocks, in a small machine",
        vsock::run,
    ),
    quick("e2e", "end to end, on a lab", e2e::run),
    quick(
        "emulated",
        "end to end, on the image booted by an emulated machine",
        e2e::emulated,
    ),
    quick("demo", "the demo, with its key scan, and on the emulated machine", demo),
    full(
        "reproducible",
        "the image built again elsewhere, by another, later",
        image::reproducible,
    ),
    full("kernel", "the image's kernel, built again and compared", image::kernel),
    full("aarch64", "built for 64-bit ARM too", aarch64::build),
    full("asan", "the module's tests with AddressSanitizer", full::asan),
    full("tsan", "the module's tests with ThreadSanitizer", full::tsan),
    full(
        "memcheck",
        "a threaded C client of the module under valgrind",
        full::memcheck,
    ),
    full(
        "timing",
        "whether times tell secrets: valgrind, and statistics on a lab",
        timing::run,
    ),
    full("fuzz", "the property tests, 200,000 cases each", full::fuzz),
    full(
        "store",
        "`store:` URIs, by NGINX and OpenSSL of a newer Debian",
        full::store,
    ),
    full("reloads", "100 reloads of each server under load", full::reloads),
    full("soak", "every end-to-end test, with its long repeats", full::soak),
    full("agent", "the agent is killed again and again under load", full::agent),
    full(
        "outages",
        "the emulated machine killed and paused 50 times under load",
        full::outages,
    ),
    full(
        "parent",
        "long tests of the parent alone, beside an emulated machine",
        full::parent,
    ),
    full(
        MUTANTS,
        "each guard taken away: the tests that stand for it must go red",
        mutants::run,
    ),
];

const MUTANTS: &str = "mutants";

const fn quick(name: &'static str, about: &'static str, run: fn(&Paths) -> Result<Counts>) -> Stage {
    Stage {
        name,
        about,
        full_only: false,
        run,
    }
}

const fn full(name: &'static str, about: &'static str, run: fn(&Paths) -> Result<Counts>) -> Stage {
    Stage {
        name,
        about,
        full_only: true,
        run,
    }
}
