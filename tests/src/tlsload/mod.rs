//! Makes full TLS handshakes at a rate and counts how they end.
//!
//! The client is rustls, so it shares no code with the servers under test. It never resumes a session, verifies the
//! chain against a CA file and the name, and compares the key with those that may be served. Each failure is kept with
//! its time, so that a test can hold it against what it did to the server at that moment.

mod attempt;
mod client;
mod pace;
mod report;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};

pub use client::{ClientError, Signature, Version};
pub use report::{Ended, EndpointReport, Failure, FailureKind, Report};

use attempt::Attempt;
use pace::Pace;
use report::Tally;

/// What to do, as given on the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where to connect to. Given several times, the endpoints take turns.
    #[arg(long, required = true, value_name = "HOST:PORT")]
    pub connect: Vec<String>,
    /// The name to ask for and to verify.
    #[arg(long)]
    pub name: String,
    /// The trusted certificates, in PEM.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// SHA-256 of a SubjectPublicKeyInfo that may be served, in hex. Not given: any.
    #[arg(long, value_name = "HEX", num_args = 1.., value_parser = parse_digest)]
    pub spki: Vec<Digest>,
    /// Only this version of TLS.
    #[arg(long, value_enum)]
    pub tls: Option<Version>,
    /// Only this kind of signature, and so only this kind of server key.
    #[arg(long, value_enum, default_value = "any")]
    pub sig: Signature,
    /// Handshakes a second, over all endpoints. Not given: as many as possible.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Stop after this time.
    #[arg(long, required_unless_present = "count")]
    pub seconds: Option<f64>,
    /// Stop after this many handshakes.
    #[arg(long)]
    pub count: Option<u64>,
    /// Connections at the same time.
    #[arg(long, default_value = "8")]
    pub concurrency: usize,
    /// Seconds until a connection that has not ended counts as failed.
    #[arg(long, default_value = "10")]
    pub timeout: f64,
    /// Also GET this path, and count the `X-Worker:` lines of the answers, in head or body.
    #[arg(long, value_name = "PATH")]
    pub http: Option<String>,
    /// The client's chain, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// The client's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Print a line a second to standard error.
    #[arg(long)]
    pub progress: bool,
}

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// Why a run could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The files of the client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The name is not one.
    #[error("{0}: {1}")]
    Name(String, InvalidDnsNameError),
    /// The address is not one.
    #[error("{0}: {1}")]
    Address(String, std::io::Error),
    /// A number is not one that can be waited for.
    #[error("rate, seconds and timeout must be positive, concurrency and count at least 1")]
    Number,
}

/// Makes handshakes until the time is over, the number is reached or `stop` is set; what has begun is finished.
pub fn run(options: &Options, stop: &AtomicBool) -> Result<Report, LoadError> {
    let load = Load::new(options)?;
    let running = AtomicUsize::new(options.concurrency);
    std::thread::scope(|scope| {
        for _ in 0..options.concurrency {
            scope.spawn(|| {
                load.make_connections(stop);
                running.fetch_sub(1, Ordering::Release);
            });
        }
        while running.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_millis(20));
            if options.progress {
                load.tally().print_progress();
            }
        }
    });
    let ended = match (
        stop.load(Ordering::Relaxed),
        options.count.is_some_and(|count| load.pace.begun() >= count),
    ) {
        (true, _) => Ended::Signal,
        (false, true) => Ended::Count,
        (false, false) => Ended::Time,
    };
    let tally = load.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(tally.report(ended))
}

struct Load {
    addresses: Vec<SocketAddr>,
    name: ServerName<'static>,
    spki: Vec<Digest>,
    http: Option<String>,
    timeout: Duration,
    config: Arc<ClientConfig>,
    pace: Pace,
    tally: Mutex<Tally>,
}

impl Load {
    fn new(options: &Options) -> Result<Self, LoadError> {
        let config = client::config(options)?;
        let name = ServerName::try_from(options.name.clone()).map_err(|e| LoadError::Name(options.name.clone(), e))?;
        let addresses = options
            .connect
            .iter()
            .map(|text| resolve(text))
            .collect::<Result<_, _>>()?;
        let seconds = |value| Duration::try_from_secs_f64(value).ok().filter(|time| !time.is_zero());
        let positive = |value: Option<f64>| match value {
            Some(value) => seconds(value).map(Some).ok_or(LoadError::Number),
            None => Ok(None),
        };
        if options.concurrency == 0 || options.count == Some(0) {
            return Err(LoadError::Number);
        }
        let interval = positive(options.rate.map(f64::recip))?;
        let limit = positive(options.seconds)?;
        let timeout = seconds(options.timeout).ok_or(LoadError::Number)?;
        let start = Instant::now();
        Ok(Self {
            addresses,
            name,
            spki: options.spki.clone(),
            http: options.http.clone(),
            timeout,
            config: Arc::new(config),
            pace: Pace::new(start, interval, limit, options.count),
            tally: Mutex::new(Tally::new(start, &options.connect)),
        })
    }

    fn make_connections(&self, stop: &AtomicBool) {
        while let Some(number) = self.pace.wait(stop) {
            let endpoint = usize::try_from(number).unwrap_or(0) % self.addresses.len();
            let attempt = Attempt {
                address: self.addresses[endpoint],
                name: &self.name,
                config: &self.config,
                spki: &self.spki,
                http: self.http.as_deref(),
                deadline: Instant::now() + self.timeout,
            };
            let result = attempt.make();
            let failed = result.is_err();
            self.tally().add(endpoint, result);
            if failed && !self.pace.is_paced() {
                // A dead port refuses at once: do not ask it as fast as the machine can.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn resolve(text: &str) -> Result<SocketAddr, LoadError> {
    let none = || std::io::Error::other("no address");
    let first = text
        .to_socket_addrs()
        .and_then(|mut addresses| addresses.next().ok_or_else(none));
    first.map_err(|error| LoadError::Address(text.to_owned(), error))
}

fn parse_digest(text: &str) -> Result<Digest, hex::FromHexError> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest)?;
    Ok(digest)
}
