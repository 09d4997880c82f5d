//! Egress: the enclave names a host, and its bytes go there and nowhere else.
//!
//! TLS ends in the enclave, so nothing here is a secret. What this guards is the parent: whoever took over an enclave reaches the hosts
//! of the allow-list by TLS under their own names, and not IMDS, nor what listens on the parent itself.

mod allow;
mod carry;
mod hello;
mod meter;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use enclave_wire::Writer;
use enclave_wire::egress::{Answer, Connect, EgressError};
use enclave_wire::frame::limit;

use super::Shared;
use super::sockets::{EnclaveListener, Stream};
use crate::log::Event;
use allow::Target;
use enclave_tls_admin::deadline::Deadline;
use enclave_tls_admin::frames::{self, ReadError};
use enclave_tls_admin::protocol;
use meter::{Counts, Meter};

/// The hosts that may be reached, and what went there.
pub(crate) struct Egress {
    allowed: Shared<Arc<[Arc<Target>]>>,
    meter: Meter,
    connections: AtomicUsize,
}

impl Egress {
    pub(crate) fn new(config: &enclave_tls_config::Egress) -> Self {
        Self {
            allowed: Shared::new(Target::list(config, &[]).into()),
            meter: Meter::default(),
            connections: AtomicUsize::new(0),
        }
    }

    /// Takes another allow-list. Connections that are open stay open.
    pub(crate) fn configure(&self, config: &enclave_tls_config::Egress) {
        let mut allowed = self.allowed.lock();
        *allowed = Target::list(config, &allowed).into();
    }

    /// What commands may know of this.
    pub(crate) fn counters(&self) -> protocol::Egress {
        self.meter.report(&Arc::clone(&self.allowed.lock()))
    }

    /// One connection, from its request to its end.
    fn serve(&self, mut stream: Stream, may_connect: bool) {
        let Some((id, connect)) = self.request(&mut stream) else {
            return;
        };
        let answer = |stream: &mut Stream, answer: Answer| {
            let mut writer = Writer::new();
            answer.write(&mut writer, id);
            frames::send(stream, writer)
        };
        match self.reach(&connect, may_connect) {
            Err(why) => drop(answer(&mut stream, Answer::Refused(why))), // Nobody is left to tell, at worst.
            Ok((target, host)) => {
                if answer(&mut stream, Answer::Connected).is_ok() {
                    pass(&target, stream, host);
                }
            }
        }
    }

    /// What the enclave asks for, within a second.
    fn request(&self, stream: &mut Stream) -> Option<(u64, Connect)> {
        let malformed = |stream: &mut Stream, id| {
            self.meter.malformed();
            let mut writer = Writer::new();
            Answer::Refused(EgressError::Malformed).write(&mut writer, id);
            drop(frames::send(stream, writer));
        };
        match frames::read_by(stream, limit::EGRESS, Deadline::after(REQUEST_WITHIN)) {
            Ok(frame) => {
                let id = frame.header.request_id;
                let connect = Connect::decode_frame(&frame.header, &frame.body);
                connect
                    .map(|connect| (id, connect))
                    .map_err(|_| malformed(stream, id))
                    .ok()
            }
            Err(ReadError::Protocol(_)) => {
                malformed(stream, 0);
                None
            }
            Err(_) => {
                self.meter.malformed();
                None
            }
        }
    }

    fn reach(&self, connect: &Connect, may_connect: bool) -> Result<(Arc<Target>, TcpStream), EgressError> {
        let allowed = Arc::clone(&self.allowed.lock());
        let Some(target) = allowed.iter().find(|target| target.is(connect)).map(Arc::clone) else {
            if self.meter.stranger(connect) {
                let Connect { host, port } = connect;
                Event::EgressRefused.about().host(host, *port).say(format_args!(
                    "egress: the service asked for {host}:{port}, which `allow` under [egress] does not name"
                ));
            }
            return Err(EgressError::NotAllowed);
        };
        if !may_connect {
            Counts::add(&target.counts.busy, 1);
            return Err(EgressError::Busy);
        }
        let reached = target.connect(Deadline::after(CONNECT_WITHIN)).map_err(|why| {
            if Counts::add(&target.counts.unreachable, 1) == 0 {
                let unreachable = Event::EgressUnreachable.about().host(target.host(), target.port());
                unreachable.say(format_args!("egress: {target}: {why}"));
            }
            EgressError::Unreachable
        })?;
        Ok((target, reached))
    }
}

/// From the ClientHello to the end.
fn pass(target: &Target, mut stream: Stream, mut host: TcpStream) {
    let hello = match hello::read(&mut stream, target.host(), Deadline::after(HELLO_WITHIN)) {
        Ok(hello) => hello,
        Err(why) => {
            let count = match why {
                hello::Refused::NotTls => &target.counts.not_tls,
                hello::Refused::OtherName => &target.counts.other_name,
            };
            if Counts::add(count, 1) == 0 {
                let closed = Event::EgressClosed.about().host(target.host(), target.port());
                closed.say(format_args!("egress: {target}: a connection was closed: {why}"));
            }
            return stream.end();
        }
    };
    let _open = target.counts.opened();
    carry::carry(&mut stream, &mut host, &hello, &target.counts);
}

/// Takes the enclave's connections, for ever.
pub(crate) fn accept(listener: &EnclaveListener, egress: &Arc<Egress>) {
    loop {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(error) => {
                Event::PlaneFailed.say(format_args!("egress: a connection failed: {error}"));
                std::thread::sleep(AFTER_FAILURE);
                continue;
            }
        };
        let place = Place::take(Arc::clone(egress));
        if place.before < MAX_CONNECTIONS.saturating_add(MAX_REFUSED) {
            std::thread::spawn(move || place.egress.serve(stream, place.before < MAX_CONNECTIONS));
        } else {
            egress.meter.dropped();
        }
    }
}

/// One of the connections that there are; free again when it is dropped.
struct Place {
    egress: Arc<Egress>,
    /// How many there were before.
    before: usize,
}

impl Place {
    fn take(egress: Arc<Egress>) -> Self {
        let before = egress.connections.fetch_add(1, Ordering::SeqCst);
        Self { egress, before }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.egress.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The enclave sends its request as soon as it is connected.
const REQUEST_WITHIN: Duration = Duration::from_secs(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The enclave begins its handshake as soon as it is told that it is connected.
const HELLO_WITHIN: Duration = Duration::from_secs(3);
/// Far more than KMS and S3 need of one enclave. Each costs two threads.
const MAX_CONNECTIONS: usize = 64;
/// So many more are told that there are too many; the rest is closed.
const MAX_REFUSED: usize = 64;
/// So that a lack of file descriptors does not become a lack of CPU.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
