//! Stands between clients and a service, and holds each answer back for the same time, as if the service were further away: the distance
//! comes to whatever the service takes. One thread that waits: what it costs beside, on the core of client and service, no enclave would, and
//! is in the report.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::set_current_timer_slack;
use rustix::time::Timespec;

use super::cpu::{Pinned, this_process};
use super::stats;

/// Prints what a ping takes, once it listens, and serves until it is killed.
pub fn delay(listen: &str, service: &str, microseconds: u32, core: usize) -> io::Result<()> {
    // Waiting is to the microsecond, where the system's own is to fifty.
    set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    let mut pinned = Pinned::default();
    pinned.pin(this_process(), core).map_err(io::Error::other)?;
    let mut proxy = Proxy {
        listener: UnixListener::bind_addr(&abstract_name(listen)?)?,
        service: abstract_name(service)?,
        hold: Duration::ZERO,
        lines: Vec::new(),
    };
    let ping = proxy.tune(Duration::from_micros(microseconds.into()))?;
    println!("{:.1}", ping.as_secs_f64() * 1e6);
    loop {
        proxy.turn()?;
    }
}

struct Proxy {
    listener: UnixListener,
    service: SocketAddr,
    /// How long each answer stays here.
    hold: Duration,
    lines: Vec<Line>,
}

impl Proxy {
    /// Has a ping take so long. What a ping takes then.
    fn tune(&mut self, target: Duration) -> io::Result<Duration> {
        until_it_fits(target, || self.tune_once(target))
    }

    /// What passing on takes by itself is no part of the hold.
    fn tune_once(&mut self, target: Duration) -> io::Result<Duration> {
        // The first finds what passing on takes; the others what waiting takes beside.
        self.hold = corrected(self.hold, self.ping()?, target);
        let mut holds = Vec::new();
        for _ in 0..TRIALS {
            self.hold = corrected(self.hold, self.ping()?, target);
            holds.push(self.hold);
        }
        // One may have been disturbed.
        self.hold = middle(holds);
        let pings: io::Result<Vec<_>> = (0..TRIALS).map(|_| self.ping()).collect();
        pings.map(middle)
    }

    /// What an answer takes that needs no time, at the median: client, service and this on one core, as they are measured.
    fn ping(&mut self) -> io::Result<Duration> {
        let (mut client, of_client) = UnixStream::pair()?;
        let (mut service, of_service) = UnixStream::pair()?;
        self.lines.push(Line::new(of_client, of_service));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // The core stays awake, as it is while it is measured.
                while !is_over.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            });
            scope.spawn(move || {
                let mut request = [0; REQUEST];
                // Until the line ends.
                while service.read_exact(&mut request).is_ok() && service.write_all(&[0; REPLY]).is_ok() {}
            });
            let pings = scope.spawn(move || {
                let mut took = Vec::new();
                for _ in 0..PINGS {
                    let begin = Instant::now();
                    client.write_all(&[0; REQUEST])?;
                    client.read_exact(&mut [0; REPLY])?;
                    took.push(u32::try_from(begin.elapsed().as_nanos()).unwrap_or(u32::MAX));
                }
                Ok(took)
            });
            let mut passed_on = Ok(());
            while !self.lines.is_empty() && passed_on.is_ok() {
                passed_on = self.turn();
            }
            is_over.store(true, Ordering::Relaxed);
            passed_on?;
            let pings: io::Result<Vec<u32>> = pings.join().map_err(|_| io::Error::other("no pings"))?;
            let mut pings = pings?;
            pings.sort_unstable();
            Ok(Duration::from_secs_f64(stats::percentile(&pings, 50) / 1e9))
        })
    }

    /// Waits until something can be passed on, and does.
    fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.lines.retain_mut(|line| line.release(now).is_ok());
        let next = self.lines.iter().filter_map(Line::next).min();
        let limit = next.map(|next| next.saturating_duration_since(now));
        let ready = wait(&self.listener, &self.lines, limit)?;
        let release = Instant::now() + self.hold;
        let mut ended = Vec::new();
        for (line, ready) in self.lines.iter_mut().zip(ready.get(1..).unwrap_or_default().chunks(2)) {
            ended.push(line.pass_on(ready, release).is_err());
        }
        let mut ended = ended.into_iter();
        self.lines.retain(|_| !ended.next().unwrap_or(false));
        if ready.first() == Some(&true) {
            let (client, _) = self.listener.accept()?;
            self.lines
                .push(Line::new(client, UnixStream::connect_addr(&self.service)?));
        }
        Ok(())
    }
}

