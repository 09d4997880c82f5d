//! The tables of functions that a caller gets, for Cryptoki 2.40 and 3.0.

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_VERSION};

use super::interface::{C_GetFunctionList, C_GetInterface, C_GetInterfaceList};
use super::unsupported::Unsupported;
use super::{general, object, session, sign};

pub(super) const VERSION_2_40: CK_VERSION = CK_VERSION { major: 2, minor: 40 };
pub(super) const VERSION_3_0: CK_VERSION = CK_VERSION { major: 3, minor: 0 };

/// A table of the functions that both versions have, and `$more`.
macro_rules! list {
    ($table:ident, $version:ident, $get_info:ident $(, $more:ident: $entry:expr)* $(,)?) => {
        $table {
            version: $version,
            C_Initialize: Some(general::C_Initialize),
            C_Finalize: Some(general::C_Finalize),
            C_GetInfo: Some(general::$get_info),
            C_GetFunctionList: Some(C_GetFunctionList),
            C_GetSlotList: Some(general::C_GetSlotList),
            C_GetSlotInfo: Some(general::C_GetSlotInfo),
            C_GetTokenInfo: Some(general::C_GetTokenInfo),
            C_GetMechanismList: Some(general::C_GetMechanismList),
            C_GetMechanismInfo: Some(general::C_GetMechanismInfo),
            C_InitToken: Unsupported::ENTRY,
            C_InitPIN: Unsupported::ENTRY,
            C_SetPIN: Unsupported::ENTRY,
            C_OpenSession: Some(session::C_OpenSession),
            C_CloseSession: Some(session::C_CloseSession),
            C_CloseAllSessions: Some(session::C_CloseAllSessions),
            C_GetSessionInfo: Some(session::C_GetSessionInfo),
            // Providers ask for it to copy a digest in the making, and do without.
            C_GetOperationState: Unsupported::ENTRY,
            C_SetOperationState: Unsupported::ENTRY,
            C_Login: Some(session::C_Login),
            C_Logout: Some(session::C_Logout),
            C_CreateObject: Some(object::C_CreateObject),
            C_CopyObject: Some(object::C_CopyObject),
            C_DestroyObject: Some(object::C_DestroyObject),
            C_GetObjectSize: Some(object::C_GetObjectSize),
            C_GetAttributeValue: Some(object::C_GetAttributeValue),
            C_SetAttributeValue: Some(object::C_SetAttributeValue),
            C_FindObjectsInit: Some(object::C_FindObjectsInit),
            C_FindObjects: Some(object::C_FindObjects),
            C_FindObjectsFinal: Some(object::C_FindObjectsFinal),
            C_EncryptInit: Unsupported::ENTRY,
            C_Encrypt: Unsupported::ENTRY,
            C_EncryptUpdate: Unsupported::ENTRY,
            C_EncryptFinal: Unsupported::ENTRY,
            C_DecryptInit: Unsupported::ENTRY,
            C_Decrypt: Unsupported::ENTRY,
            C_DecryptUpdate: Unsupported::ENTRY,
            C_DecryptFinal: Unsupported::ENTRY,
            C_DigestInit: Unsupported::ENTRY,
            C_Digest: Unsupported::ENTRY,
            C_DigestUpdate: Unsupported::ENTRY,
            C_DigestKey: Unsupported::ENTRY,
            C_DigestFinal: Unsupported::ENTRY,
            C_SignInit: Some(sign::C_SignInit),
            C_Sign: Some(sign::C_Sign),
            C_SignUpdate: Some(sign::C_SignUpdate),
            C_SignFinal: Some(sign::C_SignFinal),
            C_SignRecoverInit: Unsupported::ENTRY,
            C_SignRecover: Unsupported::ENTRY,
            C_VerifyInit: Unsupported::ENTRY,
            C_Verify: Unsupported::ENTRY,
            C_VerifyUpdate: Unsupported::ENTRY,
            C_VerifyFinal: Unsupported::ENTRY,
            C_VerifyRecoverInit: Unsupported::ENTRY,
            C_VerifyRecover: Unsupported::ENTRY,
            C_DigestEncryptUpdate: Unsupported::ENTRY,
            C_DecryptDigestUpdate: Unsupported::ENTRY,
            C_SignEncryptUpdate: Unsupported::ENTRY,
            C_DecryptVerifyUpdate: Unsupported::ENTRY,
            C_GenerateKey: Unsupported::ENTRY,
            C_GenerateKeyPair: Unsupported::ENTRY,
            C_WrapKey: Unsupported::ENTRY,
            C_UnwrapKey: Unsupported::ENTRY,
            C_DeriveKey: Unsupported::ENTRY,
            C_SeedRandom: Some(session::C_SeedRandom),
            C_GenerateRandom: Some(session::C_GenerateRandom),
            C_GetFunctionStatus: Some(session::C_GetFunctionStatus),
            C_CancelFunction: Some(session::C_CancelFunction),
            C_WaitForSlotEvent: Some(general::C_WaitForSlotEvent),
            $($more: $entry,)*
        }
    };
}

pub(super) static LIST_2_40: CK_FUNCTION_LIST = list!(CK_FUNCTION_LIST, VERSION_2_40, C_GetInfo);

pub(super) static LIST_3_0: CK_FUNCTION_LIST_3_0 = list!(
    CK_FUNCTION_LIST_3_0,
    VERSION_3_0,
    C_GetInfo_3_0,
    C_GetInterfaceList: Some(C_GetInterfaceList),
    C_GetInterface: Some(C_GetInterface),
    C_LoginUser: Some(session::C_LoginUser),
    C_SessionCancel: Some(session::C_SessionCancel),
    C_MessageEncryptInit: Unsupported::ENTRY,
    C_EncryptMessage: Unsupported::ENTRY,
    C_EncryptMessageBegin: Unsupported::ENTRY,
    C_EncryptMessageNext: Unsupported::ENTRY,
    C_MessageEncryptFinal: Unsupported::ENTRY,
    C_MessageDecryptInit: Unsupported::ENTRY,
    C_DecryptMessage: Unsupported::ENTRY,
    C_DecryptMessageBegin: Unsupported::ENTRY,
    C_DecryptMessageNext: Unsupported::ENTRY,
    C_MessageDecryptFinal: Unsupported::ENTRY,
    C_MessageSignInit: Unsupported::ENTRY,
    C_SignMessage: Unsupported::ENTRY,
    C_SignMessageBegin: Unsupported::ENTRY,
    C_SignMessageNext: Unsupported::ENTRY,
    C_MessageSignFinal: Unsupported::ENTRY,
    C_MessageVerifyInit: Unsupported::ENTRY,
    C_VerifyMessage: Unsupported::ENTRY,
    C_VerifyMessageBegin: Unsupported::ENTRY,
    C_VerifyMessageNext: Unsupported::ENTRY,
    C_MessageVerifyFinal: Unsupported::ENTRY,
);
