//! Requests, carried out one at a time.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use enclave_tls_apply::{Outcome, Reply, Request};
use enclave_tls_config::{Client, Config};
use enclave_wire::Name;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::args::Args;
use crate::clients::Clients;
use crate::deploy::{Deploying, Live, started, undo};
use crate::disk::{DiskError, Folder, Readers};
use crate::failure::Failure;
use crate::listen::StartError;
use crate::places::{self, Plain};
use crate::{log, state};

/// What the command line says.
pub(crate) struct Helper {
    config: PathBuf,
    base: Plain,
    module: Plain,
    libraries: Plain,
    /// What was last said of a configuration that is wrong.
    said: Mutex<String>,
}

impl Helper {
    pub(crate) fn new(args: Args) -> Result<Self, StartError> {
        let module = args
            .module
            .map(|path| Plain::new(&path))
            .transpose()
            .map_err(StartError::Place)?;
        Ok(Self {
            config: args.config,
            base: Plain::new(&args.base).map_err(StartError::Place)?,
            module: module.unwrap_or_else(places::installed_module),
            libraries: places::openssl_libraries(),
            said: Mutex::default(),
        })
    }

    /// Carries out a request.
    pub(crate) fn answer(&self, request: Request) -> Reply {
        match self.carry_out(request) {
            Ok(reply) => reply,
            Err(failure) => {
                log(&failure);
                Reply::Refused(failure.refusal())
            }
        }
    }

    fn carry_out(&self, request: Request) -> Result<Reply, Failure> {
        let base = Folder::open(self.base.as_path())?;
        let records = base.enter_private(RECORDS)?;
        let _held = lock(&records)?;
        let live = Live::open(&base)?;
        // First of all: what a killed deployment had switched to, and no server had passed yet, is not live.
        let undone = undo::recover(&records, &live)?;
        for put_back in undone.put_back {
            log(&format_args!(
                "an interrupted deployment is undone: {} is {} again",
                put_back.name, put_back.directory
            ));
        }
        for name in undone.withdrawn {
            log(&format_args!(
                "an interrupted deployment is undone: {name} is not live, as before"
            ));
        }
        let config = self.configuration(&records)?;
        let clients = Clients {
            base: &self.base,
            libraries: &self.libraries,
            module: &self.module,
            config: &config,
        };
        if matches!(request, Request::Deploy { .. } | Request::State {}) {
            started::notice(&records, &live, &config)?;
        }
        match request {
            Request::Credential { client: name, secret } => {
                let client = self.client(&config, &name)?;
                clients.credential(&base, &name, client, &secret)?;
                log(&format_args!("client {name} has a new credential"));
                Ok(Reply::Done {})
            }
            Request::Objects { client: name, objects } => {
                self.client(&config, &name)?;
                clients.objects(&base, &name, &objects)?;
                Ok(Reply::Done {})
            }
            Request::Deploy { certificates } => {
                self.refuse_what_is_unknown(&config, certificates.iter().map(|one| one.name()))?;
                let deploying = Deploying {
                    base: &base,
                    place: &self.base,
                    records: &records,
                    live: &live,
                    clients: &clients,
                };
                let deployed = deploying.deploy(&certificates)?;
                for server in &deployed.servers {
                    if server.outcome != (Outcome::Unchanged {}) {
                        log(&format_args!("server {}: {}", server.server, server.outcome));
                    }
                }
                Ok(Reply::Deployed(deployed))
            }
            Request::Prune { certificate, keep } => {
                live.prune(&base, &certificate, &keep)?;
                Ok(Reply::Done {})
            }
            Request::State {} => Ok(Reply::State(state::state(&self.base, &base, &records, &live, &config)?)),
        }
    }

    /// Read anew for each request: there is no reload to forget. While the file is wrong it is as it was when it last was right: a
    /// mistake that was only saved shall stop no renewal.
    fn configuration(&self, records: &Folder) -> Result<Config, Failure> {
        let (error, last) = match Config::load_with_text(&self.config) {
            Ok((config, text)) => {
                records.write_if_other(LAST, text.as_bytes(), Readers::Owner)?;
                self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Ok(config);
            }
            Err(error) => (error, records.read(LAST, MAX_LAST)?),
        };
        let last = last.and_then(|text| Config::parse(std::str::from_utf8(&text).ok()?, &self.config).ok());
        let Some(last) = last else {
            return Err(error.into());
        };
        let says = format!("{error}; until it is right, it is as it last was");
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != says {
            log(&says);
            *said = says;
        }
        Ok(last)
    }

    fn client<'a>(&self, config: &'a Config, name: &Name) -> Result<&'a Client, Failure> {
        config.clients.get(name).ok_or_else(|| self.unknown("client", name))
    }

    fn refuse_what_is_unknown<'a>(
        &self,
        config: &Config,
        names: impl Iterator<Item = &'a Name>,
    ) -> Result<(), Failure> {
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            if !config.certificates.contains_key(name) {
                return Err(self.unknown("certificate", name));
            }
            if !seen.insert(name) {
                return Err(Failure::Twice(name.clone()));
            }
        }
        Ok(())
    }

    fn unknown(&self, what: &'static str, name: &Name) -> Failure {
        Failure::Unknown {
            what,
            name: name.clone(),
            config: self.config.clone(),
        }
    }
}

/// One process at a time: systemd's, and what somebody starts by hand. The lock ends with the process that holds it.
fn lock(records: &Folder) -> Result<OwnedFd, Failure> {
    let file = records.open_lock("lock")?;
    let until = Instant::now().checked_add(LOCK);
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => {
                return Err(Failure::Disk(DiskError::System {
                    doing: "lock",
                    path: records.path_of("lock"),
                    source: error.into(),
                }));
            }
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            return Err(Failure::Busy);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What must outlive this process: no Name begins with a dot, and only root reads it.
const RECORDS: &str = ".apply";
/// The configuration as it last was right.
const LAST: &str = "config.toml";
/// What the file may be at most.
const MAX_LAST: usize = 16_777_216;
/// Longer than all tests of a deployment take.
const LOCK: Duration = Duration::from_secs(65);
