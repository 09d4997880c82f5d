//! Ports for the lab's servers.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};

/// Ports of the loopback that are free now, and not of the range from which clients are given theirs.
pub(super) struct Ports(Vec<TcpListener>);

impl Ports {
    pub(super) fn find(count: usize) -> Result<Self> {
        let mut seed = [0_u8; 2];
        getrandom::fill(&mut seed)?;
        let first = 15_000 + u16::from_le_bytes(seed) % 15_000;
        let free = (first..first + 2_000).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        let found: Vec<TcpListener> = free.take(count).collect();
        ensure!(found.len() == count, "not enough free ports on 127.0.0.1");
        Ok(Self(found))
    }

    pub(super) fn take(&mut self) -> Result<u16> {
        Ok(self.0.pop().context("no port left")?.local_addr()?.port())
    }
}
