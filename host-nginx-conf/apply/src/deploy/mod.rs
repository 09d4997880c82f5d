//! `deploy`: all is rendered, what was live is remembered, the links are switched, servers are tested, then reloaded.
//!
//! | killed | what is there | the next request |
//! |---|---|---|
//! | while rendering | directories under temporary names | writes them again |
//! | after the undo record was written | some links switched, no server told | puts the links back ([`undo::recover`]) |
//! | after the tests, the undo record removed | all links switched, some servers told | a deployment tells the others ([`reloaded`]) |

mod live;
pub(crate) mod reloaded;
pub(crate) mod undo;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use enclave_tls_apply::{Deployed, Deployment, LiveCertificate, Outcome, ServerOutcome, Step, bounded};
use enclave_tls_config::Server;
use enclave_wire::Name;

use self::reloaded::{Reloaded, Served};
use self::undo::Undo;
use crate::clients::Clients;
use crate::disk::{DiskError, Folder, Readers};
use crate::failure::Failure;
use crate::places::Plain;
use crate::render;
use crate::servers::{self, Master, MasterError};

pub(crate) use self::live::Live;

/// A deployment, and where it takes place.
pub(crate) struct Deploying<'a> {
    pub(crate) base: &'a Folder,
    pub(crate) place: &'a Plain,
    pub(crate) records: &'a Folder,
    pub(crate) live: &'a Live,
    pub(crate) clients: &'a Clients<'a>,
}

impl Deploying<'_> {
    /// Makes generations live, and brings every server into line with what is live.
    pub(crate) fn deploy(&self, deployments: &[Deployment]) -> Result<Deployed, Failure> {
        let config = self.clients.config;
        for client in config
            .servers
            .values()
            .map(|server| &server.client)
            .collect::<BTreeSet<_>>()
        {
            self.clients.describe(self.base, client)?;
        }
        self.render(deployments)?;
        let mut reloaded = Reloaded::load(self.records)?;
        let (undo, wanted) = self.switch(deployments)?;
        let mut servers = match self.test(&reloaded, &wanted) {
            Ok(servers) => servers,
            Err(error) => {
                undo.roll_back()?;
                return Err(error.into());
            }
        };
        // A certificate that had no live generation before cannot be what a running server needs, so it is not put back:
        // whoever sets up several of them one after the other gets there.
        let put_back = if servers
            .iter()
            .any(|server| server.refused() && server.uses(|name| undo.has(name)))
        {
            for server in servers.iter_mut().filter(|server| server.uses(|name| undo.has(name))) {
                server.undo();
            }
            undo.roll_back()?
        } else {
            undo.settle()?;
            Vec::new()
        };
        let mut outcomes = Vec::new();
        for server in servers {
            outcomes.push(ServerOutcome {
                server: server.name.clone(),
                outcome: self.reload(server, &mut reloaded),
            });
        }
        Ok(Deployed {
            put_back,
            withdrawn: Vec::new(),
            servers: outcomes,
        })
    }

    /// Writes each generation's directory under another name and renames it, so that it is there whole or not at all.
    fn render(&self, deployments: &[Deployment]) -> Result<(), Failure> {
        let generations = self.base.enter("generations")?;
        let mut finished = Vec::new();
        for deployment in deployments {
            let folder = generations.enter(deployment.name().as_str())?;
            let name = deployment.directory().to_string();
            let place = self.place.generation(deployment.name(), deployment.directory());
            let files = render::files(deployment, &place).map_err(Failure::Render)?;
            if let Some(there) = folder.existing(&name)? {
                // Rendered before; by another release of this program perhaps.
                for (file, text) in files {
                    there.write_if_other(file, text.as_bytes(), Readers::All)?;
                }
                continue;
            }
            let temporary = format!(".{name}.new");
            folder.remove_folder(&temporary)?;
            let new = folder.enter(&temporary)?;
            for (file, text) in files {
                new.write_unsynced(file, text.as_bytes(), Readers::All)?;
            }
            // Not the folder: a thousand open directories are more than a process may have.
            finished.push((deployment.name(), temporary, name));
        }
        if !finished.is_empty() {
            self.base.sync_all()?;
        }
        for (certificate, temporary, name) in finished {
            generations.enter(certificate.as_str())?.rename(&temporary, &name)?;
        }
        Ok(self.base.sync_all()?)
    }

    fn switch(&self, deployments: &[Deployment]) -> Result<(Undo<'_>, BTreeSet<Name>), Failure> {
        let before = self.live.all()?;
        let wanted: Vec<_> = deployments.iter().map(live_certificate).collect();
        let names = wanted.iter().map(|one| one.name.clone()).collect();
        let switched = wanted
            .iter()
            .filter(|one| before.get(&one.name) != Some(&one.directory));
        let switched: Vec<_> = switched.collect();
        let had: Served = before
            .into_iter()
            .filter(|(name, _)| switched.iter().any(|one| one.name == *name))
            .collect();
        let undo = Undo::prepare(self.records, self.live, reloaded::list(&had))?;
        let outcome = switched.into_iter().try_for_each(|one| self.live.point(one));
        match outcome.and_then(|()| self.live.sync()) {
            Ok(()) => Ok((undo, names)),
            Err(error) => {
                undo.roll_back()?;
                Err(error.into())
            }
        }
    }

    /// Tests the servers that do not have what is live; names the others that use a certificate of the deployment.
    fn test(&self, reloaded: &Reloaded, wanted: &BTreeSet<Name>) -> Result<Vec<Tested<'_>>, DiskError> {
        let config = self.clients.config;
        let live = self.live.all()?;
        let until = Instant::now().checked_add(ALL_TESTS);
        let mut tested = Vec::new();
        for (name, server) in &config.servers {
            let certificates = config
                .certificates_of(name)
                .filter_map(|certificate| live.get_key_value(&certificate.name));
            let serves: Served = certificates
                .map(|(name, directory)| (name.clone(), *directory))
                .collect();
            let verdict = if reloaded.get(name) == Some(&serves) || serves.is_empty() {
                if !serves.keys().any(|certificate| wanted.contains(certificate)) {
                    continue;
                }
                Verdict::Unchanged
            } else {
                match servers::test(server, self.place, until) {
                    Ok(()) => Verdict::Passed,
                    Err(error) => Verdict::Refused(error.to_string()),
                }
            };
            tested.push(Tested {
                name,
                server,
                serves,
                verdict,
            });
        }
        Ok(tested)
    }

    fn reload(&self, tested: Tested<'_>, reloaded: &mut Reloaded) -> Outcome {
        let failed = |step, message: &str| Outcome::Failed {
            step,
            message: bounded(message).to_owned(),
        };
        match &tested.verdict {
            Verdict::Unchanged => Outcome::Unchanged {},
            Verdict::Undone => Outcome::Undone {},
            Verdict::Refused(message) => failed(Step::Test, message),
            Verdict::Passed => self
                .tell(&tested, reloaded)
                .unwrap_or_else(|error| failed(Step::Reload, &error.to_string())),
        }
    }

    fn tell(&self, tested: &Tested<'_>, reloaded: &mut Reloaded) -> Result<Outcome, ReloadError> {
        let Some(master) = Master::find(tested.server)? else {
            reloaded.set(self.records, tested.name, None)?;
            return Ok(Outcome::NotRunning {});
        };
        master.reload(tested.server.kind)?;
        reloaded.set(self.records, tested.name, Some(&tested.serves))?;
        Ok(Outcome::Reloaded { pid: master.pid() })
    }
}

