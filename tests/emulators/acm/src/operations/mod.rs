//! What ACM's ACME side can be asked for, one function an operation.

mod accounts;
mod bindings;
mod call;
mod domains;
mod endpoints;
mod page;

pub(crate) use call::Call;

use hyper::http::request::Parts;
use serde_json::Value;

use crate::error::AcmError;

type Reply = Result<Value, AcmError>;

/// An operation.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    run: fn(&Call<'_>) -> Reply,
}

impl Operation {
    /// What a request's `X-Amz-Target` names.
    pub(crate) fn of(head: &Parts) -> Result<&'static Self, AcmError> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if head.method != "POST" || head.uri != "/" || header("content-type") != Some("application/x-amz-json-1.1") {
            return Err(AcmError::unknown_operation());
        }
        let name = header("x-amz-target").and_then(|target| target.strip_prefix("CertificateManager."));
        let found = OPERATIONS.iter().find(|operation| Some(operation.name) == name);
        found.ok_or_else(AcmError::unknown_operation)
    }

    pub(crate) fn perform(&self, call: &Call<'_>) -> Reply {
        call.authorize(self.name)?;
        (self.run)(call)
    }
}

const fn operation(name: &'static str, run: fn(&Call<'_>) -> Reply) -> Operation {
    Operation { name, run }
}

/// All nineteen that have ACME in their names.
const OPERATIONS: [Operation; 19] = [
    operation("CreateAcmeDomainValidation", domains::create),
    operation("CreateAcmeEndpoint", endpoints::create),
    operation("CreateAcmeExternalAccountBinding", bindings::create),
    operation("DeleteAcmeDomainValidation", domains::delete),
    operation("DeleteAcmeEndpoint", endpoints::delete),
    operation("DeleteAcmeExternalAccountBinding", bindings::delete),
    operation("DescribeAcmeAccount", accounts::describe),
    operation("DescribeAcmeDomainValidation", domains::describe),
    operation("DescribeAcmeEndpoint", endpoints::describe),
    operation("DescribeAcmeExternalAccountBinding", bindings::describe),
    operation("GetAcmeExternalAccountBindingCredentials", bindings::credentials),
    operation("ListAcmeAccounts", accounts::list),
    operation("ListAcmeDomainValidations", domains::list),
    operation("ListAcmeEndpoints", endpoints::list),
    operation("ListAcmeExternalAccountBindings", bindings::list),
    operation("RevokeAcmeAccount", accounts::revoke),
    operation("RevokeAcmeExternalAccountBinding", bindings::revoke),
    operation("UpdateAcmeDomainValidation", domains::update),
    operation("UpdateAcmeEndpoint", endpoints::update),
];
