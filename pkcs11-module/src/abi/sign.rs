//! Signing.

use cryptoki_sys::{CK_BYTE, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG};

use super::call::call;
use super::memory::{OutArray, slice};
use super::process;
use super::session::SIGNING;
use crate::token::{Error, Room, Signed, Token};

/// Without a mechanism it cancels what is active (PKCS#11 3.0, 5.13.1).
pub(super) unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        let count = CK_ULONG::from(!mechanism.is_null());
        // SAFETY: null, or one CK_MECHANISM, which nothing changes during the call.
        let mechanism = unsafe { slice(mechanism.cast_const(), count) }?;
        let Some(mechanism) = mechanism.first() else {
            let cancelled = token.cancel(session, SIGNING)?;
            return if cancelled { Ok(()) } else { Err(Error::ArgumentsBad) };
        };
        let parameter = mechanism.pParameter.cast::<u8>().cast_const();
        // SAFETY: null, or a parameter of `ulParameterLen` bytes, which nothing changes during the call.
        let parameter = unsafe { slice(parameter, mechanism.ulParameterLen) };
        let parameter = parameter.map_err(|_| Error::MechanismParamInvalid)?;
        token.sign_init(session, mechanism.mechanism, parameter, key)
    })
}

pub(super) unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for as many bytes as `signature_len` says.
        let out = unsafe { OutArray::new(signature, signature_len) };
        let out = or_end(&token, session, out)?;
        // SAFETY: null, or `data_len` bytes; the slice is last used before the signature is written.
        let data = unsafe { slice(data.cast_const(), data_len) };
        let data = or_end(&token, session, data)?;
        let signed = token.sign(session, data, room(&out))?;
        give(&out, &signed)
    })
}

pub(super) unsafe extern "C" fn C_SignUpdate(
    session: CK_SESSION_HANDLE,
    part: *mut CK_BYTE,
    part_len: CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or `part_len` bytes, which nothing changes during the call.
        let part = unsafe { slice(part.cast_const(), part_len) };
        let part = or_end(&token, session, part)?;
        token.sign_update(session, part)
    })
}

pub(super) unsafe extern "C" fn C_SignFinal(
    session: CK_SESSION_HANDLE,
    signature: *mut CK_BYTE,
    signature_len: *mut CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for as many bytes as `signature_len` says.
        let out = unsafe { OutArray::new(signature, signature_len) };
        let out = or_end(&token, session, out)?;
        let signed = token.sign_final(session, room(&out))?;
        give(&out, &signed)
    })
}

/// An argument of a call that ends the operation where it fails, for whatever reason but a lack of room (PKCS#11 2.40, 5.11).
fn or_end<T>(token: &Token, session: CK_SESSION_HANDLE, argument: Result<T, Error>) -> Result<T, Error> {
    if argument.is_err() {
        // A session that there is not has nothing to end.
        let _ended = token.cancel(session, SIGNING);
    }
    argument
}

fn room(out: &OutArray<CK_BYTE>) -> Room {
    out.room().map_or(Room::Query, Room::Bytes)
}

fn give(out: &OutArray<CK_BYTE>, signed: &Signed) -> Result<(), Error> {
    match signed {
        Signed::Length(length) => {
            out.put_count(*length);
            Ok(())
        }
        Signed::TooSmall(length) => {
            out.put_count(*length);
            Err(Error::BufferTooSmall)
        }
        Signed::Signature(signature) => out.put(signature),
    }
}
