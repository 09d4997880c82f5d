//! Requests: types that cannot hold anything of which a wrong file could be made.

use std::fmt;
use std::str::FromStr;

use enclave_wire::credential::Secret;
use enclave_wire::{Chain, KeyId, Name, Usage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use crate::json;

/// What the helper does. No `Debug`: one of them carries a secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Install the credential of a client, readable by the client's group.
    Credential {
        /// A client of the configuration file.
        #[serde(with = "json::text")]
        client: Name,
        /// What the file will hold.
        #[serde(with = "json::secret")]
        secret: Secret,
    },
    /// Write the public objects that a client's module answers from while the enclave is away.
    Objects {
        /// A client of the configuration file.
        #[serde(with = "json::text")]
        client: Name,
        /// The file's contents.
        objects: ObjectsFile,
    },
    /// Make these generations live, test the servers that use them and reload those that run. Where a test fails, all of them
    /// are put back or withdrawn (see [`Deployed`](crate::Deployed)): to find the one that is at fault, deploy one by one.
    Deploy {
        /// At most [`MAX_CERTIFICATES`], each name once. None at all brings servers into line with what is live.
        #[serde(deserialize_with = "json::at_most::<_, _, MAX_CERTIFICATES>")]
        certificates: Vec<Deployment>,
    },
    /// Remove the generations of a certificate that are neither kept nor live.
    Prune {
        /// A certificate's name; it may have left the configuration file.
        #[serde(with = "json::text")]
        certificate: Name,
        /// At most [`MAX_KEEP`].
        #[serde(deserialize_with = "json::at_most::<_, _, MAX_KEEP>")]
        keep: Vec<Generation>,
    },
    /// Say what is there.
    State {},
}

/// A generation of a certificate: its number and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// From 1.
    pub generation: u32,
    /// SHA-256 of the key's SPKI.
    #[serde(with = "json::key_id")]
    pub id: KeyId,
}

/// `GGGG-ID16-CHAIN8`: a generation's number, at least four digits, the first 16 digits of its key's id, and the first 8 of
/// its chain's hash: another chain for the same key is another directory, so that what a server reads never changes under it.
/// The only file name besides fixed ones and [`Name`]s of which a path is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Directory {
    generation: u32,
    id: [u8; 8],
    chain: [u8; 4],
}

impl Directory {
    /// The generation's number.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether it is of this generation, with whatever chain.
    #[must_use]
    pub fn is_of(&self, generation: &Generation) -> bool {
        self.generation == generation.generation && generation.id.0.starts_with(&self.id)
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-", self.generation)?;
        self.id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.chain.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text names no generation's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotADirectory;

impl fmt::Display for NotADirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a generation's directory is named GGGG-ID16-CHAIN8: its number, its key, its chain")
    }
}

impl FromStr for Directory {
    type Err = NotADirectory;

    fn from_str(text: &str) -> Result<Self, NotADirectory> {
        let (number, rest) = text.split_once('-').ok_or(NotADirectory)?;
        let (id, chain) = rest.split_once('-').ok_or(NotADirectory)?;
        let read = Self {
            generation: number.parse().map_err(|_| NotADirectory)?,
            id: json::unhex(id).ok_or(NotADirectory)?,
            chain: json::unhex(chain).ok_or(NotADirectory)?,
        };
        // One text for each: no plus sign, no further zeros, no capitals.
        (read.to_string() == text).then_some(read).ok_or(NotADirectory)
    }
}

/// One certificate of a [`Request::Deploy`]. Its leaf is of its key: a pair that does not match cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DeploymentForm")]
pub struct Deployment {
    #[serde(with = "json::text")]
    name: Name,
    generation: u32,
    #[serde(with = "json::key_id")]
    id: KeyId,
    #[serde(with = "json::text")]
    usage: Usage,
    #[serde(with = "json::chain")]
    chain: Chain,
}

/// Why a generation cannot be deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentError {
    /// Generations count from 1.
    Zero,
    /// There is no leaf.
    Empty,
    /// This one of the chain is no certificate, counted from 0.
    NotACertificate(usize),
    /// The leaf is of another key.
    OtherKey,
    /// The key of an ACME account, which no server uses.
    Account,
}

impl fmt::Display for DeploymentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("generations count from 1"),
            Self::Empty => f.write_str("the chain is empty; install the certificate before its generation is deployed"),
            Self::NotACertificate(at) => write!(
                f,
                "entry {at} of the chain is no X.509 certificate in DER; install another chain"
            ),
            Self::Account => f.write_str("the key of an ACME account is for no server; deploy a certificate's key"),
            Self::OtherKey => {
                f.write_str("the chain's leaf is of another key than the generation; install the chain of this key")
            }
        }
    }
}

impl std::error::Error for DeploymentError {}

