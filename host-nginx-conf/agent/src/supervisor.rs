//! `enclave-tls-agent enclave`: keeps the configured enclave running, in a unit and a control group of its own, which the agent's
//! restarts leave alone.
//!
//! The file is read once: what it says of the enclave holds for the enclave's life, and a restart of the unit reads it again.

use std::path::Path;

use enclave_tls_config::Config;
use enclave_tls_nitro::{Event, NitroCli, SystemClock, notify_systemd, supervise};

use crate::{log, watch};

/// Returns when SIGTERM or SIGINT asked for it and the enclave is ended.
pub fn run(config: &Path) -> Result<(), String> {
    // Before anything is started: a signal that comes meanwhile must end the enclave too.
    let clock = SystemClock::new().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let config = Config::load(config).map_err(|error| error.to_string())?;
    log::set_form(config.agent.log);
    let cli = NitroCli::new(&config.enclave.nitro_cli);
    let tell = |event: &Event<'_>| {
        logged(event).say(event);
        notify_systemd(event);
    };
    // It was told already, with what to do.
    supervise(cli, clock, &watch::options(&config), tell).map_err(|_| "the enclave may still run".to_owned())
}

fn logged(event: &Event<'_>) -> log::Event {
    match event {
        Event::Started { .. } => log::Event::EnclaveStarted,
        Event::Adopted { differences: [], .. } => log::Event::EnclaveAdopted,
        Event::Adopted { .. } => log::Event::EnclaveDiffers,
        Event::Ended { .. } => log::Event::EnclaveEnded,
        Event::StartFailed { .. } => log::Event::EnclaveStartFailed,
        Event::LookFailed { .. } => log::Event::EnclaveUnknown,
        Event::Refused { .. } => log::Event::EnclaveRefused,
        Event::Replacing { .. } => log::Event::EnclaveReplaced,
        Event::NotTerminated { .. } => log::Event::EnclaveNotTerminated,
        Event::Stopping => log::Event::EnclaveStopping,
        Event::Stopped { .. } => log::Event::EnclaveStopped,
    }
}
