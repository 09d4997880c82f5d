//! Sessions, login, random numbers.

use std::ffi::c_void;

use cryptoki_sys as ck;
use cryptoki_sys::{
    CK_BYTE, CK_FLAGS, CK_NOTIFY, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_ULONG, CK_USER_TYPE,
    CK_UTF8CHAR,
};

use super::call::call;
use super::memory::{Out, slice_mut};
use super::process;
use crate::token::Error;

/// No call back is ever made.
pub(super) unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    _: *mut c_void,
    _: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for one handle.
        let out = unsafe { Out::new(session) }?;
        out.put(token.open_session(slot, flags)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    call(|| process::token()?.close_session(session))
}

pub(super) unsafe extern "C" fn C_CloseAllSessions(slot: CK_SLOT_ID) -> CK_RV {
    call(|| process::token()?.close_all_sessions(slot))
}

pub(super) unsafe extern "C" fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for one CK_SESSION_INFO.
        let out = unsafe { Out::new(info) }?;
        out.put(token.session_info(session)?);
        Ok(())
    })
}

/// The PIN is not even read.
pub(super) unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    _: *mut CK_UTF8CHAR,
    _: CK_ULONG,
) -> CK_RV {
    call(|| process::token()?.log_in(session, user))
}

/// Nor is the user's name.
pub(super) unsafe extern "C" fn C_LoginUser(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    _: *mut CK_UTF8CHAR,
    _: CK_ULONG,
    _: *mut CK_UTF8CHAR,
    _: CK_ULONG,
) -> CK_RV {
    call(|| process::token()?.log_in(session, user))
}

pub(super) unsafe extern "C" fn C_Logout(session: CK_SESSION_HANDLE) -> CK_RV {
    call(|| process::token()?.log_out(session))
}

pub(super) unsafe extern "C" fn C_SessionCancel(session: CK_SESSION_HANDLE, operations: CK_FLAGS) -> CK_RV {
    call(|| process::token()?.cancel(session, operations).map(|_| ()))
}

pub(super) unsafe extern "C" fn C_SeedRandom(session: CK_SESSION_HANDLE, _: *mut CK_BYTE, _: CK_ULONG) -> CK_RV {
    call(|| {
        process::token()?.session(session)?;
        Err(Error::RandomSeedNotSupported)
    })
}

/// The system's random numbers: the enclave's are not better for the host, and would cost a round trip.
pub(super) unsafe extern "C" fn C_GenerateRandom(
    session: CK_SESSION_HANDLE,
    bytes: *mut CK_BYTE,
    count: CK_ULONG,
) -> CK_RV {
    call(|| {
        process::token()?.session(session)?;
        // SAFETY: null, or room for `count` bytes that nothing else uses during the call.
        let bytes = unsafe { slice_mut(bytes, count) }?;
        getrandom::fill(bytes).map_err(|_| Error::General)
    })
}

pub(super) unsafe extern "C" fn C_GetFunctionStatus(session: CK_SESSION_HANDLE) -> CK_RV {
    not_parallel(session)
}

pub(super) unsafe extern "C" fn C_CancelFunction(session: CK_SESSION_HANDLE) -> CK_RV {
    not_parallel(session)
}

fn not_parallel(session: CK_SESSION_HANDLE) -> CK_RV {
    call(|| {
        process::token()?.session(session)?;
        Err(Error::FunctionNotParallel)
    })
}

/// What `C_SignInit` without a mechanism cancels.
pub(super) const SIGNING: CK_FLAGS = ck::CKF_SIGN;
