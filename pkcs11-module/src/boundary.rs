//! The last line before C: no panic passes it, and every error becomes the `CK_RV` that says it best.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki_sys as ck;
use cryptoki_sys::CK_RV;

use crate::token::Error;

/// Runs the body of an exported function.
///
/// A panic becomes `CKR_GENERAL_ERROR`. What it was about to change is either a lock's contents, which [`crate::token::lock`]
/// hands out again as they are, or a connection, which closes when it is dropped.
pub(crate) fn call(body: impl FnOnce() -> Result<(), Error>) -> CK_RV {
    let guarded = || {
        #[cfg(test)]
        tests::panic_if_armed();
        body()
    };
    match catch_unwind(AssertUnwindSafe(guarded)) {
        Ok(Ok(())) => ck::CKR_OK,
        Ok(Err(error)) => rv(error),
        Err(_panic) => ck::CKR_GENERAL_ERROR,
    }
}

/// Says nothing when a panic begins: the standard error stream is the host's. Each copy of the standard library has a hook of its
/// own, so this changes nothing for a host that is written in Rust.
pub(crate) fn silence_panics() {
    #[cfg(not(test))]
    std::panic::set_hook(Box::new(|_| ()));
}

/// The code of an error.
pub(crate) fn rv(error: Error) -> CK_RV {
    match error {
        Error::ArgumentsBad => ck::CKR_ARGUMENTS_BAD,
        Error::NotInitialized => ck::CKR_CRYPTOKI_NOT_INITIALIZED,
        Error::AlreadyInitialized => ck::CKR_CRYPTOKI_ALREADY_INITIALIZED,
        Error::SlotIdInvalid => ck::CKR_SLOT_ID_INVALID,
        Error::TokenNotPresent => ck::CKR_TOKEN_NOT_PRESENT,
        Error::TokenWriteProtected => ck::CKR_TOKEN_WRITE_PROTECTED,
        Error::NoEvent => ck::CKR_NO_EVENT,
        Error::SessionHandleInvalid => ck::CKR_SESSION_HANDLE_INVALID,
        Error::SessionCount => ck::CKR_SESSION_COUNT,
        Error::SessionParallelNotSupported => ck::CKR_SESSION_PARALLEL_NOT_SUPPORTED,
        Error::UserAlreadyLoggedIn => ck::CKR_USER_ALREADY_LOGGED_IN,
        Error::UserNotLoggedIn => ck::CKR_USER_NOT_LOGGED_IN,
        Error::UserTypeInvalid => ck::CKR_USER_TYPE_INVALID,
        Error::ObjectHandleInvalid => ck::CKR_OBJECT_HANDLE_INVALID,
        Error::KeyHandleInvalid => ck::CKR_KEY_HANDLE_INVALID,
        Error::KeyTypeInconsistent => ck::CKR_KEY_TYPE_INCONSISTENT,
        Error::KeyFunctionNotPermitted => ck::CKR_KEY_FUNCTION_NOT_PERMITTED,
        Error::MechanismInvalid => ck::CKR_MECHANISM_INVALID,
        Error::MechanismParamInvalid => ck::CKR_MECHANISM_PARAM_INVALID,
        Error::OperationActive => ck::CKR_OPERATION_ACTIVE,
        Error::OperationNotInitialized => ck::CKR_OPERATION_NOT_INITIALIZED,
        Error::DataLenRange => ck::CKR_DATA_LEN_RANGE,
        Error::BufferTooSmall => ck::CKR_BUFFER_TOO_SMALL,
        Error::AttributeTypeInvalid => ck::CKR_ATTRIBUTE_TYPE_INVALID,
        Error::AttributeSensitive => ck::CKR_ATTRIBUTE_SENSITIVE,
        Error::FunctionNotSupported => ck::CKR_FUNCTION_NOT_SUPPORTED,
        Error::FunctionNotParallel => ck::CKR_FUNCTION_NOT_PARALLEL,
        Error::RandomSeedNotSupported => ck::CKR_RANDOM_SEED_NOT_SUPPORTED,
        Error::FunctionRejected => ck::CKR_FUNCTION_REJECTED,
        Error::FunctionFailed => ck::CKR_FUNCTION_FAILED,
        // Never CKR_DEVICE_REMOVED or CKR_TOKEN_NOT_PRESENT: libp11 waits for such a token to come back, for good (libp11#525).
        Error::Device(_) => ck::CKR_DEVICE_ERROR,
        Error::HostMemory => ck::CKR_HOST_MEMORY,
        Error::General => ck::CKR_GENERAL_ERROR,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local!(static ARMED: Cell<bool> = const { Cell::new(false) });

    /// Makes every exported function called from this thread panic inside the boundary.
    pub(crate) fn arm(armed: bool) {
        ARMED.set(armed);
    }

    pub(super) fn panic_if_armed() {
        if ARMED.get() {
            panic!("armed by a test");
        }
    }

    #[test]
    fn threat_49_a_panic_becomes_an_error() {
        assert_eq!(call(|| panic!("from a test")), ck::CKR_GENERAL_ERROR);
        assert_eq!(call(|| Err(Error::NoEvent)), ck::CKR_NO_EVENT);
        assert_eq!(call(|| Ok(())), ck::CKR_OK);
    }
}
