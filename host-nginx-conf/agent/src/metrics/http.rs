//! As much of HTTP/1.1 as serves three pages: `GET`, no body, one request a connection. Written here, strict and bounded, for a library
//! would bring an asynchronous runtime into threads that must not fail.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use enclave_tls_admin::deadline::Deadline;
use enclave_tls_config::Metrics as Place;

use crate::log::Event;
use crate::{Shared, sockets};

/// Serves where the configuration says.
pub(crate) struct Server {
    serves: Serves,
    pages: Box<Pages>,
    /// Where it listens, and how often that changed: older listeners end.
    place: Shared<(Place, u64)>,
    connections: AtomicUsize,
}

/// What a server is for.
pub(crate) struct Serves {
    /// What it is called where something is wrong with it.
    pub(crate) what: &'static str,
    /// What is said then.
    pub(crate) failed: Event,
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
    pub(crate) fn new(pages: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Arc<Self> {
        Self::of(METRICS, pages)
    }

    pub(crate) fn of(serves: Serves, pages: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            serves,
            pages: Box::new(pages),
            place: Shared::new((Place::None, 0)),
            connections: AtomicUsize::new(0),
        })
    }

    /// Listens there from now on, and nowhere else. That it cannot is said; the agent's other work matters more.
    pub(crate) fn listen(self: &Arc<Self>, place: &Place) {
        let (older, number) = {
            let mut current = self.place.lock();
            if current.0 == *place {
                return;
            }
            current.1 = current.1.saturating_add(1);
            (std::mem::replace(&mut current.0, place.clone()), current.1)
        };
        wake(&older);
        let listener = match place {
            Place::None => return,
            Place::Unix(path) => sockets::bind_metrics(path)
                .map(|socket| Listener::Unix(socket, path.clone()))
                .map_err(|error| error.to_string()),
            Place::Loopback(address) => TcpListener::bind(address)
                .map(Listener::Tcp)
                .map_err(|error| format!("cannot listen on {address}: {error}")),
        };
        match listener {
            Ok(listener) => {
                let server = Arc::clone(self);
                std::thread::spawn(move || server.accept(&listener, number));
            }
            Err(why) => {
                // So that the same place is tried again when the configuration is next read.
                self.place.lock().0 = Place::None;
                self.serves
                    .failed
                    .say(format_args!("{}: nothing is served: {why}", self.serves.what));
            }
        }
    }

    fn accept(self: &Arc<Self>, listener: &Listener, number: u64) {
        loop {
            let stream = listener.accept();
            if self.place.lock().1 != number {
                return listener.end();
            }
            match stream {
                Ok(stream) => self.take(stream),
                Err(error) => {
                    self.serves
                        .failed
                        .say(format_args!("{}: a connection failed: {error}", self.serves.what));
                    std::thread::sleep(AFTER_FAILURE);
                }
            }
        }
    }

    /// One more is closed: who scrapes comes again.
    fn take(self: &Arc<Self>, mut stream: Stream) {
        let place = Taken::one_of(self);
        if place.before < self.serves.connections {
            std::thread::spawn(move || place.server.serve(&mut stream));
        }
    }

    fn serve(&self, stream: &mut Stream) {
        let answer = match read(stream) {
            Ok(path) => {
                (self.pages)(&path).unwrap_or_else(|| Answer::text(Status::NotFound, self.serves.not_found.to_owned()))
            }
            Err(Some(status)) => Answer::text(status, String::new()),
            Err(None) => return, // Nobody is left to tell, or he is too slow.
        };
        drop(write(stream, &answer.bytes()));
    }
}

/// Lets a listener see that it is one no longer.
fn wake(older: &Place) {
    match older {
        Place::None => {}
        Place::Unix(path) => drop(UnixStream::connect(path)),
        Place::Loopback(address) => drop(TcpStream::connect_timeout(address, WAKE_WITHIN)),
    }
}

enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => listener
                .accept()
                .map(|(stream, _): (_, SocketAddr)| Stream::Tcp(stream)),
        }
    }

    fn end(&self) {
        match self {
            Self::Unix(_, path) => drop(std::fs::remove_file(path)),
            Self::Tcp(_) => {}
        }
    }
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8], within: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(within)).and_then(|()| stream.read(buffer)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(within)).and_then(|()| stream.read(buffer)),
        }
    }

    fn write(&mut self, bytes: &[u8], within: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream
                .set_write_timeout(Some(within))
                .and_then(|()| stream.write(bytes)),
            Self::Tcp(stream) => stream
                .set_write_timeout(Some(within))
                .and_then(|()| stream.write(bytes)),
        }
    }
}

/// One of the connections that there are; free again when it is dropped.
struct Taken {
    server: Arc<Server>,
    /// How many there were before.
    before: usize,
}

impl Taken {
    fn one_of(server: &Arc<Server>) -> Self {
        let before = server.connections.fetch_add(1, Ordering::SeqCst);
        Self {
            server: Arc::clone(server),
            before,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.server.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The path that is asked for; or what to answer instead, if anything.
fn read(stream: &mut Stream) -> Result<String, Option<Status>> {
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

fn write(stream: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
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
const WAKE_WITHIN: Duration = Duration::from_secs(1);
/// So that a lack of file descriptors does not become a lack of CPU.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
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
        let pairs: Vec<_> = (0..=MAX_CONNECTIONS).map(|_| UnixStream::pair().unwrap()).collect();
        let mut ours = Vec::new();
        for (one, other) in pairs {
            server.take(Stream::Unix(other));
            ours.push(one);
        }
        let mut last = ours.pop().unwrap();
        assert_eq!(last.read(&mut [0]).unwrap(), 0, "one too many is closed");
        let mut told = String::new();
        let mut first = ours.remove(0);
        first.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        first.read_to_string(&mut told).unwrap();
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
}
