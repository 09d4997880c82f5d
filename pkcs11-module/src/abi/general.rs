//! The library, its slot, its token.

use std::ffi::{CStr, c_char, c_void};

use cryptoki_sys as ck;
use cryptoki_sys::{
    CK_BBOOL, CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_INFO, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CK_RV, CK_SLOT_ID,
    CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG, CK_VERSION,
};

use super::call::call;
use super::list::{VERSION_2_40, VERSION_3_0};
use super::memory::{Out, OutArray, slice};
use super::process;
use crate::config::Source;
use crate::token::{Error, info};

/// The mutex functions of a caller are not used: the locks here are the kernel's, which serve threads of any kind. Only some of the four
/// functions make no sense.
pub(super) unsafe extern "C" fn C_Initialize(args: *mut c_void) -> CK_RV {
    call(|| {
        let args = args.cast::<CK_C_INITIALIZE_ARGS>();
        let count = CK_ULONG::from(!args.is_null());
        // SAFETY: null, or one CK_C_INITIALIZE_ARGS (PKCS#11 2.40, 5.4).
        let args = unsafe { slice(args.cast_const(), count) }?;
        let source = args.first().map_or(Ok(Source::Usual), source)?;
        process::initialize(&source)
    })
}

fn source(args: &CK_C_INITIALIZE_ARGS) -> Result<Source, Error> {
    let functions = [
        args.CreateMutex.is_some(),
        args.DestroyMutex.is_some(),
        args.LockMutex.is_some(),
        args.UnlockMutex.is_some(),
    ];
    if functions.contains(&true) && functions.contains(&false) {
        return Err(Error::ArgumentsBad);
    }
    if args.pReserved.is_null() {
        return Ok(Source::Usual);
    }
    // SAFETY: not null, so it is a string, as p11-kit, libp11 and pkcs11-provider pass what a user configured for a module.
    let reserved = unsafe { CStr::from_ptr(args.pReserved.cast::<c_char>()) };
    Source::parse(reserved).map_err(|_| Error::ArgumentsBad)
}

pub(super) unsafe extern "C" fn C_Finalize(reserved: *mut c_void) -> CK_RV {
    call(|| {
        if !reserved.is_null() {
            return Err(Error::ArgumentsBad);
        }
        process::finalize()
    })
}

pub(super) unsafe extern "C" fn C_GetInfo(info: *mut CK_INFO) -> CK_RV {
    // SAFETY: passed on.
    unsafe { get_info(info, VERSION_2_40) }
}

/// Of the 3.0 function list, so that version and list agree.
pub(super) unsafe extern "C" fn C_GetInfo_3_0(info: *mut CK_INFO) -> CK_RV {
    // SAFETY: passed on.
    unsafe { get_info(info, VERSION_3_0) }
}

/// # Safety
/// As for [`Out::new`].
unsafe fn get_info(pointer: *mut CK_INFO, version: CK_VERSION) -> CK_RV {
    call(|| {
        process::token()?;
        // SAFETY: null, or room for one CK_INFO.
        unsafe { Out::new(pointer) }?.put(info::library(version));
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GetSlotList(
    token_present: CK_BBOOL,
    slots: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for as many ids as `count` says.
        let out = unsafe { OutArray::new(slots, count) }?;
        out.put(token.slots(token_present != ck::CK_FALSE))
    })
}

pub(super) unsafe extern "C" fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for one CK_SLOT_INFO.
        let out = unsafe { Out::new(info) }?;
        out.put(token.slot_info(slot)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for one CK_TOKEN_INFO.
        let out = unsafe { Out::new(info) }?;
        out.put(token.token_info(slot)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismList(
    slot: CK_SLOT_ID,
    kinds: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for as many types as `count` says.
        let out = unsafe { OutArray::new(kinds, count) }?;
        out.put(token.mechanisms(slot)?)
    })
}

pub(super) unsafe extern "C" fn C_GetMechanismInfo(
    slot: CK_SLOT_ID,
    kind: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for one CK_MECHANISM_INFO.
        let out = unsafe { Out::new(info) }?;
        out.put(token.mechanism_info(slot, kind)?);
        Ok(())
    })
}

/// Slots never change, so there is nothing to wait for.
pub(super) unsafe extern "C" fn C_WaitForSlotEvent(flags: CK_FLAGS, _: *mut CK_SLOT_ID, _: *mut c_void) -> CK_RV {
    call(|| {
        process::token()?;
        Err(if flags & ck::CKF_DONT_BLOCK != 0 {
            Error::NoEvent
        } else {
            Error::FunctionNotSupported
        })
    })
}
