//! A host outside AWS that the enclave may speak to, and the roots that its chain must end in.

use enclave_wire::DnsName;

use crate::any_or::{ANY, AnyOr};
use crate::root;
use crate::tree::Tree;

/// A pattern of addresses, with roots. Each that matches an address adds its roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    /// DER, in order of their bytes.
    pub(crate) roots: AnyOr<Vec<u8>>,
}

impl Endpoint {
    /// Roots in the one order that two policies write.
    pub(crate) fn new(address: Address, roots: AnyOr<Vec<u8>>) -> Self {
        let roots = match roots {
            AnyOr::Any => AnyOr::Any,
            AnyOr::Only(mut roots) => {
                roots.sort_unstable();
                AnyOr::Only(roots)
            }
        };
        Self { address, roots }
    }

    pub(crate) fn intersect(&self, other: &Self) -> Option<Self> {
        let address = self.address.intersect(&other.address)?;
        let roots = self.roots.intersect(&other.roots);
        let names_none = matches!(&roots, AnyOr::Only(roots) if roots.is_empty());
        (!names_none).then_some(Self { address, roots })
    }

    pub(crate) fn to_tree(&self, what: &str) -> Tree {
        let roots = match &self.roots {
            AnyOr::Any => [Tree::from(ANY)].into_iter().collect(),
            AnyOr::Only(roots) => roots.iter().map(|root| Tree::Text(root::to_pem(root))).collect(),
        };
        Tree::from([(what, Tree::Text(self.address.to_string())), ("roots", roots)])
    }
}

/// Every pair, with what both allow: as with names nothing is won. Nothing is lost either, but where it would take more
/// entries than a policy may have: then none is left.
pub(crate) fn intersect(a: &[Endpoint], b: &[Endpoint]) -> Vec<Endpoint> {
    let mut merged: Vec<Endpoint> = Vec::new();
    for both in a.iter().flat_map(|a| b.iter().filter_map(move |b| a.intersect(b))) {
        if !merged.contains(&both) {
            merged.push(both);
        }
    }
    if merged.len() > MAX_ENDPOINTS {
        return Vec::new();
    }
    merged
}

/// The address of a server's resource, in parts, each of which may be left open; or every address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `*`.
    Any,
    /// `https://host[:port]/path`.
    Url(Parts),
}

/// The parts of an address: none stands for any label of the host, or any segment of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    labels: Vec<Option<String>>,
    port: u16,
    segments: Vec<Option<String>>,
}

impl Address {
    /// Whether it is written for this address alone, or for those that differ in parts. What is left open names none.
    pub(crate) fn names(&self, host: &DnsName, port: u16, path: &str) -> bool {
        match self {
            Self::Any => false,
            Self::Url(parts) => parts.match_to(host, port, path),
        }
    }

    /// The one address that it stands for.
    pub(crate) fn single(&self) -> Option<String> {
        match self {
            Self::Url(parts) if parts.are_literal() => Some(self.to_string()),
            Self::Any | Self::Url(_) => None,
        }
    }

    fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, other) => Some(other.clone()),
            (parts, Self::Any) => Some(parts.clone()),
            (Self::Url(a), Self::Url(b)) => a.intersect(b).map(Self::Url),
        }
    }
}

impl Parts {
    fn match_to(&self, host: &DnsName, port: u16, path: &str) -> bool {
        let path = path.strip_prefix('/').unwrap_or(path);
        port == self.port && fit(&self.labels, host.as_str().split('.')) && fit(&self.segments, path.split('/'))
    }

    fn intersect(&self, other: &Self) -> Option<Self> {
        (self.port == other.port).then_some(())?;
        Some(Self {
            labels: both(&self.labels, &other.labels)?,
            port: self.port,
            segments: both(&self.segments, &other.segments)?,
        })
    }

    fn are_literal(&self) -> bool {
        self.labels.iter().chain(&self.segments).all(Option::is_some)
    }

    fn read(text: &str) -> Option<Self> {
        let (authority, path) = text.strip_prefix(SCHEME)?.split_once('/')?;
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, read_port(port)?),
            None => (authority, STANDARD_PORT),
        };
        // No star stands for a dot, so a host with letters in the place of its stars is one wherever the pattern is.
        let example = host.split('.').map(|label| if label == ANY { "a" } else { label });
        let example = example.collect::<Vec<_>>().join(".");
        let is_host = !example.contains('*') && DnsName::try_from(example.as_str()).is_ok();
        // No name's last label is a number: that would be an IP address.
        let is_number = host.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit());
        let segments: Vec<&str> = path.split('/').collect();
        let are_segments = segments
            .iter()
            .all(|segment| *segment == ANY || segment.bytes().all(is_plain));
        (is_host && !is_number && are_segments).then(|| Self {
            labels: host.split('.').map(part).collect(),
            port,
            segments: segments.into_iter().map(part).collect(),
        })
    }
}

/// Why a text is no pattern of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidAddress;

