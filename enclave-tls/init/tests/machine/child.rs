//! What the service does in a test, under the release's filter.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::rsa::{KeyPair, KeySize};
use emulator_nsm::{Options, StandIn};
use enclave_attestation::Nsm;
use enclave_tls::boot::{OwnNsm, main_with};
use rustix::process::{Pid, Signal, kill_process};

pub(super) fn main() -> ExitCode {
    // What to do stands in PID 1's arguments: it has no others to give.
    let line = std::fs::read_to_string("/proc/1/cmdline").unwrap();
    let behaviour = line.trim_end_matches('\0').rsplit('\0').next().unwrap_or_default();
    // The stand-in makes files, as a device does not.
    let options = Options::from_file("/run/nsm".as_ref()).unwrap();
    let _ = NSM.set(Arc::new(StandIn::start(options).unwrap()));
    enclave_init::confine::this_process().unwrap();
    say(" INFO child: about to");
    match behaviour {
        "mkdir" => drop(std::fs::create_dir("/run/made")),
        "exec" => drop(Command::new("/init").status()),
        "inet" => drop(TcpListener::bind("127.0.0.1:0")),
        "unix" => drop(UnixListener::bind("/run/made")),
        "kill" => drop(kill_process(Pid::INIT, Signal::TERM)),
        "storm" => storm(),
        "service" => return service(),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// The release program's way from its command line to its planes, on the stand-in NSM; and, beside it, what its threads do.
fn service() -> ExitCode {
    std::thread::spawn(|| {
        let made = KeyPair::generate(KeySize::Rsa2048).is_ok();
        let caught = std::panic::catch_unwind(|| panic!("in a connection")).is_err();
        // Long enough to dial control many times.
        std::thread::sleep(Duration::from_millis(500));
        if made && caught {
            say(" INFO child: work is done");
        }
        std::process::exit(7)
    });
    main_with(&OwnNsm {
        program: "child",
        about: "a directory",
        open: |_| NSM.get().cloned().ok_or_else(|| "none".to_owned()),
    })
}

fn storm() {
    for number in 0..100_000 {
        say(&format!(" INFO child: line {number}"));
    }
}

fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

static NSM: OnceLock<Arc<dyn Nsm>> = OnceLock::new();
