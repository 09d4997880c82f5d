//! The boundary, through the very tables that a caller gets: no function lets a panic through.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

use cryptoki_sys as ck;
use cryptoki_sys::{CK_RV, CK_ULONG};
use enclave_wire::signing::{Entry, Label};
use enclave_wire::{Chain, KeyId, Objects};

use super::list::{LIST_2_40, LIST_3_0};
use super::process;
use crate::boundary::tests::arm;
use crate::token::backend::{Backend, Listed, SignFailure, SignRequest, Snapshot, SocketId, Unavailable};
use crate::token::deadline::Deadline;
use crate::token::lock::Lock;
use crate::token::memory::{Memory, p256};
use crate::token::{Inventory, Token};

/// The process has one state, so the tests here take turns.
static TURN: Lock<()> = Lock::new(());

/// A service that lists its keys, of which nothing is written down, and panics at anything else.
struct Panicking(Memory);

impl Backend for Panicking {
    fn list(&self, known: Option<Snapshot>, deadline: Deadline) -> Result<Listed, Unavailable> {
        self.0.list(known, deadline)
    }
    fn find_by_id(&self, _: KeyId, _: Deadline) -> Result<Option<Entry>, Unavailable> {
        panic!("find by id")
    }
    fn find_by_label(&self, _: &Label, _: Deadline) -> Result<Vec<Entry>, Unavailable> {
        panic!("find by label")
    }
    fn chain(&self, _: KeyId, _: Deadline) -> Result<Option<Chain>, Unavailable> {
        panic!("chain")
    }
    fn sign(&self, _: SignRequest<'_>, _: Deadline) -> Result<Vec<u8>, SignFailure> {
        panic!("sign")
    }
    fn published(&self) -> Option<Arc<Objects>> {
        self.0.published()
    }
    /// At the end of the process, too.
    fn each_socket(&self, _: &mut dyn FnMut(SocketId)) {}
}

fn initialise() -> CK_ULONG {
    let backend = Panicking(Memory::new(vec![p256("www", 1)]));
    process::set_token(Some(Token::new(Some(Box::new(backend)), Inventory::default())));
    let mut session = 0;
    let open = LIST_2_40.C_OpenSession.unwrap();
    // SAFETY: the handle is a local; no call back is given.
    let rv = unsafe { open(1, ck::CKF_SERIAL_SESSION, null_mut(), None, &raw mut session) };
    assert_eq!(rv, ck::CKR_OK);
    session
}

/// The functions of a table, each called with nothing but zeros.
trait Blank {
    fn call(&self) -> CK_RV;
}

macro_rules! blank {
    ($(($($type:ident),+);)*) => {$(
        impl<$($type: Zero),+> Blank for unsafe extern "C" fn($($type),+) -> CK_RV {
            fn call(&self) -> CK_RV {
                // SAFETY: every function takes null for every pointer.
                unsafe { self($($type::ZERO),+) }
            }
        }
    )*};
}
blank! {
    (A); (A, B); (A, B, C); (A, B, C, D); (A, B, C, D, E); (A, B, C, D, E, F); (A, B, C, D, E, F, G);
    (A, B, C, D, E, F, G, H); (A, B, C, D, E, F, G, H, I);
}

trait Zero {
    const ZERO: Self;
}
impl<T> Zero for *mut T {
    const ZERO: Self = null_mut();
}
impl Zero for CK_ULONG {
    const ZERO: Self = 0;
}
impl Zero for u8 {
    const ZERO: Self = 0;
}
impl Zero for ck::CK_NOTIFY {
    const ZERO: Self = None;
}

macro_rules! each {
    ($table:expr, $with:expr, $($function:ident)*) => {
        $($with(stringify!($function), $table.$function.as_ref().unwrap());)*
    };
}

