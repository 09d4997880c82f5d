//! What every C function passes on its way in and out.

use std::ffi::c_int;

use cryptoki_sys::CK_RV;

use crate::boundary;
use crate::token::Error;

/// Runs the body of an exported function behind the [`boundary`]. A thread that is cancelled meanwhile ends after the call.
///
/// Cancellation unwinds, and ends the process at the first function of Rust that C called. A system call is where it strikes, so it is put
/// off for the length of the call. Not for a host of asynchronous cancellation: that may call hardly anything (POSIX, 2.9.5.4), and no module.
pub(super) fn call(body: impl FnOnce() -> Result<(), Error>) -> CK_RV {
    let before = set_cancel_state(CANCEL_DISABLE);
    let rv = boundary::call(body);
    set_cancel_state(before);
    rv
}

/// Sets whether the calling thread can be cancelled, and says what was set before.
fn set_cancel_state(state: c_int) -> c_int {
    let mut before = state;
    // SAFETY: it writes one integer, a local; a state that it does not know would be an error, and these two it knows.
    let _always_0 = unsafe { pthread_setcancelstate(state, &raw mut before) };
    before
}

// Neither the libc crate nor rustix has it for Linux. It makes no system call.
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// `PTHREAD_CANCEL_DISABLE`, the same in glibc and musl.
const CANCEL_DISABLE: c_int = 1;
