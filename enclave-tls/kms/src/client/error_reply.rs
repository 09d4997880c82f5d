//! What a reply that is no success means.

use enclave_https::{Reply, StatusCode};
use serde::Deserialize;

use super::retry::Failure;
use crate::error::{ErrorName, KmsError, Unavailable};

/// Reads KMS's errors, which are JSON.
pub(super) fn of_kms(reply: &Reply, now_unix: i64) -> Failure {
    let form: Option<Error> = serde_json::from_slice(&reply.body).ok();
    let name = form.and_then(|form| form.name).unwrap_or_default();
    let name = name.as_str();
    // AWS's protocols write a name alone, behind `namespace#`, or before `:address`.
    let name = name.split_once('#').map_or(name, |(_, name)| name);
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    failure(reply, name, now_unix)
}

/// Reads S3's errors, which are XML: no more of it than the first `<Code>`.
pub(super) fn of_s3(reply: &Reply, now_unix: i64) -> Failure {
    let text = std::str::from_utf8(&reply.body).unwrap_or_default();
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    failure(reply, code.map_or("", |(code, _)| code), now_unix)
}

#[derive(Deserialize)]
struct Error {
    #[serde(rename = "__type")]
    name: Option<String>,
}

fn failure(reply: &Reply, name: &str, now_unix: i64) -> Failure {
    let error = match name {
        "ThrottlingException" | "TooManyRequestsException" | "SlowDown" => {
            return Failure::Passing(Unavailable::Throttled);
        }
        "KMSInternalException" | "DependencyTimeoutException" | "KeyUnavailableException" => {
            return Failure::Passing(Unavailable::Failed(reply.status.as_u16()));
        }
        "AccessDeniedException" | "AccessDenied" => KmsError::Denied,
        "InvalidCiphertextException" | "IncorrectKeyException" => KmsError::CiphertextInvalid,
        "NotFoundException" | "NoSuchKey" | "NoSuchBucket" => KmsError::NotFound,
        "ExpiredTokenException" | "ExpiredToken" => KmsError::CredentialsExpired,
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "RequestExpired"
        | "RequestTimeTooSkewedException" => return signature_refused(reply, name, now_unix),
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "InvalidToken" => {
            KmsError::CredentialsRefused(ErrorName::filtered(name))
        }
        _ => return by_status(reply.status, name),
    };
    Failure::Final(error)
}

/// A signature is refused where the clocks differ by more than five minutes. The offset is for the next signature alone.
fn signature_refused(reply: &Reply, name: &str, now_unix: i64) -> Failure {
    let error = KmsError::CredentialsRefused(ErrorName::filtered(name));
    match reply.date().map(|date| date.saturating_sub(now_unix)) {
        Some(offset) if offset.unsigned_abs() > SAME_TIME => Failure::Skewed(offset, error),
        _ => Failure::Final(error),
    }
}

fn by_status(status: StatusCode, name: &str) -> Failure {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Failure::Passing(Unavailable::Throttled),
        _ if status.is_server_error() => Failure::Passing(Unavailable::Failed(status.as_u16())),
        StatusCode::FORBIDDEN => Failure::Final(KmsError::Denied),
        StatusCode::NOT_FOUND => Failure::Final(KmsError::NotFound),
        _ => Failure::Final(KmsError::Refused(ErrorName::filtered(name))),
    }
}

/// Seconds. A `Date` this near is no reason to sign again: it is rounded, and was on its way.
const SAME_TIME: u64 = 30;

