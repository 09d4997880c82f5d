//! Every way in which a call can fail. `boundary` gives each its `CK_RV`.

use std::collections::TryReserveError;

use super::backend::{SignFailure, Unavailable};

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// A pointer, a length or a configuration makes no sense. The caller is at fault, as in all of these down to `Device`.
    ArgumentsBad,
    /// `C_Initialize` was not called in this process.
    NotInitialized,
    /// `C_Initialize` was called twice.
    AlreadyInitialized,
    /// There is one slot, and it is not this one.
    SlotIdInvalid,
    /// No configuration or no credential, so there is nothing to talk to.
    TokenNotPresent,
    /// Objects are the service's: they cannot be made, changed or destroyed here.
    TokenWriteProtected,
    /// Nothing happens to slots.
    NoEvent,
    /// No session of this handle is open.
    SessionHandleInvalid,
    /// Too many sessions are open.
    SessionCount,
    /// `CKF_SERIAL_SESSION` was not set.
    SessionParallelNotSupported,
    /// Logged in already.
    UserAlreadyLoggedIn,
    /// Not logged in.
    UserNotLoggedIn,
    /// There is no security officer.
    UserTypeInvalid,
    /// No object of this handle was seen by this process.
    ObjectHandleInvalid,
    /// No key of this handle: never seen, or no longer there.
    KeyHandleInvalid,
    /// The mechanism is for another type of key.
    KeyTypeInconsistent,
    /// The key's usage refuses this mechanism.
    KeyFunctionNotPermitted,
    /// No such mechanism.
    MechanismInvalid,
    /// A parameter that the mechanism does not take.
    MechanismParamInvalid,
    /// An operation of this kind is active already.
    OperationActive,
    /// No operation of this kind is active.
    OperationNotInitialized,
    /// The mechanism takes no input of this length.
    DataLenRange,
    /// The result does not fit. What fits was not consumed, and the call can be repeated.
    BufferTooSmall,
    /// The object has no such attribute.
    AttributeTypeInvalid,
    /// The attribute would be part of a private key.
    AttributeSensitive,
    /// Not a function of this module.
    FunctionNotSupported,
    /// There are no parallel functions to ask about.
    FunctionNotParallel,
    /// The random numbers are the system's own.
    RandomSeedNotSupported,
    /// The key's usage refused this message.
    FunctionRejected,
    /// The service tried, and could not sign.
    FunctionFailed,
    /// The service did not answer.
    Device(Unavailable),
    /// There is no memory for what the caller passed, or for what the service answered. Nothing is at fault.
    HostMemory,
    /// The system refused something that does not fail, such as random numbers.
    General,
}

impl From<Unavailable> for Error {
    fn from(cause: Unavailable) -> Self {
        match cause {
            Unavailable::NoMemory => Self::HostMemory,
            Unavailable::Unreachable
            | Unavailable::Protocol
            | Unavailable::Busy
            | Unavailable::Stalled
            | Unavailable::Refused => Self::Device(cause),
        }
    }
}

impl From<TryReserveError> for Error {
    fn from(_: TryReserveError) -> Self {
        Self::HostMemory
    }
}

impl From<SignFailure> for Error {
    fn from(failure: SignFailure) -> Self {
        match failure {
            SignFailure::Unavailable(cause) => cause.into(),
            SignFailure::NoSuchKey => Self::KeyHandleInvalid,
            SignFailure::UsageRefused => Self::FunctionRejected,
            SignFailure::InputLength => Self::DataLenRange,
            SignFailure::Failed => Self::FunctionFailed,
        }
    }
}
