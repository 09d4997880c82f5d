//! `cargo xtask`: everything a person does with this repository, each by one command.
//!
//! | command | what it does |
//! |---|---|
//! | `setup` | installs what the others need; they call it by themselves |
//! | `demo`  | the main job, shown and checked |
//! | `lab`   | the same stack in the background, described in `DIR/lab.json` |
//! | `test`  | all tests, by stage |
//! | `image` | the enclave's image, with its measurements |
//! | `kernel` | the image's kernel, built again |
//! | `package` | a deb and an RPM |
//! | `machine` | a machine that boots the image without Nitro |
//! | `bench` | what a signature and a handshake cost |
//!
//! It runs as root, or as a user with sudo, who is then asked for it once.

mod bench;
mod build;
mod demo;
mod elevate;
mod image;
mod lab;
mod machine;
mod package;
mod paths;
mod process;
mod progress;
mod setup;
mod table;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::lab::Enclave;
use crate::paths::Paths;

/// Builds, demonstrates and tests enclave-tls.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the Debian packages that the other commands need (they do it by themselves)
    Setup {
        /// Also those that the emulated machine is built with
        #[arg(long)]
        machine: bool,
        /// Also those that packages are made and tried with
        #[arg(long)]
        package: bool,
    },
    /// Show the main job: HTTPS from NGINX whose private keys only a separate service holds
    Demo {
        /// Leave everything running and say how to look at it and how to stop it
        #[arg(long)]
        keep: bool,
        /// Where the service runs
        #[arg(long, value_enum, default_value_t)]
        enclave: Enclave,
    },
    /// The demo's servers in the background, for tests and for looking around
    #[command(subcommand)]
    Lab(LabCommand),
    /// Run the tests, stage by stage
    Test(test::Options),
    /// Build the enclave's image, and say what it measures
    Image(image::Options),
    /// Build the image's kernel again, and compare it with the one in packaging/eif
    Kernel(image::kernel::Options),
    /// Make the deb and the RPM of module, agent, command and image
    Package(package::Options),
    /// Install a deb and an RPM on a copy of this system that a systemd of its own runs, and try them
    #[command(hide = true)]
    TryPackages(test::package::trial::Options),
    /// The emulated machine that boots the image
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Measure signatures and handshakes, against SoftHSM2 and a key in a file; attestation; the booted image
    Bench(bench::Options),
}

#[derive(Subcommand)]
enum LabCommand {
    /// Start a lab in DIR, which must be empty or absent; DIR/lab.json describes it
    Up {
        #[arg(long)]
        dir: PathBuf,
        /// Where the service runs
        #[arg(long, value_enum, default_value_t)]
        enclave: Enclave,
    },
    /// End the lab in DIR and remove what it made there
    Down {
        #[arg(long)]
        dir: PathBuf,
    },
    /// Say which labs run and where
    Status,
}

#[derive(Subcommand)]
enum MachineCommand {
    /// Build QEMU and its vsock device once, into the cache
    Setup,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let paths = Paths::find()?;
    match command {
        Command::Setup { machine, package } => {
            elevate::to_root(&paths, elevate::Prepare::Nothing)?;
            setup::run(&paths)?.print();
            if machine {
                machine::install(&paths)?;
            }
            if package {
                package::install(&paths)?;
            }
        }
        Command::Demo { keep, enclave } => {
            elevate::to_root(&paths, elevate::Prepare::Build(enclave))?;
            return demo::run(&paths, keep, enclave);
        }
        Command::Lab(LabCommand::Up { dir, enclave }) => {
            lab::must_be_free(&dir)?; // before minutes of building
            elevate::to_root(&paths, elevate::Prepare::Build(enclave))?;
            setup::run(&paths)?;
            enclave.build(&paths)?;
            let lab = lab::up(&paths, &dir, enclave)?;
            println!("{}", lab.place().description().display());
        }
        Command::Lab(LabCommand::Down { dir }) => {
            elevate::to_root(&paths, elevate::Prepare::Nothing)?;
            lab::down(&paths, &dir)?;
        }
        Command::Lab(LabCommand::Status) => lab::status(&paths)?,
        Command::Test(options) => return test::run(&paths, &options),
        Command::Image(options) => image::run(&paths, &options)?,
        Command::Kernel(options) => return image::kernel::run(&paths, &options),
        Command::Package(options) => package::run(&paths, &options)?,
        Command::TryPackages(options) => return test::package::trial::run(&options),
        Command::Machine(MachineCommand::Setup) => {
            machine::set_up(&paths)?;
        }
        Command::Bench(options) => {
            if !options.only_reads() {
                elevate::to_root(&paths, elevate::Prepare::Build(options.lab()))?;
                setup::run(&paths)?;
            }
            bench::run(&paths, &options)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
