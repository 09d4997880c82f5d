//! What a module is asked for: signatures, by `signer`; and finds, in this process.

use std::path::Path;
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;

use super::plan::{Attribute as By, Mechanism, Work};
use super::raw::{self, DIGEST};
use super::subject::{SubjectError, Worker};

/// The command of `signer.c` for a work that is signatures in a module.
pub(super) fn signer(work: &Work, threads: usize) -> Option<Command> {
    let Work::Pkcs11 {
        signer,
        module,
        token,
        label,
        pin,
        mechanism,
    } = work
    else {
        return None;
    };
    let number = match mechanism {
        Mechanism::Ecdsa | Mechanism::EcdsaP384 => "1041",
        Mechanism::Ed25519 => "1057",
        Mechanism::RsaPkcs => "1",
        Mechanism::RsaPss => "d",
    };
    let mut command = Command::new(signer);
    command
        .arg(module)
        .args([token, pin.as_deref().unwrap_or_default(), label, number])
        .args([hex::encode(input(*mechanism)), threads.to_string()]);
    Some(command)
}

/// A session of its own, in which one key is looked for.
pub(super) struct Finder {
    session: Session,
    wanted: [Attribute; 2],
}

impl Finder {
    pub(super) fn open(module: &Path, token: &str, by: &By) -> Result<Self, SubjectError> {
        let by = match by {
            By::Label(label) => Attribute::Label(label.as_str().into()),
            By::Id(id) => Attribute::Id(hex::decode(id).map_err(|_| SubjectError::Absent(format!("id {id}")))?),
        };
        Ok(Self {
            session: session(module, token)?,
            wanted: [Attribute::Class(ObjectClass::PRIVATE_KEY), by],
        })
    }
}

impl Worker for Finder {
    fn once(&mut self) -> Result<(), SubjectError> {
        match self.session.find_objects(&self.wanted)?.len() {
            1 => Ok(()),
            count => Err(SubjectError::Absent(format!("single key, but {count}"))),
        }
    }
}

/// In the first slot whose token has this label.
fn session(module: &Path, token: &str) -> Result<Session, SubjectError> {
    let pkcs11 = Pkcs11::new(module)?;
    match pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error.into()),
    }
    let mut slot = None;
    for candidate in pkcs11.get_slots_with_token()? {
        if pkcs11.get_token_info(candidate)?.label() == token {
            slot = Some(candidate);
        }
    }
    let slot = slot.ok_or_else(|| SubjectError::Absent(format!("token {token}")))?;
    Ok(pkcs11.open_ro_session(slot)?)
}

/// A digest, for PKCS#1 as DigestInfo; or a message.
fn input(mechanism: Mechanism) -> Vec<u8> {
    match mechanism {
        Mechanism::Ecdsa | Mechanism::RsaPss => DIGEST.to_vec(),
        Mechanism::EcdsaP384 => vec![0x5a; 48],
        Mechanism::RsaPkcs => [&SHA256_DIGEST_INFO[..], &DIGEST].concat(),
        Mechanism::Ed25519 => raw::certificate_verify(),
    }
}

/// SEQUENCE { SEQUENCE { OID sha256, NULL }, OCTET STRING of 32 bytes }, up to the bytes.
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
];
