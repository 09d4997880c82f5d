//! What went out, by host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use enclave_wire::DnsName;
use enclave_wire::egress::Connect;

use super::allow::Target;
use crate::Shared;
use enclave_tls_admin::protocol;

/// Counts of one host.
#[derive(Default)]
pub(crate) struct Counts {
    open: AtomicU64,
    connections: AtomicU64,
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
    pub(crate) unreachable: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) not_tls: AtomicU64,
    pub(crate) other_name: AtomicU64,
}

impl Counts {
    /// Adds to one of them, and gives what it was before.
    pub(crate) fn add(count: &AtomicU64, more: u64) -> u64 {
        count.fetch_add(more, Ordering::Relaxed)
    }

    /// Counts a connection, now and in all.
    pub(crate) fn opened(&self) -> Open<'_> {
        Self::add(&self.connections, 1);
        Self::add(&self.open, 1);
        Open(self)
    }
}

/// A connection that is open until this is dropped.
pub(crate) struct Open<'a>(&'a Counts);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts of what is no host's.
#[derive(Default)]
pub(crate) struct Meter {
    malformed: AtomicU64,
    dropped: AtomicU64,
    more_strangers: AtomicU64,
    strangers: Shared<Vec<(DnsName, u16, u64)>>,
}

impl Meter {
    pub(crate) fn malformed(&self) {
        Counts::add(&self.malformed, 1);
    }

    pub(crate) fn dropped(&self) {
        Counts::add(&self.dropped, 1);
    }

    /// Counts a host that is not on the list. Whether it is the first time; of hosts beyond the first few that is not known.
    pub(crate) fn stranger(&self, connect: &Connect) -> bool {
        let mut strangers = self.strangers.lock();
        let is_it = |(host, port, _): &&mut (DnsName, u16, u64)| *host == connect.host && *port == connect.port;
        if let Some((_, _, count)) = strangers.iter_mut().find(is_it) {
            *count = count.saturating_add(1);
            return false;
        }
        if strangers.len() < MAX_STRANGERS {
            strangers.push((connect.host.clone(), connect.port, 1));
            return true;
        }
        Counts::add(&self.more_strangers, 1);
        false
    }

    pub(crate) fn report(&self, targets: &[Arc<Target>]) -> protocol::Egress {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let hosts = targets.iter().map(|target| protocol::Host {
            host: target.host().clone(),
            port: target.port(),
            open: read(&target.counts.open),
            connections: read(&target.counts.connections),
            up: read(&target.counts.up),
            down: read(&target.counts.down),
            unreachable: read(&target.counts.unreachable),
            busy: read(&target.counts.busy),
            not_tls: read(&target.counts.not_tls),
            other_name: read(&target.counts.other_name),
        });
        let strangers = self.strangers.lock();
        let strangers = strangers.iter().map(|(host, port, refused)| protocol::Stranger {
            host: host.clone(),
            port: *port,
            refused: *refused,
        });
        protocol::Egress {
            hosts: hosts.collect(),
            strangers: strangers.collect(),
            more_strangers: read(&self.more_strangers),
            malformed: read(&self.malformed),
            dropped: read(&self.dropped),
        }
    }
}

/// An enclave that asks for host after host does not fill the memory of the parent.
const MAX_STRANGERS: usize = 32;