fn every_function(mut with: impl FnMut(&str, &dyn Blank)) {
    each!(LIST_3_0, with, C_Initialize C_Finalize C_GetInfo C_GetFunctionList C_GetSlotList C_GetSlotInfo C_GetTokenInfo
        C_GetMechanismList C_GetMechanismInfo C_InitToken C_InitPIN C_SetPIN C_OpenSession C_CloseSession C_CloseAllSessions
        C_GetSessionInfo C_GetOperationState C_SetOperationState C_Login C_Logout C_CreateObject C_CopyObject C_DestroyObject
        C_GetObjectSize C_GetAttributeValue C_SetAttributeValue C_FindObjectsInit C_FindObjects C_FindObjectsFinal C_EncryptInit
        C_Encrypt C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate C_DecryptFinal C_DigestInit C_Digest
        C_DigestUpdate C_DigestKey C_DigestFinal C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover
        C_VerifyInit C_Verify C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover C_DigestEncryptUpdate
        C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey
        C_DeriveKey C_SeedRandom C_GenerateRandom C_GetFunctionStatus C_CancelFunction C_WaitForSlotEvent C_GetInterfaceList
        C_GetInterface C_LoginUser C_SessionCancel C_MessageEncryptInit C_EncryptMessage C_EncryptMessageBegin
        C_EncryptMessageNext C_MessageEncryptFinal C_MessageDecryptInit C_DecryptMessage C_DecryptMessageBegin
        C_DecryptMessageNext C_MessageDecryptFinal C_MessageSignInit C_SignMessage C_SignMessageBegin C_SignMessageNext
        C_MessageSignFinal C_MessageVerifyInit C_VerifyMessage C_VerifyMessageBegin C_VerifyMessageNext C_MessageVerifyFinal);
    each!(LIST_2_40, with, C_GetInfo);
}

#[test]
fn threat_49_no_function_lets_a_panic_through() {
    let _turn = TURN.lock();
    initialise();
    let mut count = 0;
    every_function(|name, function| {
        arm(true);
        let rv = function.call();
        arm(false);
        assert_eq!(rv, ck::CKR_GENERAL_ERROR, "{name}");
        count += 1;
    });
    assert_eq!(count, 93, "68 of 2.40, 24 of 3.0, and the other C_GetInfo");
}

#[test]
fn nothing_crashes_on_zeros_and_most_wants_c_initialize() {
    let _turn = TURN.lock();
    initialise();
    every_function(|name, function| {
        if !matches!(name, "C_Initialize" | "C_Finalize") {
            assert_ne!(function.call(), ck::CKR_GENERAL_ERROR, "{name}");
        }
    });
    process::set_token(None);
    every_function(|name, function| {
        let before = [
            "C_Initialize",
            "C_GetFunctionList",
            "C_GetInterfaceList",
            "C_GetInterface",
        ];
        if !before.contains(&name) {
            assert_eq!(function.call(), ck::CKR_CRYPTOKI_NOT_INITIALIZED, "{name}");
        }
    });
}

/// A session with a service that has one key.
fn with_a_key() -> ck::CK_SESSION_HANDLE {
    process::set_token(Some(Token::new(
        Some(Box::new(Memory::new(vec![p256("www", 1)]))),
        Inventory::default(),
    )));
    let mut session = 0;
    let open = LIST_2_40.C_OpenSession.unwrap();
    // SAFETY: the handle is a local; no call back is given.
    let rv = unsafe { open(1, ck::CKF_SERIAL_SESSION, null_mut(), None, &raw mut session) };
    assert_eq!(rv, ck::CKR_OK);
    session
}

/// The first private key that a search finds.
fn private_key(session: ck::CK_SESSION_HANDLE) -> ck::CK_OBJECT_HANDLE {
    let class = ck::CKO_PRIVATE_KEY;
    let mut template = ck::CK_ATTRIBUTE {
        type_: ck::CKA_CLASS,
        pValue: (&raw const class).cast::<c_void>().cast_mut(),
        ulValueLen: 8,
    };
    let (mut key, mut count) = (0, 0);
    let (init, find) = (LIST_2_40.C_FindObjectsInit.unwrap(), LIST_2_40.C_FindObjects.unwrap());
    // SAFETY: a template of one local attribute.
    assert_eq!(unsafe { init(session, &raw mut template, 1) }, ck::CKR_OK);
    // SAFETY: room for one handle and one count.
    assert_eq!(unsafe { find(session, &raw mut key, 1, &raw mut count) }, ck::CKR_OK);
    assert_eq!(count, 1);
    key
}

#[test]
fn threat_49_a_panicking_service_is_an_error_and_the_session_lives() {
    let _turn = TURN.lock();
    let session = initialise();
    // SAFETY: no template.
    let rv = unsafe { LIST_2_40.C_FindObjectsInit.unwrap()(session, null_mut(), 0) };
    assert_eq!(rv, ck::CKR_GENERAL_ERROR, "chain");
    let key = private_key(session);
    let mut mechanism = ck::CK_MECHANISM {
        mechanism: ck::CKM_ECDSA_SHA256,
        pParameter: null_mut(),
        ulParameterLen: 0,
    };
    let init = LIST_2_40.C_SignInit.unwrap();
    let sign = LIST_2_40.C_Sign.unwrap();
    for _ in 0..2 {
        // SAFETY: a local mechanism without a parameter.
        assert_eq!(unsafe { init(session, &raw mut mechanism, key) }, ck::CKR_OK);
        let (mut data, mut signature, mut length) = ([0u8; 3], [0u8; 64], 64);
        // SAFETY: three bytes to sign, room for 64.
        let rv = unsafe { sign(session, data.as_mut_ptr(), 3, signature.as_mut_ptr(), &raw mut length) };
        assert_eq!(rv, ck::CKR_GENERAL_ERROR);
    }
}

