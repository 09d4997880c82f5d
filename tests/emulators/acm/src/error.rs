//! What ACM answers when it does not do what was asked.

use emulator_aws::SignatureError;
use serde_json::{Value, json};

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcmError {
    name: &'static str,
    status: u16,
    message: String,
}

impl AcmError {
    pub(crate) fn access_denied(arn: &str, action: &str, resource: &str) -> Self {
        let message = format!(
            "User: {arn} is not authorized to perform: {action} on resource: {resource} because no identity-based policy allows the {action} action"
        );
        Self::refused("AccessDeniedException", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::refused("ConflictException", message)
    }

    pub(crate) fn not_found(what: &str, name: &str) -> Self {
        Self::refused(
            "ResourceNotFoundException",
            format!("Could not find the {what} {name}."),
        )
    }

    pub(crate) fn quota(message: impl Into<String>) -> Self {
        Self::refused("ServiceQuotaExceededException", message)
    }

    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::refused("SerializationException", message)
    }

    pub(crate) fn unknown_operation() -> Self {
        Self::refused("UnknownOperationException", "")
    }

    pub(crate) fn too_large() -> Self {
        Self::refused("RequestEntityTooLargeException", "")
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::refused("ValidationException", message)
    }

    /// The words in which AWS says that a member breaks a rule of the model.
    pub(crate) fn constraint(member: &str, value: Option<&str>, rule: &str) -> Self {
        let value = value.map_or("null".to_owned(), |value| format!("'{value}'"));
        Self::validation(format!(
            "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {rule}"
        ))
    }

    /// The machine gave no random bytes.
    pub(crate) fn internal() -> Self {
        Self {
            status: 500,
            ..Self::refused("InternalServerException", "internal error of the emulator")
        }
    }

    fn refused(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            status: 400,
            message: message.into(),
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn body(&self) -> Value {
        match self.message.as_str() {
            "" => json!({ "__type": self.name }),
            message => json!({ "__type": self.name, "message": message }),
        }
    }
}

impl std::fmt::Display for AcmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl From<SignatureError> for AcmError {
    fn from(error: SignatureError) -> Self {
        Self::refused(error.fault.name(), error.message)
    }
}
