//! Stands between clients and a service, and holds each answer back until a given time after its request, as if the service were
//! further away. One thread that waits: what it costs beside is little, and is printed.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::set_current_timer_slack;
use rustix::time::Timespec;

/// Serves until it is killed.
pub fn delay(listen: &str, service: &str, microseconds: u32) -> io::Result<()> {
    // Waiting is to the microsecond, where the system's own is to fifty.
    set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let listener = UnixListener::bind_addr(&abstract_name(listen)?)?;
    let service = abstract_name(service)?;
    let delay = Duration::from_micros(microseconds.into());
    let mut lines: Vec<Line> = Vec::new();
    loop {
        let now = Instant::now();
        lines.retain_mut(|line| line.release(now).is_ok());
        let next = lines.iter().filter_map(Line::next).min();
        let ready = wait(&listener, &lines, next.map(|next| next.saturating_duration_since(now)))?;
        let now = Instant::now();
        let mut each = ready.iter();
        if each.next() == Some(&true) {
            let (client, _) = listener.accept()?;
            lines.push(Line::new(client, UnixStream::connect_addr(&service)?));
        }
        let mut ended = Vec::new();
        for (line, ready) in lines.iter_mut().zip(ready.get(1..).unwrap_or_default().chunks(2)) {
            ended.push(line.pass_on(ready, now, delay).is_err());
        }
        let mut ended = ended.into_iter();
        lines.retain(|_| !ended.next().unwrap_or(false));
    }
}

/// A client and its connection to the service.
struct Line {
    client: UnixStream,
    service: UnixStream,
    /// When each request came that has no answer yet.
    asked: VecDeque<Instant>,
    /// Answers, and when they go out.
    held: VecDeque<(Instant, Vec<u8>)>,
}

impl Line {
    fn new(client: UnixStream, service: UnixStream) -> Self {
        Self {
            client,
            service,
            asked: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    fn next(&self) -> Option<Instant> {
        self.held.front().map(|(when, _)| *when)
    }

    /// Sends what has been held long enough.
    fn release(&mut self, now: Instant) -> io::Result<()> {
        while self.next().is_some_and(|when| when <= now) {
            if let Some((_, bytes)) = self.held.pop_front() {
                self.client.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    /// Whichever side has something to say.
    fn pass_on(&mut self, ready: &[bool], now: Instant, delay: Duration) -> io::Result<()> {
        let &[of_client, of_service] = ready else {
            return Ok(());
        };
        let mut buffer = [0; 8_192];
        if of_client {
            let request = read(&mut self.client, &mut buffer)?;
            self.asked.push_back(now);
            self.service.write_all(request)?;
        }
        if of_service {
            let answer = read(&mut self.service, &mut buffer)?.to_vec();
            let asked = self.asked.pop_front().unwrap_or(now);
            self.held.push_back((asked + delay, answer));
        }
        Ok(())
    }
}

/// A message that came at once, as those of this protocol do; an end is an error.
fn read<'a>(stream: &mut UnixStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    match stream.read(buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(buffer.get(..count).unwrap_or_default()),
    }
}

/// Who is ready: the listener, then client and service of each line.
fn wait(listener: &UnixListener, lines: &[Line], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut all = vec![PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
    for line in lines {
        for stream in [&line.client, &line.service] {
            all.push(PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN));
        }
    }
    let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    poll(&mut all, limit.as_ref())?;
    Ok(all.iter().map(|one| !one.revents().is_empty()).collect())
}

fn abstract_name(address: &str) -> io::Result<SocketAddr> {
    let name = address.strip_prefix("unix:@").ok_or(io::ErrorKind::InvalidInput)?;
    SocketAddr::from_abstract_name(name)
}