/// Tunes again where the machine moved meanwhile.
fn until_it_fits(target: Duration, mut tune: impl FnMut() -> io::Result<Duration>) -> io::Result<Duration> {
    let mut ping = tune()?;
    for _ in 1..ATTEMPTS {
        if ping.abs_diff(target) <= target / TOLERANCE {
            break;
        }
        ping = tune()?;
    }
    Ok(ping)
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// How long to hold an answer, where a ping with this hold took so long.
fn corrected(hold: Duration, took: Duration, target: Duration) -> Duration {
    (hold + target).saturating_sub(took)
}

/// A client and its connection to the service.
struct Line {
    client: UnixStream,
    service: UnixStream,
    /// Answers, and when they go out.
    held: VecDeque<(Instant, Vec<u8>)>,
}

impl Line {
    fn new(client: UnixStream, service: UnixStream) -> Self {
        Self {
            client,
            service,
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

    /// Whichever side has something to say; an answer goes out later.
    fn pass_on(&mut self, ready: &[bool], release: Instant) -> io::Result<()> {
        let &[of_client, of_service] = ready else {
            return Ok(());
        };
        let mut buffer = [0; 8_192];
        if of_client {
            let request = read(&mut self.client, &mut buffer)?;
            self.service.write_all(request)?;
        }
        if of_service {
            let answer = read(&mut self.service, &mut buffer)?.to_vec();
            self.held.push_back((release, answer));
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

/// Bytes of a ping, as many as of a signature with P-256.
const REQUEST: usize = 81;
const REPLY: usize = 111;
/// Some tens of milliseconds.
const PINGS: usize = 400;
const TRIALS: usize = 5;
/// A twentieth of the target.
const TOLERANCE: u32 = 20;
const ATTEMPTS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passing_on_takes_is_no_part_of_the_hold() {
        let us = Duration::from_micros;
        assert_eq!(corrected(us(0), us(10), us(124)), us(114));
        // Waiting takes longer than it should.
        assert_eq!(corrected(us(114), us(130), us(124)), us(108));
        assert_eq!(corrected(us(0), us(140), us(124)), us(0));
    }

    #[test]
    fn a_distance_that_does_not_fit_is_tuned_again_and_not_for_ever() {
        let us = Duration::from_micros;
        let mut pings = [us(141), us(117), us(118), us(124)].into_iter();
        assert_eq!(until_it_fits(us(124), || Ok(pings.next().unwrap())).unwrap(), us(118));
        let mut tuned = 0;
        let ping = until_it_fits(us(124), || {
            tuned += 1;
            Ok(us(141))
        });
        assert_eq!((ping.unwrap(), tuned), (us(141), ATTEMPTS));
    }

    #[test]
    fn every_answer_is_held_however_long_the_service_took() {
        let (client, of_client) = UnixStream::pair().unwrap();
        let (mut service, of_service) = UnixStream::pair().unwrap();
        let mut line = Line::new(of_client, of_service);
        service.write_all(b"late").unwrap();
        let release = Instant::now() + Duration::from_millis(1);
        line.pass_on(&[false, true], release).unwrap();
        assert_eq!(line.next(), Some(release));
        client.set_nonblocking(true).unwrap();
        let mut answer = [0; 4];
        line.release(release - Duration::from_micros(1)).unwrap();
        assert!((&client).read(&mut answer).is_err());
        line.release(release).unwrap();
        assert_eq!(((&client).read(&mut answer).unwrap(), &answer), (4, b"late"));
    }
}
