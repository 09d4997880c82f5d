//! Where the service is, and the credential that it knows this process by.

mod credential;
mod directory;
mod published;
mod source;

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use enclave_wire::Objects;
use enclave_wire::address::{Address, AddressError};
use serde::Deserialize;

pub use credential::Credential;
use directory::Directory;
use published::PublishedFile;
pub use source::{Source, SourceError};

/// What a configuration file says.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// One or two. The first that authenticates is used.
    pub endpoints: Vec<Address>,
    /// The credential's file, relative to the configuration's directory.
    pub credential: PathBuf,
    /// The public objects file, relative to the configuration's directory, if one is to be used.
    pub objects: Option<PathBuf>,
}

/// Why a configuration was refused. Its writer is at fault.
#[derive(Debug)]
pub enum ConfigError {
    /// Not text, or longer than [`MAX_FILE`].
    NotText,
    /// Not TOML, or with a key that is missing or unknown. The message names the line.
    Form(Box<toml::de::Error>),
    /// There is no endpoint, or more than two.
    EndpointCount,
    /// This endpoint is no address.
    Endpoint(usize, AddressError),
    /// This endpoint is an address to listen on, not to dial.
    NotDialable(usize),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotText => write!(f, "the configuration is not text, or above {MAX_FILE} bytes"),
            Self::Form(error) => write!(f, "{error}"),
            Self::EndpointCount => f.write_str("endpoints must name one or two addresses"),
            Self::Endpoint(index, error) => write!(f, "endpoints[{index}]: {error}"),
            Self::NotDialable(index) => write!(f, "endpoints[{index}]: vsock:any can only be listened on"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let form: Form = toml::from_str(text).map_err(|error| ConfigError::Form(Box::new(error)))?;
        if !(1..=MAX_ENDPOINTS).contains(&form.endpoints.len()) {
            return Err(ConfigError::EndpointCount);
        }
        let endpoints = form.endpoints.iter().enumerate();
        let endpoints = endpoints.map(|(index, text)| match text.parse() {
            Err(error) => Err(ConfigError::Endpoint(index, error)),
            Ok(Address::Vsock { cid: None, .. }) => Err(ConfigError::NotDialable(index)),
            Ok(address) => Ok(address),
        });
        Ok(Self {
            endpoints: endpoints.collect::<Result<_, _>>()?,
            credential: form.credential,
            objects: form.objects,
        })
    }
}

/// A configuration that was read, the directory that it came from, and the credential and the public objects that were there.
///
/// It is read once and kept over fork and `C_Finalize`, since a web server may have dropped its rights or changed its root by the next
/// `C_Initialize`. Only credential and public objects are read again, through the directory that stays open.
#[derive(Clone)]
pub struct Settings {
    source: PathBuf,
    directory: Arc<Directory>,
    config: Arc<Config>,
    credential: Option<Arc<Credential>>,
    published: PublishedFile,
}

impl Settings {
    /// The number of the directory that they keep open. Whoever closes it takes from them what could be read again, and no more.
    #[must_use]
    pub fn directory_number(&self) -> Option<RawFd> {
        self.directory.number()
    }

