//! `seal`: a private key and its chain become a bundle, whose key KMS gives to a measured enclave alone.
//!
//! The key is on this machine in the clear before and while this runs: best a machine that is not the parent instance, and a file
//! that is destroyed after.

use std::io;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use clap::Args;
use enclave_policy::aws::KeyArn;
use enclave_wire::{Chain, Name};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use serde::Serialize;

use crate::aws::{self, AwsError};
use crate::show;
use enclave_tls_admin::files::{self, Pending};
use enclave_tls_admin::pem::{self, KeyForm, PemError, PrivateKey};

#[derive(Args)]
pub(crate) struct Options {
    /// The certificate's name in the enclave; the bundle opens under no other
    #[arg(value_parser = |text: &str| text.parse::<Name>().map_err(|_| "a name is 1 to 64 of A-Z a-z 0-9 - _ . and begins with a letter or a digit"))]
    pub(crate) name: Name,
    /// Its private key in PEM, not encrypted: PKCS#8, PKCS#1 or SEC1
    #[arg(value_name = "KEY.pem")]
    pub(crate) key: PathBuf,
    /// Its chain in PEM: leaf first, then its issuers
    #[arg(long, value_name = "CHAIN.pem")]
    pub(crate) chain: PathBuf,
    /// The KMS key to encrypt under
    #[arg(long, value_name = "ARN")]
    pub(crate) key_arn: KeyArn,
    /// Where to write the bundle (mode 0600)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// Why there is no bundle.
#[derive(Debug)]
pub(crate) enum SealError {
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// A file is not what it should be.
    Pem(PathBuf, PemError),
    /// A private key that TLS has no use for.
    Key(PathBuf),
    /// More than KMS encrypts.
    TooLong(PathBuf),
    /// The leaf is no certificate.
    Leaf(PathBuf),
    /// The key is not the leaf's.
    OtherKey,
    /// The file is there already.
    Exists(PathBuf),
    /// A device, a directory or a symbolic link.
    NotAFile(PathBuf),
    /// AWS did not do it.
    Aws(AwsError),
    /// Standard output.
    Output(io::Error),
}

impl std::fmt::Display for SealError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Pem(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Key(path) => write!(
                f,
                "{}: no key of RSA (2048 bits or more), P-256, P-384, P-521 or Ed25519 in the form that its label says",
                path.display()
            ),
            Self::TooLong(path) => write!(
                f,
                "{}: the key has more than the {MAX_PLAINTEXT} bytes in PEM that KMS encrypts; use RSA of 4096 bits at most, or P-256",
                path.display()
            ),
            Self::Leaf(path) => write!(f, "{}: its first certificate cannot be read", path.display()),
            Self::OtherKey => {
                f.write_str("the private key is not that of the chain's first certificate; is the leaf first?")
            }
            Self::Exists(path) => write!(f, "{} exists; nothing was changed: --force replaces it", path.display()),
            Self::NotAFile(path) => write!(f, "{} is no regular file; name another", path.display()),
            Self::Aws(error) => error.fmt(f),
            Self::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), SealError> {
    // Everything that can be wrong here first: KMS is asked for what will be written.
    refuse_to_overwrite(options)?;
    let chain = read_chain(&options.chain)?;
    let file = files::read(&options.key, MAX_KEY_FILE).map_err(file_error(&options.key))?;
    let key = pem::any_private_key(&file).map_err(|error| SealError::Pem(options.key.clone(), error))?;
    if key.text.len() > MAX_PLAINTEXT {
        return Err(SealError::TooLong(options.key.clone()));
    }
    if public_of(&key).ok_or_else(|| SealError::Key(options.key.clone()))? != leaf_key(&chain, options)? {
        return Err(SealError::OtherKey);
    }
    let bundle = bundle(options, &chain, &encrypt(options, &key)?)?;
    let pending = Pending::write(&options.out, 0o600, &bundle).map_err(file_error(&options.out))?;
    let placed = if options.force {
        pending.replace()
    } else {
        pending.create()
    };
    placed.map_err(file_error(&options.out))?;
    say(options, json).map_err(SealError::Output)
}

/// The certificate's name is in the encryption context: KMS gives the key for a request that names it, and for no other.
fn encrypt(options: &Options, key: &PrivateKey<'_>) -> Result<Vec<u8>, SealError> {
    let name = options.name.to_string();
    let context = [("purpose", "bundle"), ("name", name.as_str())];
    let (arn, region) = (options.key_arn.to_string(), options.key_arn.region().as_str());
    aws::encrypt(&arn, region, &context, key.text).map_err(SealError::Aws)
}

/// What ACM's association writes, and what we add.
fn bundle(options: &Options, chain: &Chain, ciphertext: &[u8]) -> Result<Vec<u8>, SealError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Bundle {
        certificate: String,
        certificate_chain: String,
        encrypted_private_key: String,
        encryption_method: &'static str,
        enclave_tls: EnclaveTls,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct EnclaveTls {
        version: u8,
        name: String,
        key_arn: String,
    }
    let of_chain = |error| SealError::Pem(options.chain.clone(), error);
    let certificates: Vec<String> = chain
        .certificates()
        .iter()
        .map(|certificate| pem::encode("CERTIFICATE", certificate.as_bytes()).map(|text| text.to_string()))
        .collect::<Result<_, _>>()
        .map_err(of_chain)?;
    let (leaf, issuers) = certificates.split_first().ok_or(of_chain(PemError::NoBlock))?;
    let bundle = Bundle {
        certificate: leaf.clone(),
        certificate_chain: issuers.concat(),
        encrypted_private_key: Base64::encode_string(ciphertext),
        encryption_method: "SYMMETRIC_DEFAULT",
        enclave_tls: EnclaveTls {
            version: 1,
            name: options.name.to_string(),
            key_arn: options.key_arn.to_string(),
        },
    };
    let mut text = serde_json::to_vec_pretty(&bundle).map_err(|error| SealError::Output(error.into()))?;
    text.push(b'\n');
    Ok(text)
}

/// The SPKI of a private key, if it is one that TLS uses.
fn public_of(key: &PrivateKey<'_>) -> Option<Vec<u8>> {
    let der = key.der.as_slice();
    let der = match key.form {
        KeyForm::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
        KeyForm::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
        KeyForm::Sec1 => PrivateKeyDer::Sec1(der.into()),
    };
    let key = any_supported_type(&der).ok()?;
    Some(key.public_key()?.to_vec())
}

fn leaf_key(chain: &Chain, options: &Options) -> Result<Vec<u8>, SealError> {
    let leaf = || SealError::Leaf(options.chain.clone());
    let certificate = chain.certificates().first().ok_or_else(leaf)?;
    let certificate = CertificateDer::from(certificate.as_bytes());
    let parsed = ParsedCertificate::try_from(&certificate).map_err(|_| leaf())?;
    Ok(parsed.subject_public_key_info().to_vec())
}

fn read_chain(path: &Path) -> Result<Chain, SealError> {
    let file = files::read(path, MAX_CHAIN_FILE).map_err(file_error(path))?;
    pem::chain(&file).map_err(|error| SealError::Pem(path.to_owned(), error))
}

fn refuse_to_overwrite(options: &Options) -> Result<(), SealError> {
    let out = &options.out;
    if !files::is_replaceable(out).map_err(file_error(out))? {
        return Err(SealError::NotAFile(out.clone()));
    }
    if !options.force && out.exists() {
        return Err(SealError::Exists(out.clone()));
    }
    Ok(())
}

fn say(options: &Options, json: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Sealed<'a> {
        name: String,
        key_arn: String,
        file: &'a Path,
    }
    let (name, key_arn) = (options.name.to_string(), options.key_arn.to_string());
    let file = options.out.as_path();
    if json {
        return show::json(&Sealed { name, key_arn, file });
    }
    show::text_out(&format!(
        "{} holds the key of {name} under {key_arn}; now destroy {}\n",
        file.display(),
        options.key.display()
    ))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> SealError {
    move |error| SealError::File(path.to_owned(), error)
}

/// What KMS's Encrypt takes of a symmetric key.
const MAX_PLAINTEXT: usize = 4_096;
/// A key in PEM and the text that other programs write around it.
const MAX_KEY_FILE: usize = 65_536;
/// As `install` takes it.
const MAX_CHAIN_FILE: usize = 262_144;
