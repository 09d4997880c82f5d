//! AWS Signature Version 4, verified: over the whole request, by the clock, for this region and service.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use hyper::http::request::Parts;

use crate::blob::hex;
use crate::clock::{amz_date, parse_amz_date};
use crate::error::{Kind, KmsError};
use crate::kms::{Login, Logins};

/// A request whose signature is to be verified.
pub(crate) struct Signed<'a> {
    pub(crate) head: &'a Parts,
    pub(crate) body: &'a [u8],
}

/// Against what.
pub(crate) struct Expected<'a> {
    pub(crate) logins: &'a Logins,
    pub(crate) region: &'a str,
    /// Seconds since 1970, UTC.
    pub(crate) now: i64,
}

impl Signed<'_> {
    /// Whose signature it is.
    pub(crate) fn verify<'l>(&self, expected: &Expected<'l>) -> Result<&'l Login, KmsError> {
        let authorization = Authorization::parse(self.header("authorization"))?;
        let date = self.header("x-amz-date").unwrap_or_default();
        authorization.check_scope(date, expected.region)?;
        self.check_signed_headers(&authorization)?;
        let login = expected
            .logins
            .get(authorization.access_key_id)
            .ok_or_else(unrecognized)?;
        if self.header("x-amz-security-token") != login.session_token.as_deref() {
            return Err(unrecognized());
        }
        check_clock(date, expected.now)?;
        if authorization.signature != self.signature(&authorization, date, &login.secret)? {
            return Err(invalid(MISMATCH));
        }
        if login.expires.is_some_and(|expires| expires <= expected.now) {
            return Err(KmsError::new(
                Kind::ExpiredToken,
                "The security token included in the request is expired",
            ));
        }
        Ok(login)
    }

    /// What decides about the request must be signed. AWS forgives more than its documentation; this does not.
    fn check_signed_headers(&self, authorization: &Authorization<'_>) -> Result<(), KmsError> {
        let signed: Vec<&str> = authorization.signed_headers.split(';').collect();
        if !signed.is_sorted_by(|one, next| one < next) {
            return Err(invalid("SignedHeaders are not in order."));
        }
        if !signed.contains(&"host") {
            return Err(invalid(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let names = self.head.headers.keys().map(hyper::http::HeaderName::as_str);
        let mut must = names.filter(|name| *name == "content-type" || name.starts_with("x-amz-"));
        match must.find(|name| !signed.contains(name)) {
            Some(name) => Err(invalid(&format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            ))),
            None => Ok(()),
        }
    }

    fn signature(&self, authorization: &Authorization<'_>, date: &str, secret: &str) -> Result<String, KmsError> {
        let canonical = self.canonical(authorization.signed_headers)?;
        let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let scope = authorization.scope.join("/");
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in authorization.scope {
            key = hmac_sha256(&key, part);
        }
        Ok(hex(&hmac_sha256(
            &key,
            &format!("{ALGORITHM}\n{date}\n{scope}\n{hash}"),
        )))
    }

    /// KMS takes nothing but POSTs to `/`, so path and query need no canonical form.
    fn canonical(&self, signed_headers: &str) -> Result<String, KmsError> {
        let mut headers = String::new();
        for name in signed_headers.split(';') {
            let values: Vec<String> = self.head.headers.get_all(name).iter().map(trimmed).collect();
            if values.is_empty() {
                return Err(invalid(MISMATCH));
            }
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        let body = hex(digest(&SHA256, self.body).as_ref());
        if self.header("x-amz-content-sha256").is_some_and(|said| said != body) {
            return Err(invalid(MISMATCH));
        }
        let method = &self.head.method;
        Ok(format!("{method}\n/\n\n{headers}\n{signed_headers}\n{body}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The header of that name.
struct Authorization<'a> {
    access_key_id: &'a str,
    /// Date, region, service, terminator.
    scope: [&'a str; 4],
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: Option<&'a str>) -> Result<Self, KmsError> {
        let missing = || KmsError::new(Kind::MissingAuthenticationToken, "Missing Authentication Token");
        let header = header.ok_or_else(missing)?;
        let fields = header
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or_else(|| incomplete(&format!("Unsupported AWS 'algorithm': '{header}'.")))?;
        let fields: Vec<(&str, &str)> = fields
            .split(',')
            .filter_map(|field| field.trim().split_once('='))
            .collect();
        let field = |name: &str| match fields
            .iter()
            .filter(|(key, _)| *key == name)
            .collect::<Vec<_>>()
            .as_slice()
        {
            [(_, value)] => Ok(*value),
            _ => Err(incomplete(&format!(
                "Authorization header requires '{name}' parameter. Authorization={header}"
            ))),
        };
        let credential: Vec<&str> = field("Credential")?.split('/').collect();
        let [access_key_id, date, region, service, terminator] = credential[..] else {
            return Err(incomplete("Credential must have exactly 5 slash-delimited elements"));
        };
        Ok(Self {
            access_key_id,
            scope: [date, region, service, terminator],
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        })
    }

    fn check_scope(&self, date: &str, region: &str) -> Result<(), KmsError> {
        if date.is_empty() {
            return Err(incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ));
        }
        let [day, of_region, service, terminator] = self.scope;
        let wrong = if of_region != region {
            format!("Credential should be scoped to a valid region, not '{of_region}'. ")
        } else if service != "kms" {
            "Credential should be scoped to correct service: 'kms'. ".to_owned()
        } else if terminator != "aws4_request" {
            format!("Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'. ")
        } else if date.get(..8) != Some(day) {
            format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{day}', '{date}'."
            )
        } else {
            return Ok(());
        };
        Err(invalid(&wrong))
    }
}

fn check_clock(date: &str, now: i64) -> Result<(), KmsError> {
    let signed = parse_amz_date(date).ok_or_else(|| {
        incomplete(&format!(
            "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })?;
    let (earliest, latest) = (now.saturating_sub(MAX_SKEW), now.saturating_add(MAX_SKEW));
    let [now, from, to] = [now, earliest, latest].map(amz_date);
    if signed < earliest {
        return Err(invalid(&format!(
            "Signature expired: {date} is now earlier than {from} ({now} - 5 min.)"
        )));
    }
    if signed > latest {
        return Err(invalid(&format!(
            "Signature not yet current: {date} is still later than {to} ({now} + 5 min.)"
        )));
    }
    Ok(())
}

/// Without spaces around it, and with one where there were more.
fn trimmed(value: &hyper::header::HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn invalid(message: &str) -> KmsError {
    KmsError::new(Kind::InvalidSignature, message)
}

fn incomplete(message: &str) -> KmsError {
    KmsError::new(Kind::IncompleteSignature, message)
}

fn unrecognized() -> KmsError {
    KmsError::new(
        Kind::UnrecognizedClient,
        "The security token included in the request is invalid.",
    )
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const MAX_SKEW: i64 = 300;
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