impl Deployment {
    /// Takes a generation whose chain begins with a certificate of its key.
    pub fn new(name: Name, generation: Generation, usage: Usage, chain: Chain) -> Result<Self, DeploymentError> {
        let Generation { generation, id } = generation;
        if generation == 0 {
            return Err(DeploymentError::Zero);
        }
        if usage == Usage::AcmeAccount {
            return Err(DeploymentError::Account);
        }
        let mut leaf = None;
        for (at, certificate) in chain.certificates().iter().enumerate() {
            let spki = spki(certificate.as_bytes()).ok_or(DeploymentError::NotACertificate(at))?;
            leaf.get_or_insert(spki);
        }
        let leaf = leaf.ok_or(DeploymentError::Empty)?;
        if Sha256::digest(&leaf) != id.0 {
            return Err(DeploymentError::OtherKey);
        }
        Ok(Self {
            name,
            generation,
            id,
            usage,
            chain,
        })
    }

    /// The certificate's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Which generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation {
            generation: self.generation,
            id: self.id,
        }
    }

    /// Where it lies under `generations/NAME`.
    #[must_use]
    pub fn directory(&self) -> Directory {
        let [a, b, c, d, e, f, g, h, ..] = self.id.0;
        let mut hash = Sha256::new();
        for certificate in self.chain.certificates() {
            // Each is DER, which says its own length: no two chains hash the same bytes.
            hash.update(certificate.as_bytes());
        }
        let [i, j, k, l, ..]: [u8; 32] = hash.finalize().into();
        Directory {
            generation: self.generation,
            id: [a, b, c, d, e, f, g, h],
            chain: [i, j, k, l],
        }
    }

    /// What its key may sign.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The serial number of the leaf, as CAs write it: big-endian, without leading zeros.
    #[must_use]
    pub fn serial(&self) -> Vec<u8> {
        let leaf = self.chain.certificates().first();
        let leaf = leaf.and_then(|leaf| Certificate::from_der(leaf.as_bytes()).ok());
        let serial = leaf.map(|leaf| leaf.tbs_certificate().serial_number().as_bytes().to_vec());
        let serial = serial.unwrap_or_default();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        serial.get(zeros..).unwrap_or_default().to_vec()
    }

    /// Leaf first, at least one.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