#[test]
fn attributes_that_fit_are_filled_though_others_do_not() {
    let _turn = TURN.lock();
    let session = with_a_key();
    let (mut keys, mut count) = ([0; 4], 0);
    // SAFETY: no template.
    unsafe { LIST_2_40.C_FindObjectsInit.unwrap()(session, null_mut(), 0) };
    // SAFETY: room for four handles and a count.
    unsafe { LIST_2_40.C_FindObjects.unwrap()(session, keys.as_mut_ptr(), 4, &raw mut count) };
    assert_eq!(count, 2);

    let mut label = [0u8; 3];
    let mut small = [0u8; 10];
    let attribute = |type_, value: &mut [u8]| ck::CK_ATTRIBUTE {
        type_,
        pValue: value.as_mut_ptr().cast(),
        ulValueLen: CK_ULONG::try_from(value.len()).unwrap(),
    };
    let query = ck::CK_ATTRIBUTE {
        type_: ck::CKA_EC_POINT,
        pValue: null_mut(),
        ulValueLen: 0,
    };
    for (first, expected) in [
        (attribute(ck::CKA_MODULUS, &mut small), ck::CKR_ATTRIBUTE_TYPE_INVALID),
        (attribute(ck::CKA_ID, &mut small), ck::CKR_BUFFER_TOO_SMALL),
        (attribute(ck::CKA_VALUE, &mut small), ck::CKR_ATTRIBUTE_SENSITIVE),
    ] {
        let mut template = [first, query, attribute(ck::CKA_LABEL, &mut label)];
        // SAFETY: three attributes, each with a local buffer of its length or none.
        let rv = unsafe { LIST_2_40.C_GetAttributeValue.unwrap()(session, keys[0], template.as_mut_ptr(), 3) };
        assert_eq!(rv, expected);
        assert_eq!(template.map(|attribute| attribute.ulValueLen), [CK_ULONG::MAX, 67, 3]);
        assert_eq!(&label, b"www");
    }
}

#[test]
fn a_signature_that_fails_is_over_but_for_a_lack_of_room() {
    let _turn = TURN.lock();
    let session = with_a_key();
    let key = private_key(session);
    let mut mechanism = ck::CK_MECHANISM {
        mechanism: ck::CKM_ECDSA_SHA256,
        pParameter: null_mut(),
        ulParameterLen: 0,
    };
    // SAFETY: a local mechanism without a parameter.
    let mut init = || unsafe { LIST_2_40.C_SignInit.unwrap()(session, &raw mut mechanism, key) };
    let (mut data, mut signature, mut length) = ([0u8; 3], [0u8; 64], 64);
    let (data, signature, length) = (data.as_mut_ptr(), signature.as_mut_ptr(), &raw mut length);
    let sign = LIST_2_40.C_Sign.unwrap();
    let update = LIST_2_40.C_SignUpdate.unwrap();
    let last = LIST_2_40.C_SignFinal.unwrap();
    let bad: [&dyn Fn() -> CK_RV; 4] = [
        // SAFETY: null is refused.
        &|| unsafe { sign(session, data, 3, signature, null_mut()) },
        // SAFETY: the same.
        &|| unsafe { sign(session, null_mut(), 3, signature, length) },
        // SAFETY: the same.
        &|| unsafe { update(session, null_mut(), 3) },
        // SAFETY: the same.
        &|| unsafe { last(session, signature, null_mut()) },
    ];
    for (index, bad) in bad.iter().enumerate() {
        assert_eq!(init(), ck::CKR_OK, "{index}");
        assert_eq!(bad(), ck::CKR_ARGUMENTS_BAD, "{index}");
        // SAFETY: three bytes to sign, room for 64.
        let rv = unsafe { sign(session, data, 3, signature, length) };
        assert_eq!(rv, ck::CKR_OPERATION_NOT_INITIALIZED, "{index}");
    }
    assert_eq!(init(), ck::CKR_OK, "nothing is active");
    let mut short = 1;
    // SAFETY: three bytes to sign, room for one at the least.
    let rv = unsafe { sign(session, data, 3, signature, &raw mut short) };
    assert_eq!((rv, short), (ck::CKR_BUFFER_TOO_SMALL, 64));
    // SAFETY: three bytes to sign, room for 64.
    assert_eq!(unsafe { sign(session, data, 3, signature, length) }, ck::CKR_OK);
}
