//! Renewal information (RFC 9773): when the CA would have a certificate renewed.

use std::time::Duration;

use enclave_https::date::rfc3339;
use serde::Deserialize;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use crate::error::{AcmeError, Cause, LocalRefusal, ProtocolError, Step};
use crate::problem::printable;
use crate::server::{Server, protocol};
use crate::signer::base64url;

/// What a CA knows a certificate by: `base64url(AKI).base64url(serial)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertId(String);

/// When to renew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalInfo {
    /// From then, in seconds since 1970, UTC.
    pub start: i64,
    /// Until then: later than `start`.
    pub end: i64,
    /// A page about why, printable; for people.
    pub explanation: Option<String>,
    /// After which time to ask again: between a minute and a day.
    pub ask_again: Duration,
}

impl CertId {
    /// That of a leaf (DER).
    pub fn of(leaf: &[u8]) -> Result<Self, LocalRefusal> {
        let (identifier, serial) = parts(leaf).ok_or(LocalRefusal::NoCertId)?;
        Ok(Self(format!("{}.{}", base64url(&identifier), base64url(&serial))))
    }

    /// As requests have it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Server {
    /// Asks when the CA would have a certificate renewed. None: it has no renewal information for anybody.
    pub async fn renewal_info(&self, id: &CertId) -> Result<Option<RenewalInfo>, AcmeError> {
        let Some(base) = &self.directory.renewal else {
            return Ok(None);
        };
        let slash = if base.as_str().ends_with('/') { "" } else { "/" };
        let url = self.url(Step::Renewal, &format!("{base}{slash}{}", id.as_str()))?;
        let reply = self.get(Step::Renewal, &url).await?;
        let asked = self.time.retry_after(&reply);
        RenewalInfo::read(&reply.body, asked)
            .map(Some)
            .map_err(|error| protocol(Step::Renewal, error))
    }
}

impl RenewalInfo {
    fn read(body: &[u8], asked: Option<Duration>) -> Result<Self, ProtocolError> {
        let form: Form = serde_json::from_slice(body).map_err(|_| ProtocolError::Form)?;
        let date = |text: &str| rfc3339(text).ok_or(ProtocolError::Form);
        let (start, end) = (date(&form.suggested_window.start)?, date(&form.suggested_window.end)?);
        if start >= end {
            return Err(ProtocolError::Window);
        }
        Ok(Self {
            start,
            end,
            explanation: form.explanation_url.map(|url| printable::<MAX_EXPLANATION>(&url)),
            ask_again: asked.unwrap_or(USUAL).clamp(SOONEST, LATEST),
        })
    }
}

impl From<LocalRefusal> for AcmeError {
    fn from(refusal: LocalRefusal) -> Self {
        let (step, cause) = (Step::Renewal, Cause::Local(refusal));
        Self { step, cause }
    }
}

/// The authority's key identifier and the serial number's content.
fn parts(leaf: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let certificate = Certificate::from_der(leaf).ok()?;
    let tbs = certificate.tbs_certificate();
    let (_, authority) = tbs.get_extension::<AuthorityKeyIdentifier>().ok()??;
    Some((
        authority.key_identifier?.into_bytes().into(),
        tbs.serial_number().as_bytes().to_vec(),
    ))
}

#[derive(Deserialize)]
struct Form {
    #[serde(rename = "suggestedWindow")]
    suggested_window: Window,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: String,
    end: String,
}

/// What Let's Encrypt says.
const USUAL: Duration = Duration::from_secs(6 * 3_600);
/// RFC 9773, section 4.3.3, has these two.
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(86_400);
/// A text of a URL on the control plane.
const MAX_EXPLANATION: usize = 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of RFC 9773, appendix A; but of the year 2021: its own year 1 is before all that certificates are read of.
    #[test]
    fn the_id_of_a_certificate() {
        let leaf = include_bytes!("../tests/vectors/rfc9773.der");
        assert_eq!(
            CertId::of(leaf).unwrap().as_str(),
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        );
    }

    #[test]
    fn what_has_no_id() {
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(CertId::of(certificate.der()), Err(LocalRefusal::NoCertId));
        assert_eq!(CertId::of(b"no certificate"), Err(LocalRefusal::NoCertId));
    }

    #[test]
    fn a_window_and_when_to_ask_again() {
        let body = br#"{"suggestedWindow":{"start":"2021-01-03T00:00:00Z","end":"2021-01-07T00:00:00Z"},
            "explanationURL":"https://a.example/why\n","more":{}}"#;
        for (asked, again) in [(None, 21_600), (Some(0), 60), (Some(600), 600), (Some(999_999), 86_400)] {
            let info = RenewalInfo::read(body, asked.map(Duration::from_secs)).unwrap();
            assert_eq!((info.start, info.end), (1_609_632_000, 1_609_977_600));
            assert_eq!(info.explanation.as_deref(), Some("https://a.example/why?"));
            assert_eq!(info.ask_again, Duration::from_secs(again));
        }
    }

    #[test]
    fn what_is_no_renewal_information() {
        let window = |start: &str, end: &str| format!(r#"{{"suggestedWindow":{{"start":"{start}","end":"{end}"}}}}"#);
        let (early, late) = ("2021-01-03T00:00:00Z", "2021-01-07T00:00:00Z");
        for (body, error) in [
            (String::new(), ProtocolError::Form),
            ("{}".to_owned(), ProtocolError::Form),
            (
                r#"{"suggestedWindow":{"start":1,"end":2}}"#.to_owned(),
                ProtocolError::Form,
            ),
            (window("", late), ProtocolError::Form),
            (window("2021-01-03", late), ProtocolError::Form),
            (window(late, early), ProtocolError::Window),
            (window(early, early), ProtocolError::Window),
        ] {
            assert_eq!(RenewalInfo::read(body.as_bytes(), None), Err(error), "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = RenewalInfo::read(&bytes, None);
            let _ = CertId::of(&bytes);
        }
    }
}