/// The SPKI of one certificate. The enclave, which took the chain, reads it by the same rules.
fn spki(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    certificate.tbs_certificate().subject_public_key_info().to_der().ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentForm {
    #[serde(with = "json::text")]
    name: Name,
    generation: u32,
    #[serde(with = "json::key_id")]
    id: KeyId,
    #[serde(with = "json::text")]
    usage: Usage,
    #[serde(with = "json::chain")]
    chain: Chain,
}

impl TryFrom<DeploymentForm> for Deployment {
    type Error = DeploymentError;

    fn try_from(form: DeploymentForm) -> Result<Self, DeploymentError> {
        let generation = Generation {
            generation: form.generation,
            id: form.id,
        };
        Self::new(form.name, generation, form.usage, form.chain)
    }
}

/// The contents of an objects file. Not looked at here: the module that reads it does, and nothing in it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectsFile(#[serde(with = "json::objects")] Vec<u8>);

impl ObjectsFile {
    /// Takes at most [`MAX_OBJECTS`] bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MAX_OBJECTS).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// As many names as the benchmark of a thousand certificates asks for, in one request.
pub const MAX_CERTIFICATES: usize = 1_024;
/// A renewal a day for the longest grace time that makes sense, and more.
pub const MAX_KEEP: usize = 256;
/// A thousand live generations with chains of 8 KB, twice.
pub const MAX_OBJECTS: usize = 16 << 20;
/// The longest request: objects as base64, or a thousand chains of the usual length.
pub const MAX_REQUEST: usize = 24 << 20;

#[cfg(test)]
mod tests {
    use enclave_wire::identity::Certificate as WireCertificate;

    use super::*;

    const LEAF: &[u8] = include_bytes!("../tests/vectors/leaf.der");

    fn id() -> KeyId {
        KeyId(Sha256::digest(spki(LEAF).unwrap()).into())
    }

    fn chain(certificates: &[&[u8]]) -> Chain {
        let certificates = certificates
            .iter()
            .map(|der| WireCertificate::try_from(der.to_vec()).unwrap());
        Chain::try_from(certificates.collect::<Vec<_>>()).unwrap()
    }

    fn new(generation: u32, id: KeyId, chain: Chain) -> Result<Deployment, DeploymentError> {
        Deployment::new("www".parse().unwrap(), Generation { generation, id }, Usage::Tls, chain)
    }

    #[test]
    fn a_chain_that_is_not_of_the_key_cannot_be_deployed() {
        assert_eq!(new(0, id(), chain(&[LEAF])), Err(DeploymentError::Zero));
        assert_eq!(new(1, id(), chain(&[])), Err(DeploymentError::Empty));
        assert_eq!(new(1, KeyId([1; 32]), chain(&[LEAF])), Err(DeploymentError::OtherKey));
        assert_eq!(
            new(1, id(), chain(&[LEAF, b"0"])),
            Err(DeploymentError::NotACertificate(1))
        );
        let cut = LEAF.split_last().unwrap().1;
        assert_eq!(new(1, id(), chain(&[cut])), Err(DeploymentError::NotACertificate(0)));
        assert_eq!(
            new(1, id(), chain(&[LEAF, LEAF])).map(|one| one.chain().certificates().len()),
            Ok(2)
        );
    }

    #[test]
    fn a_directory_has_one_name_and_another_chain_another_directory() {
        let one = new(12, id(), chain(&[LEAF])).unwrap();
        let two = new(12, id(), chain(&[LEAF, LEAF])).unwrap();
        let name = one.directory().to_string();
        assert_eq!(name.len(), 4 + 1 + 16 + 1 + 8);
        assert!(name.starts_with(&format!("0012-{}", id().to_string().get(..16).unwrap())));
        assert_eq!(name.parse(), Ok(one.directory()));
        assert_ne!(one.directory(), two.directory());
        assert!(one.directory().is_of(&two.generation()));
        assert!(!one.directory().is_of(&Generation {
            generation: 13,
            id: id()
        }));
        for bad in [
            "",
            "..",
            "12-0011223344556677-00112233",
            "+012-0011223344556677-00112233",
            "00012-0011223344556677-00112233",
            "0012-0011223344556677",
            "0012-001122334455667-00112233",
            "0012-001122334455667A-00112233",
            "0012-0011223344556677-00112233/",
        ] {
            assert_eq!(bad.parse::<Directory>(), Err(NotADirectory), "{bad}");
        }
        assert!("123456-0011223344556677-00112233".parse::<Directory>().is_ok());
    }

    #[test]
    fn requests_are_read_as_they_are_written() {
        let certificates = vec![new(1, id(), chain(&[LEAF])).unwrap()];
        for request in [
            Request::Deploy { certificates },
            Request::Credential {
                client: "nginx".parse().unwrap(),
                secret: Secret::from_random([9; 32]),
            },
            Request::Objects {
                client: "nginx".parse().unwrap(),
                objects: ObjectsFile::new(vec![1, 2]).unwrap(),
            },
            Request::Prune {
                certificate: "www".parse().unwrap(),
                keep: vec![Generation {
                    generation: 1,
                    id: id(),
                }],
            },
            Request::State {},
        ] {
            let text = serde_json::to_string(&request).unwrap();
            let again: Request = serde_json::from_str(&text).ok().unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), text);
        }
    }

    #[test]
    fn requests_of_another_form_are_refused_and_say_no_secret() {
        let credential = "enclave-tls-credential-v1:".to_owned() + &"0f".repeat(32);
        assert!(
            serde_json::from_str::<Request>(&format!(
                "{{\"credential\":{{\"client\":\"a\",\"secret\":\"{credential}\"}}}}"
            ))
            .is_ok()
        );
        let escaped = credential.replace("0f0f", "\\u0030f0f");
        let many = vec!["{\"generation\":1,\"id\":\"".to_owned() + &"00".repeat(32) + "\"}"; MAX_KEEP + 1].join(",");
        for bad in [
            "{}".to_owned(),
            "null".to_owned(),
            "{\"shell\":{}}".to_owned(),
            "{\"state\":{},\"prune\":{}}".to_owned(),
            "{\"state\":{\"x\":1}}".to_owned(),
            "{\"state\":{}} {}".to_owned(),
            format!("{{\"credential\":{{\"client\":\"../a\",\"secret\":\"{credential}\"}}}}"),
            format!("{{\"credential\":{{\"client\":\"a\",\"secret\":\"{credential}0\"}}}}"),
            format!("{{\"credential\":{{\"client\":\"a\",\"secret\":\"{escaped}\"}}}}"),
            format!("{{\"credential\":{{\"client\":\"a\",\"secret\":\"{credential}\",\"group\":\"root\"}}}}"),
            "{\"objects\":{\"client\":\"a\",\"objects\":\"*\"}}".to_owned(),
            "{\"prune\":{\"certificate\":\"a/b\",\"keep\":[]}}".to_owned(),
            "{\"prune\":{\"certificate\":\"a\",\"keep\":[{\"generation\":1,\"id\":\"00\"}]}}".to_owned(),
            format!("{{\"prune\":{{\"certificate\":\"a\",\"keep\":[{many}]}}}}"),
        ] {
            let error = serde_json::from_str::<Request>(&bad)
                .err()
                .map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|error| !error.contains("0f0f0f")),
                "{bad}: {error:?}"
            );
        }
    }

    #[test]
    fn objects_are_bounded() {
        assert!(ObjectsFile::new(vec![0; MAX_OBJECTS]).is_some());
        assert!(ObjectsFile::new(vec![0; MAX_OBJECTS + 1]).is_none());
        let text = format!("\"{}\"", "A".repeat(MAX_OBJECTS.div_ceil(3) * 4 + 4));
        assert!(serde_json::from_str::<ObjectsFile>(&text).is_err());
    }
}
