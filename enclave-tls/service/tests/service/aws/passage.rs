//! The parent's egress plane, as far as the service sees it: a host that is on the list is reached, its bytes are passed.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use enclave_wire::Writer;
use enclave_wire::egress::{Answer, Connect, EgressError};
use enclave_wire::frame::{HEADER_LEN, Header, limit};

/// The plane. Its threads end with the program.
pub(crate) struct Passage {
    /// The abstract name of its socket.
    pub(crate) name: String,
    state: Arc<Mutex<State>>,
}

struct State {
    hosts: BTreeMap<&'static str, SocketAddr>,
    /// Hosts at other ports than 443.
    others: BTreeMap<(String, u16), SocketAddr>,
    /// Answered to every request, where it is set.
    refused: Option<EgressError>,
    asked: Vec<String>,
}

impl Passage {
    pub(crate) fn start(name: &str, hosts: BTreeMap<&'static str, SocketAddr>) -> Self {
        let listener = UnixListener::bind_addr(&UnixAddr::from_abstract_name(name).unwrap()).unwrap();
        let state = Arc::new(Mutex::new(State {
            hosts,
            others: BTreeMap::new(),
            refused: None,
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || pass(stream, &state));
            }
        });
        Self {
            name: name.to_owned(),
            state,
        }
    }

    pub(crate) fn refuse(&self, error: Option<EgressError>) {
        self.state.lock().unwrap().refused = error;
    }

    /// The hosts that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Lets a host be reached at another port.
    pub(crate) fn allow(&self, host: &str, port: u16, at: SocketAddr) {
        let place = (host.to_owned(), port);
        self.state.lock().unwrap().others.insert(place, at);
    }

    /// Leads a host elsewhere, as a parent may.
    pub(crate) fn lead(&self, host: &'static str, to: SocketAddr) {
        self.state.lock().unwrap().hosts.insert(host, to);
    }
}

fn pass(mut stream: UnixStream, state: &Mutex<State>) -> Option<()> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).ok()?;
    let header = Header::decode(&header, limit::EGRESS).unwrap();
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).ok()?;
    let request = Connect::decode_frame(&header, &body).unwrap();
    let target = {
        let mut state = state.lock().unwrap();
        state.asked.push(format!("{}:{}", request.host, request.port));
        let other = state.others.get(&(request.host.to_string(), request.port));
        let host = state.hosts.get(request.host.as_str()).filter(|_| request.port == 443);
        let host = host.or(other);
        match (state.refused, host) {
            (Some(error), _) => Err(error),
            (None, Some(address)) => Ok(*address),
            (None, None) => Err(EgressError::NotAllowed),
        }
    };
    let target = target.and_then(|address| TcpStream::connect(address).map_err(|_| EgressError::Unreachable));
    let answer = match &target {
        Ok(_) => Answer::Connected,
        Err(error) => Answer::Refused(*error),
    };
    let mut frame = Writer::new();
    answer.write(&mut frame, header.request_id);
    stream.write_all(&frame.into_bytes()).ok()?;
    let mut target = target.ok()?;
    let (mut back, mut out) = (target.try_clone().ok()?, stream.try_clone().ok()?);
    let returned = std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut out);
        let _ = out.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut stream, &mut target);
    let _ = target.shutdown(Shutdown::Write);
    returned.join().ok()
}

/// A request over plain HTTP, and the body of its reply.
pub(super) fn post(to: SocketAddr, headers: impl Iterator<Item = (&'static str, String)>, body: &[u8]) -> Vec<u8> {
    let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST / HTTP/1.1\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(to).unwrap();
    connection.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut reply = Vec::new();
    connection.read_to_end(&mut reply).unwrap();
    let at = reply.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    reply.split_off(at + 4)
}
