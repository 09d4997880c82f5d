//! `deploy`: all is rendered, what was live is remembered, the links are switched, servers are tested, then reloaded.
//!
//! | killed | what is there | the next request |
//! |---|---|---|
//! | while rendering | directories under temporary names | writes them again |
//! | after the undo record was written | some links switched or switched back, no server told | has all links as before ([`undo::recover`]) |
//! | after the tests, the undo record removed | all links switched, some servers told | a deployment tells the others ([`reloaded`]) |

mod live;
mod reload;
pub(crate) mod reloaded;
pub(crate) mod started;
mod trial;
pub(crate) mod undo;

use std::collections::BTreeSet;
use std::time::Duration;

use enclave_tls_apply::{Deployed, Deployment, LiveCertificate, MAX_KEEP, ServerOutcome};
use enclave_wire::Name;

use self::reloaded::{Reloaded, Served};
use self::started::Switched;
use self::trial::{Tested, Time};
use self::undo::Undo;
use crate::clients::Clients;
use crate::disk::{DiskError, Folder, Readers};
use crate::failure::Failure;
use crate::places::Plain;
use crate::render;
use crate::servers;

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
        let (put_back, withdrawn) = match self.take_back(&mut servers, &undo, &reloaded) {
            Ok(taken_back) => taken_back,
            Err(error) => {
                undo.roll_back()?;
                return Err(error.into());
            }
        };
        let is_switched = undo.switches();
        undo.settle()?;
        if is_switched {
            Switched::settled(self.records)?;
        }
        let mut outcomes = Vec::new();
        for server in servers {
            outcomes.push(ServerOutcome {
                server: server.name.clone(),
                outcome: self.reload(server, &mut reloaded),
            });
        }
        Ok(Deployed {
            put_back,
            withdrawn,
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
            if folder.names()?.len() >= MAX_KEEP {
                return Err(Failure::Full(
                    self.base.path_of("generations").join(deployment.name().as_str()),
                ));
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
        let (mut had, mut firsts) = (Served::new(), Served::new());
        for one in &switched {
            match before.get(&one.name) {
                Some(directory) => had.insert(one.name.clone(), *directory),
                None => firsts.insert(one.name.clone(), one.directory),
            };
        }
        if !switched.is_empty() {
            Switched::begins(self.records)?;
        }
        let undo = Undo::prepare(self.records, self.live, had, firsts)?;
        let outcome = switched.into_iter().try_for_each(|one| self.live.point(one));
        match outcome.and_then(|()| self.live.sync()) {
            Ok(()) => Ok((undo, names)),
            Err(error) => {
                undo.roll_back()?;
                Err(error.into())
            }
        }
    }

    fn test(&self, reloaded: &Reloaded, wanted: &BTreeSet<Name>) -> Result<Vec<Tested<'_>>, DiskError> {
        let live = self.live.all()?;
        let config = self.clients.config;
        let time = Time::new(ALL_TESTS);
        Ok(trial::test(config, self.place, &live, reloaded, wanted, &time))
    }

    /// Undoes of the switch what servers refuse.
    fn take_back(
        &self,
        tested: &mut [Tested<'_>],
        undo: &Undo<'_>,
        reloaded: &Reloaded,
    ) -> Result<(Vec<LiveCertificate>, Vec<Name>), DiskError> {
        let is_to_blame = |server: &Tested<'_>| server.refused() && server.uses(|name| undo.has(name));
        let put_back = if tested.iter().any(is_to_blame) {
            undo.put_back()?
        } else {
            Vec::new()
        };
        let is_back = |name: &Name| !put_back.is_empty() && undo.has(name);
        let withdrawn = self.withdraw(tested, undo, reloaded, is_back)?;
        for server in tested {
            if server.uses(|name| is_back(name) || withdrawn.contains(name)) {
                server.undo();
            }
        }
        Ok((put_back, withdrawn.into_iter().collect()))
    }

    /// Takes away first generations with which a server refuses its configuration, unless it refuses without them as well: then it
    /// names files that are not there yet, and whoever sets up one after the other gets there.
    fn withdraw(
        &self,
        tested: &[Tested<'_>],
        undo: &Undo<'_>,
        reloaded: &Reloaded,
        is_back: impl Fn(&Name) -> bool,
    ) -> Result<BTreeSet<Name>, DiskError> {
        let is_first = |name: &Name| undo.firsts().contains_key(name);
        let is_suspect = |server: &&Tested<'_>| server.refused() && server.uses(is_first);
        // Two tests each at most.
        let mut tests = tested.iter().filter(is_suspect).count().saturating_mul(2);
        let time = Time::new(TESTS_AGAIN);
        let mut passes = |server: &Tested<'_>| {
            let share = time.at_least(tests);
            tests = tests.saturating_sub(1);
            servers::test(server.server, self.place, share).is_ok()
        };
        let mut withdrawn = BTreeSet::new();
        for server in tested.iter().filter(is_suspect) {
            let has_other_links = server.uses(|name| is_back(name) || withdrawn.contains(name));
            if has_other_links && passes(server) {
                continue;
            }
            let firsts = undo.firsts().iter();
            let firsts: Served = firsts
                .filter(|(name, _)| server.serves.contains_key(*name) && !withdrawn.contains(*name))
                .map(|(name, directory)| (name.clone(), *directory))
                .collect();
            firsts.keys().try_for_each(|name| self.live.take_away(name))?;
            // One that runs with what was live had all that it needs.
            let was_in_line = reloaded.get(server.name) == Some(&undo.before(&server.serves));
            if was_in_line || passes(server) {
                withdrawn.extend(firsts.into_keys());
            } else {
                let firsts = reloaded::list(&firsts);
                firsts.iter().try_for_each(|first| self.live.point(first))?;
            }
        }
        Ok(withdrawn)
    }
}

fn live_certificate(deployment: &Deployment) -> LiveCertificate {
    LiveCertificate {
        name: deployment.name().clone(),
        directory: deployment.directory(),
    }
}

/// For the tests of all servers together. With [`TESTS_AGAIN`] it is less than the asker waits.
const ALL_TESTS: Duration = Duration::from_secs(45);
/// For those that show who is to blame.
const TESTS_AGAIN: Duration = Duration::from_secs(15);
