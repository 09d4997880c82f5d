//! Where a plane listens, or is dialled. Only the notation: a peer opens the socket.

/// An address, as configuration files and command lines write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `unix:/absolute/path`
    UnixPath(String),
    /// `unix:@name`: Linux's abstract namespace, which a chroot does not hide.
    UnixAbstract(String),
    /// `vsock:CID:PORT`, or `vsock:any:PORT` to listen.
    Vsock {
        /// The peer's context id; none stands for any.
        cid: Option<u32>,
        /// The port.
        port: u32,
    },
}

/// Why an address was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// It begins with neither `unix:` nor `vsock:`.
    Scheme,
    /// A path that is not absolute, an empty name, or either longer than a socket address holds.
    Path,
    /// A CID or a port that is not a number below 2^32 - 1, in its shortest form.
    Number,
}

impl std::fmt::Display for AddressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Scheme => "an address is unix:/PATH, unix:@NAME or vsock:CID:PORT",
            Self::Path => "a socket's path is absolute, its name not empty, and neither is above 107 bytes",
            Self::Number => "a vsock address is vsock:CID:PORT, two decimal numbers (or vsock:any:PORT to listen)",
        })
    }
}

impl std::error::Error for AddressError {}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(rest) = text.strip_prefix("vsock:") {
            let (cid, port) = rest.split_once(':').ok_or(AddressError::Number)?;
            let cid = if cid == "any" { None } else { Some(number(cid)?) };
            return Ok(Self::Vsock {
                cid,
                port: number(port)?,
            });
        }
        let place = text.strip_prefix("unix:").ok_or(AddressError::Scheme)?;
        if place.len() > MAX_PATH || place.contains('\0') {
            return Err(AddressError::Path);
        }
        match place.strip_prefix('@') {
            Some("") => Err(AddressError::Path),
            Some(name) => Ok(Self::UnixAbstract(name.to_owned())),
            None if place.starts_with('/') => Ok(Self::UnixPath(place.to_owned())),
            None => Err(AddressError::Path),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnixPath(path) => write!(f, "unix:{path}"),
            Self::UnixAbstract(name) => write!(f, "unix:@{name}"),
            Self::Vsock { cid: Some(cid), port } => write!(f, "vsock:{cid}:{port}"),
            Self::Vsock { cid: None, port } => write!(f, "vsock:any:{port}"),
        }
    }
}

fn number(text: &str) -> Result<u32, AddressError> {
    let number: u32 = text.parse().map_err(|_| AddressError::Number)?;
    // The highest number means "any" to the kernel; a sign or a leading zero is not what was meant.
    if number == u32::MAX || number.to_string() != text {
        Err(AddressError::Number)
    } else {
        Ok(number)
    }
}

/// `sun_path` has 108 bytes, one of which ends a path or begins an abstract name.
const MAX_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in ["unix:/run/a.sock", "unix:@enclave", "vsock:16:4430", "vsock:any:4430"] {
            assert_eq!(text.parse::<Address>().map(|a| a.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn addresses_that_mean_nothing_are_refused() {
        let long = format!("unix:/{}", "a".repeat(107));
        let cases = [
            ("", AddressError::Scheme),
            ("tcp:1:2", AddressError::Scheme),
            ("unix:a", AddressError::Path),
            ("unix:@", AddressError::Path),
            ("unix:", AddressError::Path),
            (&long, AddressError::Path),
            ("unix:/a\0b", AddressError::Path),
            ("vsock:16", AddressError::Number),
            ("vsock:+16:1", AddressError::Number),
            ("vsock:16:01", AddressError::Number),
            ("vsock:4294967295:1", AddressError::Number),
            ("vsock:16:any", AddressError::Number),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
    }
}
