//! The service on the NSM stand-in: the release program's own `main`, and an option more.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use emulator_nsm::{Options, StandIn};
use enclave_attestation::Nsm;
use enclave_tls::boot::{OwnNsm, main_with};

fn main() -> ExitCode {
    main_with(&OwnNsm {
        program: "lab-service",
        about: "the stand-in NSM's directory: its nsm.toml, and its PKI, which is made there at the first start",
        open: stand_in,
    })
}

/// A module as an enclave finds it at boot: registers last as long as the process, as they last as long as an enclave.
fn stand_in(dir: &Path) -> Result<Arc<dyn Nsm>, String> {
    let options = Options::from_file(dir).map_err(|error| error.to_string())?;
    let stand_in = StandIn::start(options).map_err(|error| error.to_string())?;
    Ok(Arc::new(stand_in))
}
