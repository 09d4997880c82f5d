//! What the supervisor tells.

use std::fmt;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::adopt::{Difference, Refusal};
use crate::enclave::Enclave;
use crate::error::NitroError;
use crate::image::ImageError;

/// Something happened. Its text is for an administrator, with what to do where something is to be done.
#[derive(Debug)]
pub enum Event<'a> {
    Started {
        enclave: &'a Enclave,
    },
    /// It ran already. `differences` say what the next start will change.
    Adopted {
        enclave: &'a Enclave,
        differences: &'a [Difference],
        unmeasured: Option<&'a ImageError>,
    },
    Ended {
        ran: Duration,
        again: Duration,
    },
    StartFailed {
        error: &'a NitroError,
        again: Duration,
    },
    LookFailed {
        error: &'a NitroError,
        again: Duration,
    },
    Refused {
        refusal: &'a Refusal,
    },
    Replacing {
        enclave: &'a Enclave,
        differences: &'a [Difference],
    },
    NotTerminated {
        error: &'a NitroError,
    },
    Stopping,
    Stopped {
        ended: bool,
    },
}

impl Event<'_> {
    /// Somebody must do something, or wants to know why the servers cannot sign.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Started { .. } | Self::Stopping | Self::Stopped { .. } => false,
            Self::Adopted { differences, .. } => !differences.is_empty(),
            Self::Ended { .. }
            | Self::StartFailed { .. }
            | Self::LookFailed { .. }
            | Self::Refused { .. }
            | Self::Replacing { .. }
            | Self::NotTerminated { .. } => true,
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { enclave } => write!(f, "started {enclave}"),
            Self::Adopted {
                enclave,
                differences,
                unmeasured,
            } => {
                write!(f, "adopted {enclave}")?;
                if let Some(error) = unmeasured {
                    write!(f, "; not compared with its image: {error}")?;
                }
                if differences.is_empty() {
                    return Ok(());
                }
                write!(f, ", which is not what is configured: {}", Listed(differences))?;
                f.write_str("; it goes on serving until you run: systemctl restart enclave-tls-enclave.service")
            }
            Self::Ended { ran, again } => {
                write!(
                    f,
                    "the enclave ended after {} s; it is started again in {:.1} s",
                    ran.as_secs(),
                    again.as_secs_f32()
                )
            }
            Self::StartFailed { error, again } => {
                write!(
                    f,
                    "{error}; {}; tried again in {:.1} s",
                    error.advice(),
                    again.as_secs_f32()
                )
            }
            Self::LookFailed { error, again } => write!(
                f,
                "it is not known what runs, so nothing is started or ended: {error}; {}; looked again in {:.1} s",
                error.advice(),
                again.as_secs_f32()
            ),
            Self::Refused { refusal } => write!(f, "{refusal}; {}", refusal.advice()),
            Self::Replacing { enclave, differences } => {
                write!(
                    f,
                    "{enclave} is ended and started anew, since nobody reaches it: {}",
                    Listed(differences)
                )
            }
            Self::NotTerminated { error } => write!(f, "{error}; {}", error.advice()),
            Self::Stopping => f.write_str("ending the enclave"),
            Self::Stopped { ended: true } => f.write_str("the enclave is ended"),
            Self::Stopped { ended: false } => f.write_str("there was no enclave of ours to end"),
        }
    }
}

/// Tells systemd, where it listens: the event as the unit's status, and that the unit is ready. A unit whose enclave does not start
/// is up all the same, since it goes on trying, and its status says why.
pub fn notify_systemd(event: &Event<'_>) {
    let text = event.to_string();
    let mut states = vec![NotifyState::Status(&text)];
    match event {
        Event::Stopping => states.push(NotifyState::Stopping),
        Event::Stopped { .. } | Event::NotTerminated { .. } => {}
        Event::Started { .. }
        | Event::Adopted { .. }
        | Event::Ended { .. }
        | Event::StartFailed { .. }
        | Event::LookFailed { .. }
        | Event::Refused { .. }
        | Event::Replacing { .. } => states.push(NotifyState::Ready),
    }
    // Nobody to tell is no fault: outside of systemd there is no socket.
    drop(sd_notify::notify(&states));
}

struct Listed<'a>(&'a [Difference]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, difference) in self.0.iter().enumerate() {
            write!(f, "{}{difference}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    /// Only what starts a process can give it an environment.
    #[test]
    fn systemd_is_told() {
        let dir = crate::test_dir("notify");
        let socket = UnixDatagram::bind(dir.join("socket")).unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["supervisor::event::tests::tells", "--exact", "--ignored"])
            .env("NOTIFY_SOCKET", dir.join("socket"))
            .output()
            .unwrap();
        assert!(status.status.success());
        let mut told = [0; 512];
        for wanted in [
            "STATUS=the enclave ended after 7 s; it is started again in 1.0 s\nREADY=1\n",
            "STATUS=ending the enclave\nSTOPPING=1\n",
        ] {
            let length = socket.recv(&mut told).unwrap();
            assert_eq!(std::str::from_utf8(&told[..length]).unwrap(), wanted);
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    #[ignore = "run by the test above, in a process of its own"]
    fn tells() {
        notify_systemd(&Event::Ended {
            ran: Duration::from_secs(7),
            again: Duration::from_secs(1),
        });
        notify_systemd(&Event::Stopping);
    }
}
