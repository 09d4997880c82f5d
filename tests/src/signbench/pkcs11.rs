//! `C_SignInit` and `C_Sign` in a module.
//!
//! Crate `cryptoki` opens the session and finds the key. Its `sign` calls `C_Sign` twice, the first time for the length, which
//! costs a module in another process a round trip more. OpenSSL's clients bring a buffer and call once, and so is it done here;
//! but not with p11-kit's client, which is another module to whoever asks for its functions again.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism as Ck, MechanismType};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_OK,
};

use super::plan::Mechanism;
use super::raw::{self, DIGEST};
use super::subject::{SubjectError, Worker};

/// A session of its own, with one key.
pub(super) struct Signer {
    session: Session,
    key: ObjectHandle,
    mechanism: Mechanism,
    input: Vec<u8>,
    functions: Option<Functions>,
    /// As long as the longest.
    signature: Vec<u8>,
}

impl Signer {
    pub(super) fn open(
        module: &Path,
        token: &str,
        label: &str,
        pin: Option<&str>,
        mechanism: Mechanism,
    ) -> Result<Self, SubjectError> {
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
        let session = pkcs11.open_ro_session(slot)?;
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
        let mut signer = Self {
            session,
            key,
            mechanism,
            input: input(mechanism),
            functions: Some(Functions::of(module)?),
            signature: vec![0; 512],
        };
        if let Err(SubjectError::Value(CKR_CRYPTOKI_NOT_INITIALIZED)) = signer.once() {
            signer.functions = None;
        }
        Ok(signer)
    }
}

impl Worker for Signer {
    #[expect(
        unsafe_code,
        reason = "calls of C functions, whose pointers lead to what lives as long as they run"
    )]
    fn once(&mut self) -> Result<(), SubjectError> {
        let mechanism = cryptoki_mechanism(self.mechanism);
        let Some(functions) = self.functions else {
            std::hint::black_box(self.session.sign(&mechanism, self.key, &self.input)?);
            return Ok(());
        };
        let mut mechanism: CK_MECHANISM = (&mechanism).into();
        let (session, mut length) = (self.session.handle(), self.signature.len() as CK_ULONG);
        let input_length = self.input.len() as CK_ULONG;
        let (input, signature) = (self.input.as_mut_ptr(), self.signature.as_mut_ptr());
        let done = |value| match value {
            CKR_OK => Ok(()),
            value => Err(SubjectError::Value(value)),
        };
        // SAFETY: the session and the module are open while `self.session` lives; mechanism, input and signature are ours, of these lengths.
        unsafe {
            done((functions.init)(session, &raw mut mechanism, self.key.handle()))?;
            done((functions.sign)(
                session,
                input,
                input_length,
                signature,
                &raw mut length,
            ))
        }
    }
}

/// What cryptoki has no safe call for.
#[derive(Clone, Copy)]
struct Functions {
    init: unsafe extern "C" fn(CK_SESSION_HANDLE, *mut CK_MECHANISM, CK_OBJECT_HANDLE) -> CK_RV,
    sign: unsafe extern "C" fn(CK_SESSION_HANDLE, *mut u8, CK_ULONG, *mut u8, *mut CK_ULONG) -> CK_RV,
}

impl Functions {
    /// Of a module that is loaded and stays so.
    #[expect(
        unsafe_code,
        reason = "the C functions of a module are found through pointers of its own"
    )]
    fn of(module: &Path) -> Result<Self, SubjectError> {
        let absent = || SubjectError::Absent("list of functions".to_owned());
        let mut list = std::ptr::null_mut();
        // SAFETY: loading runs a constructor of the module, which has run already; C_GetFunctionList of PKCS#11, section 5.2, writes one
        // pointer, to a list that lives as long as the module, which is never unloaded here.
        let list: CK_FUNCTION_LIST = unsafe {
            let loaded = Box::leak(Box::new(cryptoki_sys::Pkcs11::new(module).map_err(|_| absent())?));
            if loaded.C_GetFunctionList(&raw mut list) != CKR_OK || list.is_null() {
                return Err(absent());
            }
            *list
        };
        let both = list.C_SignInit.zip(list.C_Sign);
        both.map(|(init, sign)| Self { init, sign }).ok_or_else(absent)
    }
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
