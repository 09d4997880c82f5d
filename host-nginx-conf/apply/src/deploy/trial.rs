//! The tests of servers: in what order, for how long, and what came of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use enclave_tls_config::{Config, Server};
use enclave_wire::Name;

use crate::deploy::reloaded::{Reloaded, Served};
use crate::places::Plain;
use crate::servers;

/// A server, what it serves once it has reloaded, and what its test said.
pub(super) struct Tested<'a> {
    pub(super) name: &'a Name,
    pub(super) server: &'a Server,
    pub(super) serves: Served,
    pub(super) verdict: Verdict,
}

pub(super) enum Verdict {
    Unchanged,
    Passed,
    Refused(String),
    /// Other servers took all the time. It has nothing to do with what is deployed, so nothing is put back for it.
    NotTested,
    Undone,
}

impl Tested<'_> {
    pub(super) fn refused(&self) -> bool {
        matches!(self.verdict, Verdict::Refused(_))
    }

    pub(super) fn uses(&self, is_meant: impl Fn(&Name) -> bool) -> bool {
        self.serves.keys().any(is_meant)
    }

    /// Links that it was tested with are no longer so: another server refused them.
    pub(super) fn undo(&mut self) {
        match self.verdict {
            Verdict::Passed | Verdict::Unchanged => self.verdict = Verdict::Undone,
            Verdict::Refused(_) | Verdict::NotTested | Verdict::Undone => {}
        }
    }

    fn is_of(&self, wanted: &BTreeSet<Name>) -> bool {
        self.uses(|name| wanted.contains(name))
    }

    fn waits(&self) -> bool {
        matches!(self.verdict, Verdict::NotTested)
    }
}

/// Tests the servers that do not have what is live, first those that use a certificate of the deployment; names the others that
/// use one.
pub(super) fn test<'a>(
    config: &'a Config,
    place: &Plain,
    live: &Served,
    reloaded: &Reloaded,
    wanted: &BTreeSet<Name>,
    time: &Time,
) -> Vec<Tested<'a>> {
    let servers = config.servers.iter().map(|(name, server)| {
        let certificates = config
            .certificates_of(name)
            .filter_map(|certificate| live.get_key_value(&certificate.name));
        let serves: Served = certificates
            .map(|(name, directory)| (name.clone(), *directory))
            .collect();
        let is_in_line = reloaded.get(name) == Some(&serves) || serves.is_empty();
        let verdict = if is_in_line {
            Verdict::Unchanged
        } else {
            Verdict::NotTested
        };
        Tested {
            name,
            server,
            serves,
            verdict,
        }
    });
    let mut all: Vec<_> = servers
        .filter(|server| server.waits() || server.is_of(wanted))
        .collect();
    for is_of_deployment in [true, false] {
        let is_next = |server: &Tested<'_>| server.waits() && server.is_of(wanted) == is_of_deployment;
        let mut left = all.iter().filter(|server| is_next(server)).count();
        for server in all.iter_mut().filter(|server| is_next(server)) {
            let share = time.share(left);
            left = left.saturating_sub(1);
            let share = if is_of_deployment {
                share.max(time.least)
            } else if share < time.least {
                break;
            } else {
                share
            };
            server.verdict = match servers::test(server.server, place, share) {
                Ok(()) => Verdict::Passed,
                Err(error) => Verdict::Refused(error.to_string()),
            };
        }
    }
    all
}

/// The time for the tests of some servers.
pub(super) struct Time {
    until: Option<Instant>,
    least: Duration,
}

impl Time {
    pub(super) fn new(all: Duration) -> Self {
        Self {
            until: Instant::now().checked_add(all),
            least: LEAST,
        }
    }

    /// For a server whose test decides what is live, and which is the first of so many.
    pub(super) fn at_least(&self, servers: usize) -> Duration {
        self.share(servers).max(self.least)
    }

    /// Of what is left, for the first of so many servers: one that hangs takes nothing from those after it.
    fn share(&self, servers: usize) -> Duration {
        let now = Instant::now();
        let left = self
            .until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let servers = u32::try_from(servers).unwrap_or(u32::MAX).max(1);
        left.checked_div(servers).unwrap_or_default().min(ONE_TEST)
    }
}

