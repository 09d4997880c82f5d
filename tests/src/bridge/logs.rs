//! The guest's log. Its connection says that the guest is there, so it is kept while the agent is away: records wait in the guest.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;

use super::Gate;

/// Carries the log of each boot.
pub(super) fn carry_all(dials: &UnixListener, agent: &Path, gate: &Arc<Gate>) {
    for guest in dials.incoming().filter_map(Result::ok) {
        let (agent, held) = (agent.to_owned(), gate.hold());
        thread::spawn(move || {
            drop(carry(guest, &agent)); // its end is what it is for
            drop(held);
        });
    }
}

/// Whole frames: an agent that comes back begins with one.
fn carry(mut guest: UnixStream, agent: &Path) -> io::Result<()> {
    let mut to: Option<UnixStream> = None;
    loop {
        let frame = frame(&mut guest)?;
        while to.as_mut().is_none_or(|agent| agent.write_all(&frame).is_err()) {
            if ended(&guest) {
                return Ok(());
            }
            sleep(PAUSE);
            to = UnixStream::connect(agent).ok();
        }
    }
}

fn frame(guest: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    guest.read_exact(&mut length)?;
    let body = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if body > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = length.to_vec();
    frame.resize(length.len() + body, 0);
    guest.read_exact(frame.get_mut(length.len()..).unwrap_or_default())?;
    Ok(frame)
}

/// Whether the guest has gone: it says nothing that was not read yet, and never will.
fn ended(guest: &UnixStream) -> bool {
    let mut poll = [rustix::event::PollFd::new(guest, rustix::event::PollFlags::RDHUP)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(rustix::event::poll(&mut poll, Some(&now)), Ok(1..))
}

/// The log plane's limit, as `PROTOCOL.md` gives it.
const LONGEST: usize = 8_192;
const PAUSE: Duration = Duration::from_millis(100);
