//! AWS Signature Version 4, verified: over the whole request, by the clock, for this region and service.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use hyper::http::request::Parts;

use crate::clock::{amz_date, parse_amz_date};
use crate::hex;

/// A request whose signature is to be verified.
pub struct Signed<'a> {
    /// Its head.
    pub head: &'a Parts,
    /// Its whole body.
    pub body: &'a [u8],
}

/// Against what.
pub struct Expected<'a, L> {
    /// Who may sign, by access key id.
    pub logins: &'a BTreeMap<String, L>,
    /// The region that the emulator stands for.
    pub region: &'a str,
    /// The service's name in a credential's scope.
    pub service: &'a str,
    /// Seconds since 1970, UTC.
    pub now: i64,
}

/// What somebody signs with.
pub trait Secret {
    /// The secret access key.
    fn secret(&self) -> &str;
    /// The session token that must come with it.
    fn session_token(&self) -> Option<&str>;
    /// When it ends: seconds since 1970, UTC.
    fn expires(&self) -> Option<i64>;
}

/// Why a request is not believed, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureError {
    /// AWS's name of it.
    pub fault: SignatureFault,
    /// What AWS says.
    pub message: String,
}

/// AWS's names of what can be wrong with a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureFault {
    /// There is none.
    MissingAuthenticationToken,
    /// It lacks a part.
    Incomplete,
    /// It is not this request's, this service's or this time's.
    Invalid,
    /// Nobody has this key.
    UnrecognizedClient,
    /// Whoever had this key has it no more.
    ExpiredToken,
}

impl SignatureFault {
    /// AWS's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::Incomplete => "IncompleteSignatureException",
            Self::Invalid => "InvalidSignatureException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::ExpiredToken => "ExpiredTokenException",
        }
    }
}

impl Signed<'_> {
    /// Whose signature it is. A request that is not a `POST` to `/` is not verified by this.
    pub fn verify<'l, L: Secret>(&self, expected: &Expected<'l, L>) -> Result<&'l L, SignatureError> {
        let authorization = Authorization::parse(self.header("authorization"))?;
        let date = self.header("x-amz-date").unwrap_or_default();
        authorization.check_scope(date, expected)?;
        self.check_signed_headers(&authorization)?;
        let login = expected
            .logins
            .get(authorization.access_key_id)
            .ok_or_else(unrecognized)?;
        if self.header("x-amz-security-token") != login.session_token() {
            return Err(unrecognized());
        }
        check_clock(date, expected.now)?;
        if authorization.signature != self.signature(&authorization, date, login.secret())? {
            return Err(invalid(MISMATCH));
        }
        if login.expires().is_some_and(|expires| expires <= expected.now) {
            return Err(said(
                SignatureFault::ExpiredToken,
                "The security token included in the request is expired",
            ));
        }
        Ok(login)
    }

    /// What decides about the request must be signed. AWS forgives more than its documentation; this does not.
    fn check_signed_headers(&self, authorization: &Authorization<'_>) -> Result<(), SignatureError> {
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

    fn signature(&self, authorization: &Authorization<'_>, date: &str, secret: &str) -> Result<String, SignatureError> {
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

    /// Services of AWS JSON take nothing but POSTs to `/`, so path and query need no canonical form.
    fn canonical(&self, signed_headers: &str) -> Result<String, SignatureError> {
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
    fn parse(header: Option<&'a str>) -> Result<Self, SignatureError> {
        let missing = || {
            said(
                SignatureFault::MissingAuthenticationToken,
                "Missing Authentication Token",
            )
        };
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

    fn check_scope<L>(&self, date: &str, expected: &Expected<'_, L>) -> Result<(), SignatureError> {
        if date.is_empty() {
            return Err(incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ));
        }
        let [day, of_region, service, terminator] = self.scope;
        let wrong = if of_region != expected.region {
            format!("Credential should be scoped to a valid region, not '{of_region}'. ")
        } else if service != expected.service {
            format!(
                "Credential should be scoped to correct service: '{}'. ",
                expected.service
            )
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

fn check_clock(date: &str, now: i64) -> Result<(), SignatureError> {
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

fn said(fault: SignatureFault, message: &str) -> SignatureError {
    let message = message.to_owned();
    SignatureError { fault, message }
}

fn invalid(message: &str) -> SignatureError {
    said(SignatureFault::Invalid, message)
}

fn incomplete(message: &str) -> SignatureError {
    said(SignatureFault::Incomplete, message)
}

fn unrecognized() -> SignatureError {
    said(
        SignatureFault::UnrecognizedClient,
        "The security token included in the request is invalid.",
    )
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const MAX_SKEW: i64 = 300;
const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.";