/// NGINX with a thousand certificates takes some seconds; one that waits for something else is not waited for.
const ONE_TEST: Duration = Duration::from_secs(30);
/// Less says nothing about a server.
const LEAST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use enclave_wire::Usage;

    use super::*;
    use crate::disk::Folder;
    use crate::state::tests::{Scratch, deployment};

    /// Servers `a` and `b` hang, `c` passes; certificate `www` is of these servers, `other` of all.
    fn verdicts(of_deployment: &str, all: Duration) -> Vec<&'static str> {
        let scratch = Scratch::new();
        let mut text = "[enclave]\nimage = \"/e.eif\"\n[clients.c]\ngroup = \"root\"\n".to_owned();
        for (server, program) in [("a", "hangs"), ("b", "hangs"), ("c", "passes")] {
            let program = scratch.path.join(program);
            let program = program.display();
            text += &format!(
                "[servers.{server}]\nkind = \"nginx\"\nclient = \"c\"\nprogram = \"{program}\"\npid_file = \"/run/{server}.pid\"\n"
            );
        }
        for (name, servers) in [("www", of_deployment), ("other", "\"a\", \"b\", \"c\"")] {
            text += &format!(
                "[[certificates]]\nname = \"{name}\"\nsource = \"csr\"\nkey_type = \"p-256\"\ndns_names = [\"{name}.example.com\"]\nservers = [{servers}]\n"
            );
        }
        for (name, target) in [("hangs", "sleep 60"), ("passes", "exit 0")] {
            let program = scratch.path.join(name);
            fs::write(&program, format!("#!/bin/sh\n{target}\n")).unwrap();
            fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let config = Config::parse(&text, Path::new("config.toml")).unwrap();
        let directory = deployment("www", 1, Usage::Tls).directory();
        let live = ["www", "other"].map(|name| (name.parse().unwrap(), directory)).into();
        let reloaded = Reloaded::load(&Folder::open(&scratch.path).unwrap()).unwrap();
        let time = Time {
            least: Duration::from_millis(500),
            ..Time::new(all)
        };
        let place = Plain::new(&scratch.path).unwrap();
        let wanted = BTreeSet::from(["www".parse().unwrap()]);
        let tested = test(&config, &place, &live, &reloaded, &wanted, &time);
        let is_busy = |server: &Tested<'_>| matches!(&server.verdict, Verdict::Refused(why) if why.contains("busy"));
        if tested.iter().any(is_busy) {
            // Another test's child was started while a script was still open, and holds it for a moment.
            return verdicts(of_deployment, all);
        }
        let words = tested.iter().map(|server| match &server.verdict {
            Verdict::Passed => "passed",
            Verdict::Refused(message) if message.contains("was stopped") => "stopped",
            Verdict::NotTested => "not tested",
            Verdict::Unchanged | Verdict::Undone | Verdict::Refused(_) => "other",
        });
        words.collect()
    }

    #[test]
    fn servers_that_hang_leave_the_others_their_share() {
        let all = Duration::from_secs(3);
        assert_eq!(verdicts("\"a\", \"b\", \"c\"", all), ["stopped", "stopped", "passed"]);
        // Those of the deployment first, whatever they are called.
        let all = Duration::from_millis(600);
        assert_eq!(verdicts("\"c\"", all), ["not tested", "not tested", "passed"]);
        // They have the whole time if need be, and the others are not said to refuse.
        assert_eq!(verdicts("\"a\", \"b\"", all), ["stopped", "stopped", "not tested"]);
    }

    #[test]
    fn a_share_is_bounded() {
        assert_eq!(Time::new(Duration::from_secs(600)).share(3), ONE_TEST);
        assert_eq!(Time::new(Duration::ZERO).at_least(1), LEAST);
        assert!(Time::new(Duration::from_secs(40)).share(4) <= Duration::from_secs(10));
    }
}
