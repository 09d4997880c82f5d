//! Where things are: paths that are written into other programs' configuration files.

use std::fmt;
use std::path::{Path, PathBuf};

use enclave_tls_apply::Directory;
use enclave_wire::Name;

/// An absolute path that stands as itself in the configuration of NGINX, httpd, HAProxy and OpenSSL: nothing in it is quoted,
/// expanded or ends a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain(String);

/// The path is none of those.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BaseError(PathBuf);

impl fmt::Display for BaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cannot be written into servers' configuration; name an absolute path of letters, digits and / . _ -",
            self.0.display()
        )
    }
}

impl Plain {
    pub(crate) fn new(path: &Path) -> Result<Self, BaseError> {
        let refused = || BaseError(path.to_owned());
        let text = path.to_str().ok_or_else(refused)?;
        let steps = text.strip_prefix('/').ok_or_else(refused)?.trim_end_matches('/');
        let plain = steps.split('/').all(|step| {
            let allowed = step
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            allowed && !matches!(step, "" | "." | "..")
        });
        plain.then(|| Self(format!("/{steps}"))).ok_or_else(refused)
    }

    pub(crate) fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The directory of a generation.
    pub(crate) fn generation(&self, name: &Name, directory: Directory) -> Self {
        Self(format!("{}/generations/{name}/{directory}", self.0))
    }

    /// A file of a client.
    pub(crate) fn of_client(&self, client: &Name, file: &str) -> Self {
        Self(format!("{}/clients/{client}/{file}", self.0))
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The module that is installed, where no argument names one.
pub(crate) fn installed_module() -> Plain {
    first_existing(MODULES.iter().copied(), MODULES)
}

/// Where OpenSSL's providers and engines are.
pub(crate) fn openssl_libraries() -> Plain {
    first_existing(
        LIBRARIES
            .iter()
            .copied()
            .filter(|path| Path::new(path).join("ossl-modules").exists()),
        LIBRARIES,
    )
}

fn first_existing<'a>(mut candidates: impl Iterator<Item = &'a str>, [usual, ..]: [&str; 3]) -> Plain {
    let found = candidates.find(|path| Path::new(path).exists());
    Plain(found.unwrap_or(usual).to_owned())
}

/// Amazon Linux, then Debian.
const MODULES: [&str; 3] = [
    "/usr/lib64/pkcs11/libenclave_tls_pkcs11.so",
    "/usr/lib/x86_64-linux-gnu/pkcs11/libenclave_tls_pkcs11.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/libenclave_tls_pkcs11.so",
];
const LIBRARIES: [&str; 3] = ["/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_written_into_configuration() {
        for bad in [
            "", "etc", "/", "/a b", "/a;b", "/a\nb", "/a\"b", "/a$b", "/a#b", "/a\\b", "/a%b", "/../a", "/a/./b",
            "/a//b", "/ä", "/a{b}",
        ] {
            assert!(Plain::new(Path::new(bad)).is_err(), "{bad:?}");
        }
        for good in ["/etc/enclave-tls", "/a", "/tmp/.x_1/b-2"] {
            assert_eq!(Plain::new(Path::new(good)).unwrap().to_string(), good);
        }
        assert_eq!(Plain::new(Path::new("/a/")).unwrap().to_string(), "/a");
    }
}
