//! As much of HTTP/1.1 as serves three pages: `GET`, no body, one request a connection. Written here, strict and bounded, for a library
//! would bring an asynchronous runtime into threads that must not fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_admin::deadline::Deadline;
use enclave_tls_config::Metrics as Place;

use super::listening::{Listening, Stream, Takes};
use crate::Shared;
use crate::log::Event;

/// Serves where the configuration says.
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    serves: Serves,
    pages: Box<Pages>,
    /// Where it is to listen, and who does.
    place: Shared<(Place, Option<Listening>)>,
    /// Why nobody listens there, while nobody does.
    trouble: Shared<Option<String>>,
    connections: Shared<Connections>,
}

/// The connections that there are, by their numbers: the oldest is the first.
#[derive(Default)]
struct Connections {
    last: u64,
    /// With the stream of each that has not yet said what it wants.
    open: BTreeMap<u64, Option<Arc<Stream>>>,
}

/// What a server is for.
pub(crate) struct Serves {
    /// What it is called where something is wrong with it.
    pub(crate) what: &'static str,
    /// What is said then.
    pub(crate) failed: Event,
    /// What is said once it is well again.
    pub(crate) well: Event,
    /// What somebody is told who asks for something else.
    pub(crate) not_found: &'static str,
    /// How many connections there are at a time. Each costs a thread and a page.
    pub(crate) connections: usize,
}

/// The answer to who asks for a path, where there is one.
type Pages = dyn Fn(&str) -> Option<Answer> + Send + Sync;

/// An answer to who asked for a page.
pub(crate) struct Answer {
    status: Status,
    form: &'static str,
    body: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Malformed,
    NotFound,
    NotGet,
    TooLong,
    Unavailable,
}

impl Answer {
    pub(super) fn metrics(body: String) -> Self {
        let form = "text/plain; version=0.0.4; charset=utf-8";
        Self {
            form,
            ..Self::text(Status::Ok, body)
        }
    }

    /// A page of text.
    pub(crate) fn page(body: String) -> Self {
        Self::text(Status::Ok, body)
    }

    pub(super) fn text(status: Status, body: String) -> Self {
        let form = "text/plain; charset=utf-8";
        Self { status, form, body }
    }

    fn bytes(&self) -> Vec<u8> {
        let (line, more) = match self.status {
            Status::Ok => ("200 OK", ""),
            Status::Malformed => ("400 Bad Request", ""),
            Status::NotFound => ("404 Not Found", ""),
            Status::NotGet => ("405 Method Not Allowed", "Allow: GET\r\n"),
            Status::TooLong => ("431 Request Header Fields Too Large", ""),
            Status::Unavailable => ("503 Service Unavailable", ""),
        };
        let Self { form, body, .. } = self;
        let length = body.len();
        format!(
            "HTTP/1.1 {line}\r\nContent-Type: {form}\r\nContent-Length: {length}\r\n{more}Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

impl Server {
    /// Of metrics and health.
    pub(crate) fn new(pages: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self::of(METRICS, pages)
    }

    pub(crate) fn of(serves: Serves, pages: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            serves,
            pages: Box::new(pages),
            place: Shared::new((Place::None, None)),
            trouble: Shared::default(),
            connections: Shared::default(),
        }))
    }

    /// Listens there from now on, and nowhere else. Where it cannot, that is said, and it is tried again for as long as the place stays
    /// this; at once when this is called.
    pub(crate) fn listen(&self, place: &Place) {
        let mut current = self.0.place.lock();
        if current.0 == *place && self.trouble().is_none() {
            return;
        }
        // Before the next is bound: both may be of one port.
        if let Some(older) = current.1.take() {
            older.end();
        }
        current.0 = place.clone();
        if *place == Place::None {
            *self.0.trouble.lock() = None;
            return;
        }
        current.1 = Some(Listening::on(place.clone(), Arc::clone(&self.0)));
    }

    /// Why nobody listens, though somebody should.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().clone()
    }
}

impl Takes for Arc<Inner> {
    fn take(&self, stream: Stream) {
        let Some((number, stream)) = self.connections.lock().add(stream, self.serves.connections) else {
            return; // Who scrapes comes again.
        };
        let inner = Arc::clone(self);
        std::thread::spawn(move || {
            inner.serve(number, &stream);
            inner.connections.lock().open.remove(&number);
        });
    }

    fn failed(&self, error: &io::Error) {
        let Serves { what, failed, .. } = &self.serves;
        failed.say(format_args!("{what}: a connection failed: {error}"));
    }

    fn bound(&self, outcome: Result<(), &str>) {
        let Serves { what, failed, well, .. } = &self.serves;
        let newer = outcome.err().map(str::to_owned);
        let older = std::mem::replace(&mut *self.trouble.lock(), newer.clone());
        match (&older, newer) {
            (_, Some(why)) if older.as_ref() != Some(&why) => {
                failed.say(format_args!("{what}: nothing is served, and it is tried again: {why}"));
            }
            (Some(_), None) => well.say(format_args!("{what}: it is served again")),
            (_, Some(_)) | (None, None) => {}
        }
    }
}

