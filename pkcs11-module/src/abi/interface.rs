//! The exported functions: three, through which a caller gets all others.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_void};

use cryptoki_sys::{CK_FLAGS, CK_FUNCTION_LIST, CK_INTERFACE, CK_RV, CK_ULONG, CK_UTF8CHAR, CK_VERSION};

use super::call::call;
use super::list::{LIST_2_40, LIST_3_0, VERSION_2_40, VERSION_3_0};
use super::memory::{Out, OutArray, slice};
use crate::token::Error;

/// The table of Cryptoki 2.40. Callable before `C_Initialize`, like the other two.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    call(|| {
        // SAFETY: null, or room for one pointer.
        unsafe { Out::new(list) }?.put((&raw const LIST_2_40).cast_mut());
        Ok(())
    })
}

/// Both tables.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetInterfaceList(interfaces: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    call(|| {
        // SAFETY: null, or room for as many interfaces as `count` says.
        let out = unsafe { OutArray::new(interfaces, count) }?;
        out.put(&INTERFACES)
    })
}

/// The table of a name, a version and flags; null for any. The newest comes first.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    interface: *mut *mut CK_INTERFACE,
    flags: CK_FLAGS,
) -> CK_RV {
    call(|| {
        // SAFETY: null, or room for one pointer.
        let out = unsafe { Out::new(interface) }?;
        if !name.is_null() {
            // SAFETY: not null, so it is a string that ends with a zero (PKCS#11 3.0, 5.4.6).
            let name = unsafe { CStr::from_ptr(name.cast_const().cast::<c_char>()) };
            if name != NAME {
                return Err(Error::FunctionFailed);
            }
        }
        let count = CK_ULONG::from(!version.is_null());
        // SAFETY: null, or one version, which nothing changes during the call.
        let version = unsafe { slice(version.cast_const(), count) }?.first();
        let mut known = INTERFACES.iter().zip([VERSION_3_0, VERSION_2_40]).zip(&HANDED_OUT);
        let found = known.find(|((known, has), _)| {
            let version_fits = version.is_none_or(|want| (want.major, want.minor) == (has.major, has.minor));
            version_fits && known.flags & flags == flags
        });
        let (_, handed_out) = found.ok_or(Error::FunctionFailed)?;
        out.put(handed_out.0.get());
        Ok(())
    })
}

/// Not `CKF_INTERFACE_FORK_SAFE`: a child has to call `C_Initialize`.
const INTERFACES: [CK_INTERFACE; 2] = [
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast::<CK_UTF8CHAR>().cast_mut(),
        pFunctionList: (&raw const LIST_3_0).cast::<c_void>().cast_mut(),
        flags: 0,
    },
    CK_INTERFACE {
        pInterfaceName: NAME.as_ptr().cast::<CK_UTF8CHAR>().cast_mut(),
        pFunctionList: (&raw const LIST_2_40).cast::<c_void>().cast_mut(),
        flags: 0,
    },
];

/// What callers get pointers to. Not read here, and in memory that may be written: Debian 12's pkcs11-spy puts its own table
/// there, and ends a process where it cannot.
static HANDED_OUT: [HandedOut; 2] = {
    let [newer, older] = INTERFACES;
    [HandedOut(UnsafeCell::new(newer)), HandedOut(UnsafeCell::new(older))]
};

struct HandedOut(UnsafeCell<CK_INTERFACE>);

// SAFETY: nothing here reads or writes what is in it; its address alone is used.
unsafe impl Sync for HandedOut {}

const NAME: &CStr = c"PKCS 11";

#[cfg(test)]
mod tests {
    use cryptoki_sys as ck;

    use super::*;

    fn interface(name: Option<&CStr>, version: Option<CK_VERSION>, flags: CK_FLAGS) -> Result<CK_VERSION, CK_RV> {
        let name = name.map_or(std::ptr::null_mut(), |name| {
            name.as_ptr().cast::<CK_UTF8CHAR>().cast_mut()
        });
        let mut wanted = version.unwrap_or(VERSION_3_0);
        let wanted = version.map_or(std::ptr::null_mut(), |_| &raw mut wanted);
        let mut found = std::ptr::null_mut();
        // SAFETY: all point at locals or are null.
        let rv = unsafe { C_GetInterface(name, wanted, &raw mut found, flags) };
        if rv != ck::CKR_OK {
            return Err(rv);
        }
        // SAFETY: CKR_OK, so it points at one of the interfaces above.
        let list = unsafe { *found }.pFunctionList.cast::<CK_VERSION>();
        // SAFETY: every function list begins with its version.
        Ok(unsafe { *list })
    }

    #[test]
    fn interfaces_are_found_by_name_and_version() {
        let minor = |found: Result<CK_VERSION, CK_RV>| found.map(|version| (version.major, version.minor));
        assert_eq!(minor(interface(None, None, 0)), Ok((3, 0)));
        assert_eq!(minor(interface(Some(NAME), Some(VERSION_2_40), 0)), Ok((2, 40)));
        assert_eq!(minor(interface(Some(NAME), Some(VERSION_3_0), 0)), Ok((3, 0)));
        let none = Err(ck::CKR_FUNCTION_FAILED);
        assert_eq!(minor(interface(Some(c"Vendor"), None, 0)), none);
        assert_eq!(minor(interface(None, Some(CK_VERSION { major: 3, minor: 2 }), 0)), none);
        assert_eq!(minor(interface(None, None, ck::CKF_INTERFACE_FORK_SAFE)), none);
    }

    #[test]
    fn a_caller_may_write_into_what_it_got() {
        let mut found = std::ptr::null_mut();
        // SAFETY: null for any, and a local.
        let rv = unsafe { C_GetInterface(std::ptr::null_mut(), std::ptr::null_mut(), &raw mut found, 0) };
        assert_eq!(rv, ck::CKR_OK);
        // SAFETY: CKR_OK, so it points at an interface; nothing else reads or writes its flags.
        unsafe { (*found).flags = ck::CKF_INTERFACE_FORK_SAFE };
        let (mut list, mut count) = (INTERFACES, 2);
        // SAFETY: room for two, as the count says.
        let rv = unsafe { C_GetInterfaceList(list.as_mut_ptr(), &raw mut count) };
        let flags = list.map(|interface| interface.flags);
        assert_eq!((rv, flags), (ck::CKR_OK, [0, 0]), "and only what it got changes");
    }
}