    /// Reads a configuration file. None where there is none that can be read: that is no mistake, only no token.
    pub fn load(source: &Path) -> Result<Option<Self>, ConfigError> {
        let (Some(name), Some(directory)) = (source.file_name(), Directory::of(source)) else {
            return Ok(None);
        };
        let Some(bytes) = directory.read(Path::new(name), MAX_FILE) else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText)?;
        if text.len() > MAX_FILE {
            return Err(ConfigError::NotText);
        }
        let mut settings = Self {
            source: source.to_owned(),
            directory: Arc::new(directory),
            config: Arc::new(text.parse()?),
            credential: None,
            published: PublishedFile::default(),
        };
        settings.read_credential_again();
        settings.read_few_objects_again();
        Ok(Some(settings))
    }

    /// Whether they came from this file.
    #[must_use]
    pub fn came_from(&self, source: &Path) -> bool {
        self.source == source
    }

    /// Takes the credential that is in the file now. Keeps the one it has if there is none that can be read.
    pub fn read_credential_again(&mut self) {
        let read = self
            .directory
            .read(&self.config.credential, Credential::FILE_LEN)
            .and_then(Credential::parse);
        if let Some(credential) = read {
            self.credential = Some(Arc::new(credential));
        }
    }

    /// Takes the public objects that are in the file now. Keeps those it has if there is none that can be read.
    pub fn read_objects_again(&mut self) {
        self.read_objects(Objects::MAX_FILE);
    }

    /// The same where they are few: then they are had whatever becomes of the directory. Of thousands of keys a process that finds its own
    /// at the service needs none, and they would cost each process tens of megabytes: they are read once something is not found there.
    pub fn read_few_objects_again(&mut self) {
        self.read_objects(FEW_OBJECTS);
    }

    fn read_objects(&mut self, longest: usize) {
        if let Some(file) = &self.config.objects {
            self.published.read_again(&self.directory, file, longest);
        }
    }

    /// Takes public objects that a copy of these settings read.
    pub fn keep_objects(&mut self, objects: Arc<Objects>) {
        self.published.keep(objects);
    }

    /// The public objects, if any were ever read.
    #[must_use]
    pub fn objects(&self) -> Option<&Arc<Objects>> {
        self.published.objects()
    }

    /// The endpoints, in order of preference.
    #[must_use]
    pub fn endpoints(&self) -> &[Address] {
        &self.config.endpoints
    }

    /// The credential, if one was ever read.
    #[must_use]
    pub fn credential(&self) -> Option<&Arc<Credential>> {
        self.credential.as_ref()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    endpoints: Vec<String>,
    credential: PathBuf,
    objects: Option<PathBuf>,
}

/// A file of three keys. What is longer is not read.
pub const MAX_FILE: usize = 65_536;
/// A public objects file of some hundreds of keys, with their chains.
const FEW_OBJECTS: usize = 1_048_576;
/// An old and a new enclave, side by side.
const MAX_ENDPOINTS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_two_keys_and_may_have_a_third() {
        let text = "endpoints = [\"vsock:16:4430\", \"unix:@lab\"]\ncredential = \"www-data.credential\"\n";
        let config: Config = text.parse().unwrap();
        assert_eq!(config.endpoints.len(), 2);
        assert_eq!(config.credential, Path::new("www-data.credential"));
        assert_eq!(config.objects, None);
        let config: Config = format!("{text}objects = \"objects\"\n").parse().unwrap();
        assert_eq!(config.objects.as_deref(), Some(Path::new("objects")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "missing field `endpoints`"),
            ("endpoints = []\ncredential = \"c\"", "one or two"),
            (
                "endpoints = [\"unix:@a\", \"unix:@b\", \"unix:@c\"]\ncredential = \"c\"",
                "one or two",
            ),
            (
                "endpoints = [\"tcp:1\"]\ncredential = \"c\"",
                "endpoints[0]: an address is",
            ),
            (
                "endpoints = [\"unix:@a\", \"vsock:any:1\"]\ncredential = \"c\"",
                "endpoints[1]: vsock:any",
            ),
            ("endpoints = [\"unix:@a\"]\ncredential = \"c\"\npin = 1", "line 3"),
            ("endpoints = [", "line 1"),
        ] {
            let error = text.parse::<Config>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn no_file_is_no_mistake() {
        assert!(matches!(
            Settings::load(Path::new("/nonexistent/pkcs11.toml")),
            Ok(None)
        ));
        assert!(matches!(Settings::load(Path::new("/")), Ok(None)));
        assert!(matches!(
            Settings::load(Path::new("/etc/passwd")),
            Err(ConfigError::Form(_))
        ));
    }
}