#[cfg(test)]
mod tests {
    use enclave_https::HeaderMap;
    use enclave_https::header::{DATE, HeaderValue};

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Thu, 01 Jan 1970 01:00:00 GMT"));
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.as_bytes().to_vec(),
        }
    }

    fn kms(status: u16, name: &str) -> Failure {
        let body = format!(r#"{{"__type":"{name}","message":"for nobody"}}"#);
        of_kms(&reply(status, &body), 3_600)
    }

    #[test]
    fn errors_of_kms() {
        let refused = |name| Failure::Final(KmsError::Refused(ErrorName::filtered(name)));
        let unknown = "UnrecognizedClientException";
        for (status, name, expected) in [
            (400, "AccessDeniedException", KmsError::Denied.into()),
            (400, "InvalidCiphertextException", KmsError::CiphertextInvalid.into()),
            (400, "IncorrectKeyException", KmsError::CiphertextInvalid.into()),
            (400, "com.amazonaws.kms#NotFoundException", KmsError::NotFound.into()),
            (
                400,
                "ExpiredTokenException:http://docs",
                KmsError::CredentialsExpired.into(),
            ),
            (400, "ThrottlingException", Failure::Passing(Unavailable::Throttled)),
            (429, "", Failure::Passing(Unavailable::Throttled)),
            (500, "KMSInternalException", Failure::Passing(Unavailable::Failed(500))),
            (400, "KMSInternalException", Failure::Passing(Unavailable::Failed(400))),
            (
                503,
                "DependencyTimeoutException",
                Failure::Passing(Unavailable::Failed(503)),
            ),
            (502, "", Failure::Passing(Unavailable::Failed(502))),
            (400, "KMSInvalidStateException", refused("KMSInvalidStateException")),
            (400, "DisabledException", refused("DisabledException")),
            (302, "", refused("")),
            (
                400,
                unknown,
                KmsError::CredentialsRefused(ErrorName::filtered(unknown)).into(),
            ),
        ] {
            assert_eq!(kms(status, name), expected, "{status} {name}");
        }
        assert_eq!(of_kms(&reply(400, "<html>"), 0), refused(""));
    }

    #[test]
    fn errors_of_s3() {
        let body = |code| format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>m</Message></Error>");
        for (status, code, expected) in [
            (404, "NoSuchKey", KmsError::NotFound.into()),
            (404, "", KmsError::NotFound.into()),
            (403, "AccessDenied", KmsError::Denied.into()),
            (403, "", KmsError::Denied.into()),
            (400, "ExpiredToken", KmsError::CredentialsExpired.into()),
            (503, "SlowDown", Failure::Passing(Unavailable::Throttled)),
            (500, "InternalError", Failure::Passing(Unavailable::Failed(500))),
        ] {
            assert_eq!(of_s3(&reply(status, &body(code)), 0), expected, "{status} {code}");
        }
    }

    #[test]
    fn threat_18_only_another_time_is_a_reason_to_sign_again() {
        let error = |name| KmsError::CredentialsRefused(ErrorName::filtered(name));
        let at = |name: &str, now| of_kms(&reply(400, &format!(r#"{{"__type":"{name}"}}"#)), now);
        for name in ["InvalidSignatureException", "RequestTimeTooSkewed"] {
            assert_eq!(at(name, 3_600), Failure::Final(error(name)));
            assert_eq!(at(name, 3_570), Failure::Final(error(name)));
            assert_eq!(at(name, 3_569), Failure::Skewed(31, error(name)));
            assert_eq!(at(name, 4_600), Failure::Skewed(-1_000, error(name)));
        }
        assert_eq!(at("AccessDeniedException", 0), Failure::Final(KmsError::Denied));
        let mut undated = reply(400, r#"{"__type":"InvalidSignatureException"}"#);
        undated.headers.clear();
        assert!(matches!(of_kms(&undated, 0), Failure::Final(_)));
    }

    #[test]
    fn threat_48_of_an_error_only_its_name_is_kept() {
        let name = format!("Injected\\n\\u001b[31m{}", "x".repeat(100));
        let Failure::Final(KmsError::Refused(kept)) = kms(400, &name) else {
            panic!("not refused");
        };
        assert_eq!(kept.as_str(), &format!("Injected31m{}", "x".repeat(100))[..64]);
    }
}
