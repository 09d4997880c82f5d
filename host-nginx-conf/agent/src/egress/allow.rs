//! The allow-list: which hosts, and at which addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;

use enclave_tls_config::Destination;
use enclave_wire::DnsName;
use enclave_wire::egress::Connect;

use super::meter::Counts;
use enclave_tls_admin::deadline::Deadline;

/// A destination of the configuration, and the address to connect to where that is not the host's own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Allowed {
    host: DnsName,
    port: u16,
    mapped: Option<SocketAddr>,
}

/// A host of the list, and what went there.
pub(crate) struct Target {
    allowed: Allowed,
    pub(crate) counts: Counts,
}

/// Why a host is not reached.
#[derive(Debug)]
pub(crate) enum Unreached {
    /// It has no address, or the name server does not answer.
    Name(io::Error),
    /// It has only addresses that must not be reached.
    OffLimits,
    /// No address answers.
    Connect(io::Error),
    /// Not in time.
    Deadline,
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(error) => write!(f, "its name leads nowhere: {error}"),
            Self::OffLimits => f.write_str(
                "its name leads to this machine or to a link-local address, which the service must not reach; if that is meant, give \
                 its address under [egress.resolve]",
            ),
            Self::Connect(error) => write!(f, "it does not answer: {error}"),
            Self::Deadline => f.write_str("it does not answer in time"),
        }
    }
}

impl Target {
    /// The allow-list. What is not new keeps its counts.
    pub(crate) fn list(config: &enclave_tls_config::Egress, older: &[Arc<Self>]) -> Vec<Arc<Self>> {
        let target = |to: &Destination| {
            let allowed = Allowed {
                host: to.host.clone(),
                port: to.port,
                mapped: config.mapped(&to.host, to.port),
            };
            let known = older.iter().find(|older| older.allowed == allowed);
            known.map_or_else(|| Arc::new(Self::from(allowed)), Arc::clone)
        };
        config.allow.iter().map(target).collect()
    }

    /// Whether this is what the enclave asks for.
    pub(crate) fn is(&self, connect: &Connect) -> bool {
        self.allowed.host == connect.host && self.allowed.port == connect.port
    }

    pub(crate) fn host(&self) -> &DnsName {
        &self.allowed.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.allowed.port
    }

    /// Connects to the first address that answers.
    pub(crate) fn connect(&self, deadline: Deadline) -> Result<TcpStream, Unreached> {
        let mut last = Unreached::OffLimits;
        for address in self.addresses()? {
            let left = deadline.left().ok_or(Unreached::Deadline)?;
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    // A handshake is small messages that each side waits for.
                    drop(stream.set_nodelay(true));
                    return Ok(stream);
                }
                Err(error) => last = Unreached::Connect(error),
            }
        }
        Err(last)
    }

    /// The name server is asked by the system, in its time; the enclave has a deadline of its own.
    fn addresses(&self) -> Result<Vec<SocketAddr>, Unreached> {
        if let Some(mapped) = self.allowed.mapped {
            return Ok(vec![mapped]);
        }
        let name = (self.host().as_str(), self.port());
        let found = name.to_socket_addrs().map_err(Unreached::Name)?;
        Ok(found.filter(|address| !is_off_limits(address.ip())).collect())
    }
}

impl From<Allowed> for Target {
    fn from(allowed: Allowed) -> Self {
        Self {
            allowed,
            counts: Counts::default(),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.allowed.host, self.allowed.port)
    }
}

/// This machine's own addresses, its link's, and those of EC2's own services (IMDS among them): what a name server, which nobody
/// vouches for, must not lead to.
fn is_off_limits(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_off_limits_v4(ip),
        IpAddr::V6(ip) => is_off_limits_v6(ip) || embedded(ip).is_some_and(is_off_limits_v4),
    }
}

fn is_off_limits_v4(ip: Ipv4Addr) -> bool {
    ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast()
}

fn is_off_limits_v6(ip: Ipv6Addr) -> bool {
    let ec2 = matches!(ip.segments(), [0xfd00, 0x0ec2, ..]);
    ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast() || ec2
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, or by NAT64.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imds_and_this_machine_are_off_limits_in_every_form() {
        for address in [
            "127.0.0.1",
            "127.8.9.1",
            "0.0.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "::ffff:127.0.0.1",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(is_off_limits(address.parse().unwrap()), "{address}");
        }
        for address in [
            "10.0.0.7",
            "172.31.1.1",
            "52.119.1.1",
            "2600:1f18::1",
            "fd12::1",
            "64:ff9b::3477:101",
        ] {
            assert!(!is_off_limits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_not_reached_unless_it_is_mapped() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let reach = |mapped| {
            let target = Target::from(Allowed {
                host: "localhost".parse().unwrap(),
                port: address.port(),
                mapped,
            });
            target.connect(Deadline::after(std::time::Duration::from_secs(3)))
        };
        let refused = reach(None);
        assert!(matches!(refused, Err(Unreached::OffLimits)), "{refused:?}");
        assert!(reach(Some(address)).is_ok());
    }
}
