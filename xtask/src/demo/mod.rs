//! The demo: the main job from nothing, shown in tables, each row of which was checked.

mod client;
mod handshakes;
mod load;
mod measured;
mod proof;
mod rotation;
mod scan;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::build;
use crate::lab::{self, Ctl, Description, Enclave, Interrupt, Lab};
use crate::paths::Paths;
use crate::progress::{Paint, title};
use crate::setup;
use crate::table::Table;

/// Runs the demo; the exit status tells whether everything was as it should be.
pub(crate) fn run(paths: &Paths, keep: bool, enclave: Enclave) -> Result<ExitCode> {
    title("Set-up");
    let changes = setup::run(paths)?;
    enclave.build(paths)?;
    let binaries = build::Binaries::of(paths);
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random)?;
    let dir = env::temp_dir().join(format!("enclave-tls-demo-{}", hex::encode(random)));
    let lab = lab::up(paths, &dir, enclave)?;
    let interrupt = Interrupt::ends(paths, &dir)?;
    let shown = show(&lab, &binaries);
    drop(interrupt);
    if keep {
        how_to_look(&lab);
    } else {
        lab::down(paths, &dir)?;
    }
    title("What this changed on the system");
    changes.print();
    let holds = shown?;
    println!(
        "\n{}",
        if holds {
            Paint::Good.on("All of it holds.")
        } else {
            Paint::Bad.on("Not all of it holds: see above.")
        }
    );
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(lab: &Lab, binaries: &build::Binaries) -> Result<bool> {
    title("Handshakes, each by `openssl s_client`, which verified chain and name; the leaf has the expected key");
    let handshakes = handshakes::all(lab.description())?;
    handshakes.print();
    title(
        "What an administrator sees: `enclave-tlsctl certificates`; the agent did the rest, from one configuration file",
    );
    let certificates = Ctl::new(lab.place(), binaries).text(&["certificates"])?;
    println!("{}", indented(&certificates));
    if lab.description().enclave == Enclave::Emulated {
        return show_machine(lab, binaries, &handshakes);
    }
    title("Where the private keys are: memory of each process searched for every form of every key");
    let scan = scan::all(lab, &binaries.keyscan)?;
    scan.print();
    println!("  The last rows are controls: there the keys are, so the search must find them.");
    title(
        "Which code holds these keys: attested by the NSM (here its stand-in), checked by `enclave-tlsctl verify https://…`",
    );
    let proof = proof::all(lab, binaries)?;
    proof.print();
    println!("  The keys of origin `bundle` came through KMS, which opened them for this image and this policy alone.");
    let rotated = show_rotation(lab, binaries)?;
    Ok(handshakes.all_hold() && scan.all_hold() && proof.all_hold() && rotated)
}

/// Last: what came before looks at the keys that the lab began with.
fn show_rotation(lab: &Lab, binaries: &build::Binaries) -> Result<bool> {
    title("New keys and certificates while clients make handshakes, each of which verifies chain, name and signature");
    let rotated = rotation::all(lab, binaries)?;
    rotated.print();
    title(&format!(
        "What became of one: `enclave-tlsctl history {}`",
        rotation::ORDERED
    ));
    let history = Ctl::new(lab.place(), binaries).text(&["history", rotation::ORDERED])?;
    println!("{}", indented(&history));
    Ok(rotated.all_hold())
}

/// Where the service runs in an emulated machine: the memory of that belongs to QEMU and to its vsock device, both processes of this
/// host, so a search would find the keys in them.
fn show_machine(lab: &Lab, binaries: &build::Binaries, handshakes: &Table) -> Result<bool> {
    title("What was booted: its registers, as its own NSM has them");
    let measured = measured::all(lab, binaries)?;
    measured.print();
    println!("  The keys of origin `bundle` came through KMS, which opened them for this image and this policy alone.");
    println!(
        "  This machine's NSM signs nothing, and the lab's KMS was told to believe it: only a Nitro enclave proves what it is."
    );
    println!(
        "SKIPPED the key scan: this machine's memory belongs to QEMU and its vsock device, processes of this host."
    );
    let rotated = show_rotation(lab, binaries)?;
    Ok(handshakes.all_hold() && measured.all_hold() && rotated)
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("  {line}\n")).collect()
}

fn how_to_look(lab: &Lab) {
    let root = lab.place().root();
    title("It is still running");
    println!("  Described in   {}", lab.place().description().display());
    println!("  Logs in        {}", lab.place().logs().display());
    println!("  Ask a server   {}", curl(lab.description(), root));
    println!("  Stop it        cargo xtask lab down --dir {}", root.display());
}

fn curl(description: &Description, root: &Path) -> String {
    let Some(end) = description.endpoints.iter().find(|end| end.via == "provider") else {
        return format!("see {}", root.display());
    };
    format!(
        "curl --cacert {} --resolve {name}:{port}:{} https://{name}:{port}/",
        description.ca.display(),
        end.host,
        name = end.name,
        port = end.port
    )
}
