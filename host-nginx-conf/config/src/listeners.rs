//! `listeners`: where clients reach a server, so that the agent looks at what they see.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use toml::Spanned;

use crate::form::Word;
use crate::reading::{Reading, Refused};

/// An address on which a server takes TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// `ADDRESS:PORT`, as the server's own configuration has it.
    pub address: SocketAddr,
    /// `proxy_protocol`: what comes before the handshake.
    pub proxy: Option<Proxy>,
}

/// The versions of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proxy {
    /// `v1`: a line of text.
    V1,
    /// `v2`: a binary header.
    V2,
}

impl Listener {
    /// Where this machine reaches it: who listens everywhere listens on the loopback address.
    #[must_use]
    pub fn dial(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        SocketAddr::new(ip, self.address.port())
    }
}

/// Those of a server.
pub(crate) fn of_server(
    given: Option<Spanned<Vec<Word>>>,
    proxy: Option<Word>,
    reading: &mut Reading,
) -> Result<Vec<Listener>, Refused> {
    let proxy_at = proxy.as_ref().map(Spanned::span);
    let proxy = proxy
        .map(|word| reading.word(word, "proxy_protocol", proxy_of))
        .transpose();
    let Some(given) = given else {
        return match proxy_at {
            Some(at) => Err(reading.wrong(
                at,
                "proxy_protocol is of listeners, and there are none: add listeners = [\"0.0.0.0:443\"]",
            )),
            None => Ok(Vec::new()),
        };
    };
    let addresses = addresses(given, reading);
    let (proxy, addresses) = (proxy?, addresses?);
    let listener = |address| Listener { address, proxy };
    Ok(addresses.into_iter().map(listener).collect())
}

/// Those of a certificate: all of its servers', or those of them that it names, which may be none.
pub(crate) fn of_certificate(
    given: Option<Spanned<Vec<Word>>>,
    servers: &BTreeMap<SocketAddr, Listener>,
    reading: &mut Reading,
) -> Result<Vec<Listener>, Refused> {
    let Some(given) = given else {
        return Ok(servers.values().copied().collect());
    };
    let at = given.span();
    if given.get_ref().is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for address in addresses(given, reading)? {
        let Some(listener) = servers.get(&address) else {
            return Err(reading.wrong(
                at,
                format!("none of its servers has the listener {address}: add it to their listeners, or remove it here"),
            ));
        };
        found.push(*listener);
    }
    Ok(found)
}

fn addresses(given: Spanned<Vec<Word>>, reading: &mut Reading) -> Result<Vec<SocketAddr>, Refused> {
    let at = given.span();
    let words = given.into_inner();
    if !(1..=MAX_LISTENERS).contains(&words.len()) {
        return Err(reading.wrong(at, LISTENERS));
    }
    let mut addresses = Vec::with_capacity(words.len());
    let mut outcome = Ok(());
    for word in words {
        let at = word.span();
        match reading.word(word, "listeners", address_of) {
            Ok(address) if addresses.contains(&address) => {
                outcome = Err(reading.wrong(at, format!("listeners has {address} twice: remove one")));
            }
            Ok(address) => addresses.push(address),
            Err(refused) => outcome = Err(refused),
        }
    }
    outcome.map(|()| addresses)
}

fn address_of(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().map_err(|_| LISTENER.to_owned())?;
    if address.port() == 0 {
        return Err("port 0 is no port that anyone finds: write another".to_owned());
    }
    Ok(address)
}

fn proxy_of(text: &str) -> Result<Proxy, String> {
    match text {
        "v1" => Ok(Proxy::V1),
        "v2" => Ok(Proxy::V2),
        _ => Err("write v1 or v2, the version of the PROXY protocol that the listeners take".to_owned()),
    }
}

const LISTENER: &str = "write an address and a port, as 0.0.0.0:443 or [::]:443";
const LISTENERS: &str = "listeners has 1 to 64 addresses: add one, or leave it out";
/// Each is looked at some twenty times for each name of a certificate.
const MAX_LISTENERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_on_the_loopback_address() {
        for (written, dialled) in [
            ("0.0.0.0:443", "127.0.0.1:443"),
            ("[::]:8443", "[::1]:8443"),
            ("10.0.0.5:443", "10.0.0.5:443"),
        ] {
            let listener = Listener {
                address: written.parse().unwrap(),
                proxy: None,
            };
            assert_eq!(listener.dial(), dialled.parse().unwrap());
        }
    }
}