/// Why a server does not count as reloaded. The generations are live, and the next deployment tells it again.
enum ReloadError {
    Master(MasterError),
    Record(DiskError),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(error) => error.fmt(f),
            Self::Record(error) => write!(
                f,
                "what it was reloaded with is not written down, so it will be reloaded once more: {error}"
            ),
        }
    }
}

impl From<MasterError> for ReloadError {
    fn from(error: MasterError) -> Self {
        Self::Master(error)
    }
}

impl From<DiskError> for ReloadError {
    fn from(error: DiskError) -> Self {
        Self::Record(error)
    }
}

/// A server, what it serves once it has reloaded, and what its test said.
struct Tested<'a> {
    name: &'a Name,
    server: &'a Server,
    serves: Served,
    verdict: Verdict,
}

enum Verdict {
    Unchanged,
    Passed,
    Refused(String),
    Undone,
}

impl Tested<'_> {
    fn refused(&self) -> bool {
        matches!(self.verdict, Verdict::Refused(_))
    }

    fn uses(&self, is_meant: impl Fn(&Name) -> bool) -> bool {
        self.serves.keys().any(is_meant)
    }

    /// The links it was tested with are put back: another server refused them.
    fn undo(&mut self) {
        match self.verdict {
            Verdict::Passed | Verdict::Unchanged => self.verdict = Verdict::Undone,
            Verdict::Refused(_) | Verdict::Undone => {}
        }
    }
}

fn live_certificate(deployment: &Deployment) -> LiveCertificate {
    LiveCertificate {
        name: deployment.name().clone(),
        directory: deployment.directory(),
    }
}

/// For the tests of all servers together: less than the asker waits.
const ALL_TESTS: Duration = Duration::from_secs(60);