impl std::fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "an address is https://HOST[:PORT]/PATH in lower case, without a query; a whole label or segment may be *, and * alone leaves it open",
        )
    }
}

impl std::str::FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        match text {
            ANY => Ok(Self::Any),
            _ if text.len() > MAX_ADDRESS => Err(InvalidAddress),
            _ => Parts::read(text).map(Self::Url).ok_or(InvalidAddress),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Url(parts) = self else {
            return f.write_str(ANY);
        };
        write!(f, "{SCHEME}{}", joined(&parts.labels, "."))?;
        if parts.port != STANDARD_PORT {
            write!(f, ":{}", parts.port)?;
        }
        write!(f, "/{}", joined(&parts.segments, "/"))
    }
}

fn part(text: &str) -> Option<String> {
    (text != ANY).then(|| text.to_owned())
}

fn joined(parts: &[Option<String>], separator: &str) -> String {
    let texts: Vec<&str> = parts.iter().map(|part| part.as_deref().unwrap_or(ANY)).collect();
    texts.join(separator)
}

fn fit<'a>(pattern: &[Option<String>], parts: impl Iterator<Item = &'a str>) -> bool {
    let parts: Vec<&str> = parts.collect();
    let fits = |(pattern, part): (&Option<String>, &&str)| pattern.as_deref().is_none_or(|text| text == *part);
    pattern.len() == parts.len() && pattern.iter().zip(&parts).all(fits)
}

fn both(a: &[Option<String>], b: &[Option<String>]) -> Option<Vec<Option<String>>> {
    let one = |(a, b): (&Option<String>, &Option<String>)| match (a, b) {
        (None, other) | (other, None) => Some(other.clone()),
        (Some(a), Some(b)) => (a == b).then(|| Some(a.clone())),
    };
    (a.len() == b.len()).then(|| a.iter().zip(b).map(one).collect())?
}

fn read_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

/// What RFC 3986 lets stand in a segment, but for the star.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@%".contains(&byte)
}

const SCHEME: &str = "https://";
const STANDARD_PORT: u16 = 443;
/// As long as a URL of the control plane.
const MAX_ADDRESS: usize = 1_024;
/// Two policies intersect pair by pair: this many entries each are some thousand pairs. A site has a few CAs.
pub(crate) const MAX_ENDPOINTS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_is_one_whole_label_or_segment() {
        let acm = address("https://acm-acme-enroll.*.api.aws/*/directory");
        let names = |host: &str, port, path| acm.names(&host.parse().unwrap(), port, path);
        assert!(names("acm-acme-enroll.eu-west-1.api.aws", 443, "/0b1c/directory"));
        for (host, port, path) in [
            ("acm-acme-enroll.eu-west-1.api.aws", 444, "/0b1c/directory"),
            ("acm-acme-enroll.eu-west-1.api.aws", 443, "/0b1c/x/directory"),
            ("acm-acme-enroll.eu-west-1.api.aws", 443, "/directory"),
            ("acm-acme-enroll.eu-west-1.api.aws", 443, "/0b1c/directory/"),
            ("acm-acme-enroll.eu-west-1.api.aws", 443, "/0b1c/directory?x=1"),
            ("acm-acme-enroll.eu.west.api.aws", 443, "/0b1c/directory"),
            ("acm-acme-enroll.api.aws", 443, "/0b1c/directory"),
            ("evil.eu-west-1.api.aws", 443, "/0b1c/directory"),
            ("acm-acme-enroll.eu-west-1.api.aws.evil.example", 443, "/0b1c/directory"),
        ] {
            assert!(!names(host, port, path), "{host}:{port}{path}");
        }
        let open = address("*");
        assert!(!open.names(&"a.example".parse().unwrap(), 443, "/"), "it names none");
    }

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in [
            "*",
            "https://a.example/",
            "https://*/*",
            "https://localhost:14000/dir",
            "https://a.example/b//c/%20(;=)",
        ] {
            assert_eq!(address(text).to_string(), text);
        }
        assert_eq!(address("https://a.example:443/x"), address("https://a.example/x"));
        assert_eq!(
            address("https://a.example:443/x").single().unwrap(),
            "https://a.example/x"
        );
        assert_eq!(address("https://a.example/*").single(), None);
        assert_eq!(address("*").single(), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("https://a.example/{}", "x".repeat(1_024));
        for text in [
            "",
            "https://",
            "https://a.example",
            "http://a.example/",
            "https:///x",
            "https://A.example/",
            "https://a*.example/",
            "https://**.example/",
            "https://a.example/x*",
            "https://a.example/x?y",
            "https://a.example/x#y",
            "https://a.example/x y",
            "https://user@a.example/",
            "https://127.0.0.1/",
            "https://*.*.*.1/",
            "https://a.example:0/",
            "https://a.example:0443/",
            "https://a.example:*/",
            "https://a..example/",
            long.as_str(),
        ] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
        }
    }
}
