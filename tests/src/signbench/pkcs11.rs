//! `C_SignInit` and `C_Sign` in a module.
//!
//! Crate `cryptoki` asks for the length of the signature first, so an operation here is `C_SignInit` and two calls of
//! `C_Sign`, the first without a buffer. That is what careful clients do. A module that asks another process for the length
//! pays a round trip more than with OpenSSL's clients, which bring a buffer and call once.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use super::plan::{Attribute as By, Mechanism};
use super::raw::{self, DIGEST};
use super::subject::{SubjectError, Worker};

/// A session of its own, with one key.
pub(super) struct Signer {
    session: Session,
    key: ObjectHandle,
    mechanism: Mechanism,
    input: Vec<u8>,
}

impl Signer {
    pub(super) fn open(
        module: &Path,
        token: &str,
        label: &str,
        pin: Option<&str>,
        mechanism: Mechanism,
    ) -> Result<Self, SubjectError> {
        let session = session(module, token)?;
        if let Some(pin) = pin {
            match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
                // Of another session of this process.
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let wanted = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Label(label.into()),
        ];
        let found = session.find_objects(&wanted)?;
        let &[key] = found.as_slice() else {
            return Err(SubjectError::Absent(format!("single private key {label}")));
        };
        Ok(Self {
            session,
            key,
            mechanism,
            input: input(mechanism),
        })
    }
}

impl Worker for Signer {
    fn once(&mut self) -> Result<(), SubjectError> {
        let mechanism = cryptoki_mechanism(self.mechanism);
        std::hint::black_box(self.session.sign(&mechanism, self.key, &self.input)?);
        Ok(())
    }
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

fn cryptoki_mechanism(mechanism: Mechanism) -> Ck<'static> {
    match mechanism {
        Mechanism::Ecdsa | Mechanism::EcdsaP384 => Ck::Ecdsa,
        Mechanism::Ed25519 => Ck::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
        Mechanism::RsaPkcs => Ck::RsaPkcs,
        Mechanism::RsaPss => Ck::RsaPkcsPss(PkcsPssParams {
            hash_alg: MechanismType::SHA256,
            mgf: PkcsMgfType::MGF1_SHA256,
            s_len: 32.into(),
        }),
    }
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
