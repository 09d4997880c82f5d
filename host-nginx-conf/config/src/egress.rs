//! `[egress]`: where the enclave may connect to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use enclave_wire::DnsName;
use serde::Deserialize;

use crate::form::{Table, Word};
use crate::reading::{Reading, Refused};

/// The allow-list, and what of it has an address of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Egress {
    /// `allow`: where the enclave may connect to, and nowhere else.
    pub allow: BTreeSet<Destination>,
    /// `[egress.resolve]`: addresses that DNS is not asked for. Each destination is in `allow`.
    pub resolve: BTreeMap<Destination, SocketAddr>,
}

impl Egress {
    /// Whether the enclave may connect to this port of this host.
    #[must_use]
    pub fn allows(&self, host: &DnsName, port: u16) -> bool {
        // Compared piece by piece: a clone for every connection would be made of what the enclave sends.
        self.allow
            .iter()
            .any(|allowed| allowed.port == port && allowed.host == *host)
    }

    /// The address that `[egress.resolve]` gives it, which may be a local one.
    #[must_use]
    pub fn mapped(&self, host: &DnsName, port: u16) -> Option<SocketAddr> {
        let found = self.resolve.iter().find(|(to, _)| to.port == port && to.host == *host);
        found.map(|(_, address)| *address)
    }
}

/// A port of a host. Written `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Destination {
    /// A name, not an address and without a wildcard.
    pub host: DnsName,
    /// A TCP port, not 0.
    pub port: u16,
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Whether an address is of the machine itself or of its link: what a name of the Internet must not resolve to, or whoever answers
/// DNS could send the enclave's connections to the instance's metadata service.
#[must_use]
pub fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.octets().first() == Some(&0)
        }
        IpAddr::V6(v6) => {
            let aws = v6.segments().get(..2) == INSTANCE_SERVICES.segments().get(..2);
            v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast() || aws
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    #[serde(default)]
    allow: Vec<Word>,
    #[serde(default)]
    resolve: BTreeMap<Word, Word>,
}

pub(crate) fn read(form: Option<Table<Form>>, reading: &mut Reading) -> Result<Egress, Refused> {
    let Table(form) = form.unwrap_or_default();
    let mut egress = Egress::default();
    let mut written = Vec::new();
    let mut outcome = Ok(());
    for word in form.allow {
        let at = word.span();
        match reading.word(word, "allow", destination) {
            Ok(to) if egress.allow.contains(&to) => {
                outcome = Err(reading.wrong(at, format!("{to} is allowed already: remove this one")));
            }
            Ok(to) => {
                written.push((at, to.clone()));
                egress.allow.insert(to);
            }
            Err(refused) => outcome = Err(refused),
        }
    }
    for (name, address) in form.resolve {
        let at = name.span();
        let to = reading.word(name, "[egress.resolve]", destination);
        let address = reading.word(address, "[egress.resolve]", address_of);
        match (to, address) {
            (Ok(to), _) if !egress.allow.contains(&to) => {
                outcome = Err(reading.wrong(
                    at,
                    format!("{to} is not allowed: add it to [egress] allow, or remove this line"),
                ));
            }
            (Ok(to), Ok(address)) => {
                egress.resolve.insert(to, address);
            }
            (Err(refused), _) | (_, Err(refused)) => outcome = Err(refused),
        }
    }
    for (at, to) in written {
        let host = to.host.as_str();
        if (host == "localhost" || host.ends_with(".localhost")) && !egress.resolve.contains_key(&to) {
            outcome = Err(reading.wrong(
                at,
                format!(
                    "{to} is this machine, which only [egress.resolve] may name: add \"{to}\" = \"127.0.0.1:{}\" there",
                    to.port
                ),
            ));
        }
    }
    outcome.map(|()| egress)
}

fn destination(text: &str) -> Result<Destination, String> {
    let parsed = text.rsplit_once(':').and_then(|(name, number)| {
        let port: u16 = number.parse().ok().filter(|port| *port != 0)?;
        let canonical = port.to_string() == number;
        host(name).filter(|_| canonical).map(|host| Destination { host, port })
    });
    parsed.ok_or_else(|| DESTINATION.to_owned())
}

/// A host's name. An address is none: `1.2.3.4` would read as one, and a ClientHello never carries it.
pub(crate) fn host(text: &str) -> Option<DnsName> {
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_address = last.bytes().all(|b| b.is_ascii_digit());
    DnsName::try_from(text)
        .ok()
        .filter(|_| !text.starts_with("*.") && !is_address)
}

fn address_of(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    let usable = address.filter(|address| address.port() != 0 && !address.ip().is_unspecified());
    usable.ok_or_else(|| "write an IP address and a port, as 10.0.0.5:443 or [fd00::5]:443".to_owned())
}

const DESTINATION: &str =
    "write HOST:PORT, as kms.us-east-1.amazonaws.com:443: a name in lower case, no address and no wildcard";

/// AWS's services of the instance over IPv6: metadata, DNS and time are in this /32.
const INSTANCE_SERVICES: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_known() {
        for local in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(is_local(local.parse().unwrap()), "{local}");
        }
        for other in [
            "10.0.0.1",
            "192.0.2.1",
            "172.31.0.2",
            "2001:db8::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_local(other.parse().unwrap()), "{other}");
        }
    }
}