impl Inner {
    fn serve(&self, number: u64, stream: &Stream) {
        let asked = read(stream);
        // Whoever was closed in favour of another gets no answer.
        if !self.connections.lock().has_asked(number) {
            return;
        }
        let answer = match asked {
            Ok(path) => {
                (self.pages)(&path).unwrap_or_else(|| Answer::text(Status::NotFound, self.serves.not_found.to_owned()))
            }
            Err(Some(status)) => Answer::text(status, String::new()),
            Err(None) => return, // Nobody is left to tell, or he is too slow.
        };
        drop(write(stream, &answer.bytes()));
    }
}

impl Connections {
    /// Its number. Where there are as many as there may be, the oldest that has not asked for anything gives way: who holds
    /// connections open shuts nobody out. None where all have asked.
    fn add(&mut self, stream: Stream, most: usize) -> Option<(u64, Arc<Stream>)> {
        if self.open.len() >= most {
            let (oldest, idle) = self
                .open
                .iter()
                .find_map(|(number, idle)| Some((*number, idle.as_ref()?)))?;
            idle.end();
            self.open.remove(&oldest);
        }
        let stream = Arc::new(stream);
        self.last = self.last.saturating_add(1);
        self.open.insert(self.last, Some(Arc::clone(&stream)));
        Some((self.last, stream))
    }

    /// From now on it gives way to nobody. Whether it had not already.
    fn has_asked(&mut self, number: u64) -> bool {
        self.open.get_mut(&number).map(|idle| *idle = None).is_some()
    }
}

/// The path that is asked for; or what to answer instead, if anything.
fn read(stream: &Stream) -> Result<String, Option<Status>> {
    let deadline = Deadline::after(REQUEST_WITHIN);
    let mut buffer = [0; MAX_REQUEST];
    let mut length: usize = 0;
    loop {
        let left = deadline.left().ok_or(None)?;
        let free = buffer.get_mut(length..).unwrap_or_default();
        if free.is_empty() {
            return Err(Some(Status::TooLong));
        }
        match stream.read(free, left) {
            Ok(0) | Err(_) => return Err(None),
            Ok(more) => length = length.saturating_add(more),
        }
        let got = buffer.get(..length).unwrap_or_default();
        if let Some(end) = got.windows(END.len()).position(|window| window == END) {
            let head = got.get(..end).unwrap_or_default();
            return path(head).map_err(Some);
        }
    }
}

/// Reads a request's head, without the empty line.
fn path(head: &[u8]) -> Result<String, Status> {
    let head = std::str::from_utf8(head).map_err(|_| Status::Malformed)?;
    if head.chars().any(|c| c.is_control() && !"\r\n\t".contains(c)) {
        return Err(Status::Malformed);
    }
    let mut lines = head.split("\r\n");
    let words: Vec<_> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else {
        return Err(Status::Malformed);
    };
    let mut hosts = 0_u32;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Status::Malformed)?;
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_token) || value.contains(['\r', '\n']) {
            return Err(Status::Malformed);
        }
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts = hosts.saturating_add(1),
            "transfer-encoding" => return Err(Status::Malformed),
            "content-length" if value.trim() != "0" => return Err(Status::Malformed),
            _ => {}
        }
    }
    let is_version = version == "HTTP/1.0" || (version == "HTTP/1.1" && hosts == 1);
    if !is_version || !target.starts_with('/') || target.contains('\r') || method.is_empty() {
        return Err(Status::Malformed);
    }
    if method != "GET" {
        return Err(Status::NotGet);
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Ok(path.to_owned())
}

fn write(stream: &Stream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Deadline::after(ANSWER_WITHIN);
    while !bytes.is_empty() {
        let left = deadline.left().ok_or(io::ErrorKind::TimedOut)?;
        let written = stream.write(bytes, left)?;
        bytes = bytes
            .get(written..)
            .filter(|_| written > 0)
            .ok_or(io::ErrorKind::WriteZero)?;
    }
    Ok(())
}

