//! Addresses, in the one form that is taken.

use enclave_wire::DnsName;

/// `https://host[:port]/path[?query]`, as it was written: signatures of ACME are over the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    text: String,
    host: DnsName,
    port: u16,
    /// Where the host begins is known; where the path does, this says.
    path: usize,
}

/// Why a text is no [`Url`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// Longer than [`MAX_URL`].
    TooLong,
    /// It does not begin with `https://`.
    Scheme,
    /// No DNS name in lower case: a user name before it, an IP address or a wildcard is none.
    Host,
    /// Not a number from 1 to 65535, or with a zero before it.
    Port,
    /// No path, or one with a byte that a URL encodes; or a fragment.
    Path,
}

impl std::fmt::Display for UrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the URL is too long",
            Self::Scheme => "the URL does not begin with https://",
            Self::Host => "the URL's host is no DNS name in lower case",
            Self::Port => "the URL's port is no number from 1 to 65535",
            Self::Path => "the URL has no path, or one with characters that must be encoded",
        })
    }
}

impl std::error::Error for UrlError {}

impl Url {
    /// The address of `path`, which may have a query, at the standard port of `host`.
    pub fn at(host: &DnsName, path: &str) -> Result<Self, UrlError> {
        format!("{SCHEME}{host}{path}").parse()
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose certificate is wanted.
    #[must_use]
    pub fn host(&self) -> &DnsName {
        &self.host
    }

    /// 443 where none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they were written: what a request's `Host` says.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.text.get(SCHEME.len()..self.path).unwrap_or_default()
    }

    /// Path and query: what a request's first line says.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }

    /// Whether both name the same server.
    #[must_use]
    pub fn same_server(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > MAX_URL {
            return Err(UrlError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        let authority = rest.find('/').ok_or(UrlError::Path)?;
        let (authority, path) = rest.split_at_checked(authority).ok_or(UrlError::Path)?;
        let (host, port) = match authority.split_once(':') {
            Some((host, digits)) => (host, port(digits).ok_or(UrlError::Port)?),
            None => (authority, STANDARD_PORT),
        };
        if !path.bytes().all(is_plain) {
            return Err(UrlError::Path);
        }
        Ok(Self {
            host: name(host).ok_or(UrlError::Host)?,
            port,
            path: text.len().saturating_sub(path.len()),
            text: text.to_owned(),
        })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// No wildcard, and no IP address: no name's last label is a number.
fn name(text: &str) -> Option<DnsName> {
    let last = text.rsplit('.').next()?;
    let is_host = !text.contains('*') && !last.bytes().all(|byte| byte.is_ascii_digit());
    is_host.then(|| text.parse().ok()).flatten()
}

fn port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

/// What RFC 3986 lets stand in a path or a query.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte)
}

const SCHEME: &str = "https://";
const STANDARD_PORT: u16 = 443;
/// The longest that is needed: an object of S3 whose key has 1,024 bytes, each of which is encoded.
pub const MAX_URL: usize = 4_096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<(String, u16, String, String), UrlError> {
        let url: Url = text.parse()?;
        let (host, path) = (url.host().to_string(), url.path().to_owned());
        Ok((host, url.port(), path, url.authority().to_owned()))
    }

    #[test]
    fn urls_and_their_parts() {
        for (text, host, port, path, authority) in [
            ("https://a.example/", "a.example", 443, "/", "a.example"),
            (
                "https://a.example/b/c?d=e%20f",
                "a.example",
                443,
                "/b/c?d=e%20f",
                "a.example",
            ),
            ("https://a.example:443/", "a.example", 443, "/", "a.example:443"),
            (
                "https://localhost:14000/dir",
                "localhost",
                14_000,
                "/dir",
                "localhost:14000",
            ),
            ("https://a:65535//?", "a", 65_535, "//?", "a:65535"),
            ("https://1.a1/~u/(x);y=1,@z!", "1.a1", 443, "/~u/(x);y=1,@z!", "1.a1"),
        ] {
            let parts = (host.to_owned(), port, path.to_owned(), authority.to_owned());
            assert_eq!(parsed(text), Ok(parts), "{text}");
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_url() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("http://a.example/", UrlError::Scheme),
            ("HTTPS://a.example/", UrlError::Scheme),
            ("//a.example/", UrlError::Scheme),
            ("/path", UrlError::Scheme),
            ("https://", UrlError::Path),
            ("https://a.example", UrlError::Path),
            ("https://a.example?q/", UrlError::Host),
            ("https:///path", UrlError::Host),
            ("https://A.example/", UrlError::Host),
            ("https://a.example./", UrlError::Host),
            ("https://*.a.example/", UrlError::Host),
            ("https://user@a.example/", UrlError::Host),
            ("https://user:1@a.example/", UrlError::Port),
            ("https://127.0.0.1/", UrlError::Host),
            ("https://127.0.0.1:14000/dir", UrlError::Host),
            ("https://1/", UrlError::Host),
            ("https://[::1]/", UrlError::Port),
            ("https://a.example#x/", UrlError::Host),
            ("https://a.example\\@b/", UrlError::Host),
            ("https://a.example:/", UrlError::Port),
            ("https://a.example:0/", UrlError::Port),
            ("https://a.example:0443/", UrlError::Port),
            ("https://a.example:+443/", UrlError::Port),
            ("https://a.example:65536/", UrlError::Port),
            ("https://a.example:1:2/", UrlError::Port),
            ("https://a.example/a b", UrlError::Path),
            ("https://a.example/#a", UrlError::Path),
            ("https://a.example/\r\nhost: b", UrlError::Path),
            ("https://a.example/\u{e9}", UrlError::Path),
            ("https://a.example/\"", UrlError::Path),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
        let long = |path: usize| format!("https://a.example/{}", "x".repeat(path)).parse::<Url>();
        assert!(long(MAX_URL - 18).is_ok());
        assert_eq!(long(MAX_URL - 17), Err(UrlError::TooLong));
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let first = url("https://a.example/x");
        assert!(first.same_server(&url("https://a.example:443/y?z")));
        assert!(!first.same_server(&url("https://a.example:8443/x")));
        assert!(!first.same_server(&url("https://b.example/x")));
        let host = "a.example".parse().unwrap();
        assert_eq!(Url::at(&host, "/x"), Ok(first));
        assert_eq!(Url::at(&host, ":8443/x"), Ok(url("https://a.example:8443/x")));
        assert_eq!(Url::at(&host, "x"), Err(UrlError::Path));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_a_url_is_its_parts(text in "https://[a-z.]{1,9}(:[0-9]{1,5})?/[ -~]{0,9}|.{0,40}") {
            if let Ok(url) = text.parse::<Url>() {
                prop_assert_eq!(format!("https://{}{}", url.authority(), url.path()), text);
            }
        }
    }
}
