//! A PKI shaped as the Nitro one: a root that lasts, two intermediates of weeks, and a leaf of three hours that signs documents.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};
use time::{Duration, OffsetDateTime};

/// A root and its key. They stay in a directory, so that every process that opens it has the same.
pub struct Pki {
    root: Issuer<'static, KeyPair>,
    root_der: Vec<u8>,
}

impl Pki {
    /// Opens the PKI of a directory, or makes one there. Of several processes that make it at once, all end with the same.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let key = kept(&dir.join(KEY_FILE), || {
            Ok(new_key().map_err(io::Error::other)?.serialize_der())
        })?;
        let key = KeyPair::try_from(key).map_err(io::Error::other)?;
        let params = ca("root", root_validity(), None);
        let root_der = kept(&dir.join(ROOT_FILE), || {
            Ok(params.self_signed(&key).map_err(io::Error::other)?.der().to_vec())
        })?;
        Ok(Self {
            root: Issuer::new(params, key),
            root_der,
        })
    }

    /// The root's DER, as `cabundle` begins with it.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// What a policy names to trust this PKI.
    #[must_use]
    pub fn root_sha256(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, &self.root_der).as_ref());
        out
    }

    /// New intermediates and a new leaf, valid from this time, in seconds since 1970, UTC.
    pub(crate) fn issue(&self, from: i64) -> Result<Issued, rcgen::Error> {
        let from = OffsetDateTime::from_unix_timestamp(from).map_err(|_| rcgen::Error::Time)?;
        let weeks = (from, from + INTERMEDIATE_LIFE);
        let regional = Intermediate::new("regional", weeks, 1, &self.root)?;
        let zonal = Intermediate::new("zonal", weeks, 0, &regional.issuer)?;
        let key = new_key()?;
        let mut params = named("leaf", (from, from + LEAF_LIFE));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let leaf = params.signed_by(&key, &zonal.issuer)?.der().to_vec();
        Ok(Issued {
            cabundle: vec![self.root_der.clone(), regional.der, zonal.der],
            leaf,
            key_pkcs8: key.serialize_der(),
        })
    }
}

/// What signs documents for three hours.
pub(crate) struct Issued {
    pub(crate) cabundle: Vec<Vec<u8>>,
    pub(crate) leaf: Vec<u8>,
    pub(crate) key_pkcs8: Vec<u8>,
}

struct Intermediate {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Intermediate {
    fn new(
        name: &str,
        validity: Validity,
        path_length: u8,
        issuer: &Issuer<'_, KeyPair>,
    ) -> Result<Self, rcgen::Error> {
        let key = new_key()?;
        let params = ca(name, validity, Some(path_length));
        let der = params.signed_by(&key, issuer)?.der().to_vec();
        let issuer = Issuer::new(params, key);
        Ok(Self { issuer, der })
    }
}

type Validity = (OffsetDateTime, OffsetDateTime);

fn ca(name: &str, validity: Validity, path_length: Option<u8>) -> CertificateParams {
    let mut params = named(name, validity);
    params.is_ca = IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str, (not_before, not_after): Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (not_before, not_after);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{MARKER}: {name}"));
    params
}

fn new_key() -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)
}

/// AWS's root is valid for the same thirty years.
fn root_validity() -> Validity {
    (date_time_ymd(2019, 10, 28), date_time_ymd(2049, 10, 28))
}

/// What a file holds; where there is none, what `make` gives, written whole. Whoever comes second takes the first one's.
fn kept(path: &Path, make: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        read => return read,
    }
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let new = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&make()?)?;
    // A link, unlike a rename, takes no one's place.
    let linked = fs::hard_link(&new, path);
    fs::remove_file(&new)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::read(path),
    }
}

/// In the subject of every certificate of a stand-in, so that its documents, and a program that contains it, can be told.
pub const MARKER: &str = "enclave-tls stand-in NSM, not AWS";
/// The root's DER in a PKI's directory: its SHA-256 is what a policy names.
pub const ROOT_FILE: &str = "root.der";
const KEY_FILE: &str = "root.key";
const INTERMEDIATE_LIFE: Duration = Duration::days(20);
pub(crate) const LEAF_LIFE: Duration = Duration::hours(3);
/// Tells apart what several threads write at once.
static MADE: AtomicU32 = AtomicU32::new(0);
