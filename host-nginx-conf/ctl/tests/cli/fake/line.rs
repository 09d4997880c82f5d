//! The stand-in's end of the control connection.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use enclave_wire::Writer;
use enclave_wire::control::{AgentReply, ControlError, EnclaveRequest, Reply, Request, StoreState};
use enclave_wire::frame::{HEADER_LEN, Header, limit};

use super::World;

pub(super) fn serve(socket: &mut UnixStream, state: &Mutex<World>, stop: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut line = Line {
        socket,
        state,
        asked: 0,
        ping: None,
        credentials: None,
    };
    let mut last_ping = Instant::now() - Duration::from_secs(1);
    while !stop.load(Ordering::SeqCst) {
        if last_ping.elapsed() > Duration::from_millis(200) && line.ping.is_none() {
            last_ping = Instant::now();
            line.ping = line.ask(&EnclaveRequest::Ping);
        }
        if std::mem::take(&mut line.state.lock().unwrap().wants_credentials) {
            line.credentials = line.ask(&EnclaveRequest::NeedCredentials);
        }
        if line.turn().is_none() {
            return;
        }
    }
}

struct Line<'a> {
    socket: &'a mut UnixStream,
    state: &'a Mutex<World>,
    asked: u64,
    ping: Option<u64>,
    credentials: Option<u64>,
}

enum Came {
    Nothing,
    Frame(Header, Vec<u8>),
}

impl Line<'_> {
    /// None: the connection is at its end.
    fn turn(&mut self) -> Option<()> {
        let Came::Frame(header, body) = self.next()? else {
            return Some(());
        };
        if header.is_reply() {
            self.take(&header, &body);
            return Some(());
        }
        let request = Request::decode(&header, &body).unwrap();
        let name = request.name();
        let slow = self.state.lock().unwrap().slow.filter(|(slow, _)| *slow == name);
        if let Some((_, time)) = slow {
            std::thread::sleep(time);
        }
        let mut reply = self.state.lock().unwrap().answer(request);
        let unstored = self.state.lock().unwrap().unstored.take();
        if let Some((state, before)) = unstored
            && !self.store(state)?
        {
            self.state.lock().unwrap().keys = before;
            reply = Reply::Error(ControlError::StateNotStored);
        }
        if self
            .state
            .lock()
            .unwrap()
            .hang_up_at
            .take_if(|at| *at == name)
            .is_some()
        {
            return None;
        }
        let mut writer = Writer::new();
        reply.write(&mut writer, header.request_id);
        self.socket.write_all(&writer.into_bytes()).ok()
    }

    /// Whether the parent stored it; and then it is on disk.
    fn store(&mut self, state: StoreState) -> Option<bool> {
        let file = self
            .state
            .lock()
            .unwrap()
            .replay
            .join(format!("sealed/{}.sealed", state.name));
        let blob = state.blob.as_bytes().to_vec();
        let id = self.ask(&EnclaveRequest::StoreState(state))?;
        loop {
            match self.next()? {
                Came::Nothing => {}
                Came::Frame(header, body) if header.request_id == id => {
                    return match AgentReply::decode(&header, &body).unwrap() {
                        AgentReply::Stored => {
                            assert_eq!(fs::read(&file).unwrap(), blob, "it is stored before that is said");
                            Some(true)
                        }
                        AgentReply::Error(ControlError::StateNotStored) => Some(false),
                        other => panic!("{other:?}"),
                    };
                }
                Came::Frame(header, body) => self.take(&header, &body),
            }
        }
    }

    fn take(&mut self, header: &Header, body: &[u8]) {
        let reply = AgentReply::decode(header, body).unwrap();
        let id = Some(header.request_id);
        if self.ping == id {
            assert_eq!(reply, AgentReply::Pong);
            self.ping = None;
            self.state.lock().unwrap().pongs += 1;
        } else {
            assert_eq!((reply, self.credentials), (AgentReply::CredentialsNoted, id));
            self.credentials = None;
        }
    }

    fn ask(&mut self, request: &EnclaveRequest) -> Option<u64> {
        self.asked += 1;
        let mut writer = Writer::new();
        request.write(&mut writer, self.asked);
        self.socket.write_all(&writer.into_bytes()).ok()?;
        Some(self.asked)
    }

    fn next(&mut self) -> Option<Came> {
        let mut head = [0; HEADER_LEN];
        match self.socket.read(&mut head[..1]) {
            Ok(1) => {}
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                return Some(Came::Nothing);
            }
            _ => return None,
        }
        self.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        self.socket.read_exact(&mut head[1..]).ok()?;
        let header = Header::decode(&head, limit::CONTROL).unwrap();
        let mut body = vec![0; header.body_len()];
        self.socket.read_exact(&mut body).ok()?;
        self.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Some(Came::Frame(header, body))
    }
}
