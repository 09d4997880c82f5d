//! What the library, its slot and its token say of themselves.

use cryptoki_sys as ck;
use cryptoki_sys::{CK_FLAGS, CK_INFO, CK_SESSION_INFO, CK_SLOT_INFO, CK_TOKEN_INFO, CK_ULONG, CK_VERSION};

use super::session::MAX_SESSIONS;

/// `C_GetInfo`, for the version of Cryptoki that the caller's function list has.
#[must_use]
pub fn library(cryptoki: CK_VERSION) -> CK_INFO {
    CK_INFO {
        cryptokiVersion: cryptoki,
        manufacturerID: padded("enclave-tls"),
        flags: 0,
        libraryDescription: padded("enclave-tls PKCS#11 module"),
        libraryVersion: VERSION,
    }
}

pub(super) fn slot(present: bool) -> CK_SLOT_INFO {
    CK_SLOT_INFO {
        slotDescription: padded("enclave-tls"),
        manufacturerID: padded("enclave-tls"),
        flags: if present { ck::CKF_TOKEN_PRESENT } else { 0 },
        hardwareVersion: VERSION,
        firmwareVersion: VERSION,
    }
}

/// No `CKF_LOGIN_REQUIRED`: every client then runs without a PIN. A PIN never authorises, so none is asked for.
pub(super) fn token(sessions: usize, writable_sessions: usize) -> CK_TOKEN_INFO {
    const FLAGS: CK_FLAGS =
        ck::CKF_RNG | ck::CKF_WRITE_PROTECTED | ck::CKF_TOKEN_INITIALIZED | ck::CKF_USER_PIN_INITIALIZED;
    CK_TOKEN_INFO {
        label: padded("enclave-tls"),
        manufacturerID: padded("enclave-tls"),
        model: padded("enclave-tls"),
        serialNumber: padded("1"),
        flags: FLAGS,
        ulMaxSessionCount: count(MAX_SESSIONS),
        ulSessionCount: count(sessions),
        ulMaxRwSessionCount: count(MAX_SESSIONS),
        ulRwSessionCount: count(writable_sessions),
        ulMaxPinLen: 255,
        ulMinPinLen: 0,
        ulTotalPublicMemory: CK_ULONG::MAX,
        ulFreePublicMemory: CK_ULONG::MAX,
        ulTotalPrivateMemory: CK_ULONG::MAX,
        ulFreePrivateMemory: CK_ULONG::MAX,
        hardwareVersion: VERSION,
        firmwareVersion: VERSION,
        utcTime: padded(""),
    }
}

pub(super) fn session(slot: ck::CK_SLOT_ID, writable: bool, logged_in: bool) -> CK_SESSION_INFO {
    let (state, writable_flag) = match (writable, logged_in) {
        (false, false) => (ck::CKS_RO_PUBLIC_SESSION, 0),
        (false, true) => (ck::CKS_RO_USER_FUNCTIONS, 0),
        (true, false) => (ck::CKS_RW_PUBLIC_SESSION, ck::CKF_RW_SESSION),
        (true, true) => (ck::CKS_RW_USER_FUNCTIONS, ck::CKF_RW_SESSION),
    };
    CK_SESSION_INFO {
        slotID: slot,
        state,
        flags: ck::CKF_SERIAL_SESSION | writable_flag,
        ulDeviceError: 0,
    }
}

/// Text as Cryptoki wants it: padded with blanks, not ended by a zero.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    field
}

fn count(count: usize) -> CK_ULONG {
    CK_ULONG::try_from(count).unwrap_or(CK_ULONG::MAX)
}

/// Of this module; the service has a version of its own.
const VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 1 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_login_is_asked_for_and_pin_lengths_are_the_right_way_round() {
        let info = token(3, 1);
        assert_eq!(info.flags & ck::CKF_LOGIN_REQUIRED, 0);
        assert_ne!(info.flags & ck::CKF_TOKEN_INITIALIZED, 0);
        assert!(info.ulMinPinLen < info.ulMaxPinLen);
        assert_eq!(&info.label, b"enclave-tls                     ");
        assert_eq!((info.ulSessionCount, info.ulRwSessionCount), (3, 1));
    }
}