const METRICS: Serves = Serves {
    what: "metrics",
    failed: Event::MetricsFailed,
    well: Event::MetricsServed,
    not_found: "There are /metrics, /healthz and /readyz.\n",
    connections: MAX_CONNECTIONS,
};
const END: &[u8] = b"\r\n\r\n";
/// What a collector sends has some 300 bytes.
const MAX_REQUEST: usize = 4_096;
/// A collector on this machine sends at once.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// A page of 1,000 certificates has some 500 KB.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Collectors, and somebody with a browser.
const MAX_CONNECTIONS: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_what_is_exactly_a_request_is_one() {
        let taken = |head: &str| path(head.as_bytes());
        assert_eq!(taken("GET /metrics HTTP/1.1\r\nHost: a").unwrap(), "/metrics");
        assert_eq!(taken("GET /metrics?a=b HTTP/1.0").unwrap(), "/metrics");
        assert_eq!(taken("GET / HTTP/1.1\r\nhost:\r\nContent-Length: 0").unwrap(), "/");
        assert_eq!(taken("POST / HTTP/1.1\r\nHost: a"), Err(Status::NotGet));
        for bad in [
            "",
            "GET",
            "GET /",
            "GET  / HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b",
            "GET / HTTP/2\r\nHost: a",
            "GET http://a/ HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.1\nHost: a",
            "GET / HTTP/1.1\r\nHost: a\r\n folded",
            "GET / HTTP/1.1\r\nHost : a",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
            "GET /\0 HTTP/1.1\r\nHost: a",
        ] {
            assert_eq!(taken(bad), Err(Status::Malformed), "{bad:?}");
        }
        assert_eq!(path(b"GET /\xff HTTP/1.1\r\nHost: a"), Err(Status::Malformed));
    }

    #[test]
    fn threat_12_connections_and_their_time_are_bounded() {
        let server = Server::new(|path| (path == "/x").then(|| Answer::text(Status::Ok, "body".to_owned())));
        let connect = || {
            let (one, other) = UnixStream::pair().unwrap();
            server.0.take(Stream::Unix(other));
            one
        };
        let mut ours: Vec<_> = (0..=MAX_CONNECTIONS).map(|_| connect()).collect();
        assert!(server.0.connections.lock().open.len() <= MAX_CONNECTIONS);
        // Who holds connections open shuts nobody out.
        let mut last = ours.pop().unwrap();
        assert_eq!(ours.remove(0).read(&mut [0]).unwrap(), 0, "the oldest is closed");
        last.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut told = String::new();
        last.read_to_string(&mut told).unwrap();
        assert!(
            told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with("\r\n\r\nbody"),
            "{told}"
        );
        let mut long = ours.remove(0);
        long.write_all(&[b'a'; MAX_REQUEST]).unwrap();
        told.clear();
        long.read_to_string(&mut told).unwrap();
        assert!(told.starts_with("HTTP/1.1 431 "), "{told}");
        // The others said nothing.
        let began = std::time::Instant::now();
        assert_eq!(ours[0].read(&mut [0]).unwrap(), 0);
        assert!(began.elapsed() < REQUEST_WITHIN * 2);
    }

    #[test]
    fn who_has_asked_gives_way_to_nobody() {
        let mut connections = Connections::default();
        let stream = || Stream::Unix(UnixStream::pair().unwrap().0);
        let number = |added: Option<(u64, Arc<Stream>)>| added.map(|(number, _)| number);
        assert_eq!(number(connections.add(stream(), 2)), Some(1));
        assert_eq!(number(connections.add(stream(), 2)), Some(2));
        assert!(connections.has_asked(1));
        assert_eq!(number(connections.add(stream(), 2)), Some(3), "in the place of 2");
        assert!(!connections.has_asked(2) && connections.has_asked(3));
        assert_eq!(number(connections.add(stream(), 2)), None);
        assert_eq!(connections.open.len(), 2);
    }

    #[test]
    fn the_older_listener_is_gone_before_the_next_is_bound() {
        let server = Server::new(|_| None);
        let free = TcpListener::bind("127.0.8.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let hosts = [[127, 0, 8, 1], [0, 0, 0, 0]];
        for turn in 0..200 {
            let address = SocketAddr::from((hosts[turn % 2], port));
            server.listen(&Place::Loopback(address));
            assert_eq!(server.trouble(), None, "turn {turn}");
            assert!(TcpStream::connect(("127.0.8.1", port)).is_ok(), "turn {turn}");
        }
        server.listen(&Place::None);
        assert!(TcpStream::connect(("127.0.8.1", port)).is_err());
    }

    #[test]
    fn a_place_that_is_not_free_is_tried_until_it_is_or_another_is_wanted() {
        let server = Server::new(|_| None);
        let taken = TcpListener::bind("127.0.8.2:0").unwrap();
        let place = Place::Loopback(taken.local_addr().unwrap());
        server.listen(&place);
        assert!(server.trouble().unwrap().contains("cannot listen on 127.0.8.2:"));
        // Another place ends the trying.
        let free = TcpListener::bind("127.0.8.3:0").unwrap().local_addr().unwrap();
        server.listen(&Place::Loopback(free));
        assert_eq!(server.trouble(), None);
        server.listen(&place);
        assert!(server.trouble().is_some());
        drop(taken);
        let mut asks = 0..6_000;
        while server.trouble().is_some() && asks.next().is_some() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let Place::Loopback(address) = place else { panic!() };
        assert!(TcpStream::connect(address).is_ok());
    }
}
