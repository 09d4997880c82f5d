//! Objects: finding them, reading their attributes, and refusing to change them.

use cryptoki_sys::{CK_ATTRIBUTE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG};

use super::call::call;
use super::memory::{Out, slice, slice_mut};
use super::process;
use crate::token::{Attribute, Error, Object, Template};

pub(super) unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or `count` attributes, which nothing changes during the call.
        let attributes = unsafe { slice(template.cast_const(), count) }?;
        let mut wanted = Vec::new();
        wanted.try_reserve_exact(attributes.len())?;
        for attribute in attributes {
            let value = attribute.pValue.cast::<u8>().cast_const();
            // SAFETY: null, or a value of `ulValueLen` bytes, which nothing changes during the call.
            let value = unsafe { slice(value, attribute.ulValueLen) }?;
            wanted.push((attribute.type_, value));
        }
        token.find_init(session, &Template::new(wanted))
    })
}

pub(super) unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        // SAFETY: null, or room for one count.
        let count = unsafe { Out::new(count) }?;
        // SAFETY: null, or room for `room` handles; not the count's memory, which holds one number.
        let objects = unsafe { slice_mut(objects, room) }?;
        let found = token.find(session, objects.len())?;
        for (place, handle) in objects.iter_mut().zip(&found) {
            *place = *handle;
        }
        count.put(CK_ULONG::try_from(found.len()).unwrap_or(CK_ULONG::MAX));
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    call(|| process::token()?.find_final(session))
}

pub(super) unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    call(|| {
        let token = process::token()?;
        if template.is_null() {
            return Err(Error::ArgumentsBad);
        }
        // SAFETY: `count` attributes that nothing else uses during the call.
        let attributes = unsafe { slice_mut(template, count) }?;
        let object = token.object(session, object)?;
        // Every attribute that can be given is given; the first thing that was wrong is said.
        let mut outcome = Ok(());
        for attribute in attributes {
            let read = read(&object, attribute);
            outcome = outcome.and(read);
        }
        outcome
    })
}

fn read(object: &Object, attribute: &mut CK_ATTRIBUTE) -> Result<(), Error> {
    let room = attribute.ulValueLen;
    attribute.ulValueLen = UNAVAILABLE;
    let value = match object.attribute(attribute.type_) {
        Attribute::Value(value) => value,
        Attribute::Sensitive => return Err(Error::AttributeSensitive),
        Attribute::Absent => return Err(Error::AttributeTypeInvalid),
    };
    let length = CK_ULONG::try_from(value.len()).map_err(|_| Error::General)?;
    if !attribute.pValue.is_null() {
        if room < length {
            return Err(Error::BufferTooSmall);
        }
        let place = attribute.pValue.cast::<u8>();
        // SAFETY: not null, and the caller has room for `room` bytes there, of which `value` takes no more; `value` is this module's.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), place, value.len()) };
    }
    attribute.ulValueLen = length;
    Ok(())
}

/// What an object takes is the service's affair.
pub(super) unsafe extern "C" fn C_GetObjectSize(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    size: *mut CK_ULONG,
) -> CK_RV {
    call(|| {
        process::token()?.object(session, object)?;
        // SAFETY: null, or room for one size.
        unsafe { Out::new(size) }?.put(UNAVAILABLE);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    _: *mut CK_ATTRIBUTE,
    _: CK_ULONG,
    _: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    refuse_to_change(session)
}

pub(super) unsafe extern "C" fn C_CopyObject(
    session: CK_SESSION_HANDLE,
    _: CK_OBJECT_HANDLE,
    _: *mut CK_ATTRIBUTE,
    _: CK_ULONG,
    _: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    refuse_to_change(session)
}

pub(super) unsafe extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, _: CK_OBJECT_HANDLE) -> CK_RV {
    refuse_to_change(session)
}

pub(super) unsafe extern "C" fn C_SetAttributeValue(
    session: CK_SESSION_HANDLE,
    _: CK_OBJECT_HANDLE,
    _: *mut CK_ATTRIBUTE,
    _: CK_ULONG,
) -> CK_RV {
    refuse_to_change(session)
}

/// Whatever the object is: this also comes from `atexit`, when nothing should be asked of the service.
fn refuse_to_change(session: CK_SESSION_HANDLE) -> CK_RV {
    call(|| {
        process::token()?.session(session)?;
        Err(Error::TokenWriteProtected)
    })
}

/// `CK_UNAVAILABLE_INFORMATION`
const UNAVAILABLE: CK_ULONG = CK_ULONG::MAX;
