//! The directory: where a server's resources are (RFC 8555, section 7.1.1).

use std::collections::BTreeMap;

use enclave_https::Url;
use enclave_wire::DnsName;
use serde::Deserialize;

use crate::error::ProtocolError;
use crate::problem::printable;

/// Where the resources are. All are of one server.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    pub(crate) new_nonce: Url,
    pub(crate) new_account: Url,
    pub(crate) new_order: Url,
    pub(crate) revoke: Option<Url>,
    pub(crate) renewal: Option<Url>,
    pub(crate) meta: Meta,
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// The address of its terms of service, printable; it is read by people only.
    pub terms: Option<String>,
    /// What CAA records call it.
    pub caa_identities: Vec<DnsName>,
    /// A new account needs a [`crate::Binding`].
    pub needs_binding: bool,
    /// Names of profiles: the first [`MAX_PROFILES`].
    pub profiles: Vec<String>,
}

impl Directory {
    /// Reads the directory that stands at `at`.
    pub(crate) fn read(at: &Url, body: &[u8]) -> Result<Self, ProtocolError> {
        let form: Form = serde_json::from_slice(body).map_err(|_| ProtocolError::Form)?;
        let url = |text: String| server_url(at, &text);
        Ok(Self {
            new_nonce: url(form.new_nonce)?,
            new_account: url(form.new_account)?,
            new_order: url(form.new_order)?,
            revoke: form.revoke_cert.map(url).transpose()?,
            renewal: form.renewal_info.map(url).transpose()?,
            meta: form.meta.into(),
        })
    }
}

impl From<MetaForm> for Meta {
    fn from(form: MetaForm) -> Self {
        let identities = form.caa_identities.iter().take(MAX_IDENTITIES);
        let profiles = form.profiles.into_keys().filter(|name| is_plain(name));
        Self {
            terms: form.terms_of_service.map(|url| printable::<MAX_URL>(&url)),
            caa_identities: identities.filter_map(|name| name.parse().ok()).collect(),
            needs_binding: form.external_account_required,
            profiles: profiles.take(MAX_PROFILES).collect(),
        }
    }
}

/// A URL that the server at `directory` gives: it must be of the same server.
pub(crate) fn server_url(directory: &Url, text: &str) -> Result<Url, ProtocolError> {
    if text.len() > MAX_URL {
        return Err(ProtocolError::Url(enclave_https::UrlError::TooLong));
    }
    let url: Url = text.parse().map_err(ProtocolError::Url)?;
    if url.same_server(directory) {
        Ok(url)
    } else {
        Err(ProtocolError::OtherServer)
    }
}

/// Nobody names a profile otherwise, and it is shown to people.
fn is_plain(name: &str) -> bool {
    (1..=MAX_PROFILE_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    new_nonce: String,
    new_account: String,
    new_order: String,
    revoke_cert: Option<String>,
    renewal_info: Option<String>,
    #[serde(default)]
    meta: MetaForm,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetaForm {
    terms_of_service: Option<String>,
    caa_identities: Vec<String>,
    external_account_required: bool,
    /// Each with what it is for, or with an address that says so.
    profiles: BTreeMap<String, serde::de::IgnoredAny>,
}

/// An order's URL goes over the control plane, whose texts of URLs end there. Let's Encrypt's have under 100 bytes.
const MAX_URL: usize = 1_024;
/// Amazon's are the most, with four.
const MAX_IDENTITIES: usize = 32;
/// Let's Encrypt has four.
pub const MAX_PROFILES: usize = 32;
/// What fits in a request for an order on the control plane.
const MAX_PROFILE_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use enclave_https::UrlError;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn at() -> Url {
        "https://a.example:8443/directory".parse().unwrap()
    }

    fn form() -> Value {
        json!({
            "newNonce": "https://a.example:8443/nonce",
            "newAccount": "https://a.example:8443/account",
            "newOrder": "https://a.example:8443/order",
            "something": ["new"],
        })
    }

    fn read(form: &Value) -> Result<Directory, ProtocolError> {
        Directory::read(&at(), form.to_string().as_bytes())
    }

    #[test]
    fn the_least_and_the_most_that_a_directory_says() {
        let least = read(&form()).unwrap();
        assert_eq!(least.new_order.as_str(), "https://a.example:8443/order");
        assert_eq!((least.revoke, least.renewal, least.meta), (None, None, Meta::default()));
        let mut most = form();
        most["revokeCert"] = json!("https://a.example:8443/revoke");
        most["renewalInfo"] = json!("https://a.example:8443/ari");
        most["meta"] = json!({
            "termsOfService": "data:text/plain,a\nb",
            "website": "https://elsewhere.example",
            "caaIdentities": ["a.example", "not a name", "b.example"],
            "externalAccountRequired": true,
            "profiles": {"classic": "https://a.example/classic", "short lived": "", "tls": "x"},
        });
        let most = read(&most).unwrap();
        assert_eq!(most.renewal.unwrap().as_str(), "https://a.example:8443/ari");
        assert_eq!(most.meta.terms.unwrap(), "data:text/plain,a?b");
        assert_eq!(most.meta.profiles, ["classic", "tls"]);
        let identities: Vec<_> = most.meta.caa_identities.iter().map(DnsName::as_str).collect();
        assert_eq!(
            (identities, most.meta.needs_binding),
            (vec!["a.example", "b.example"], true)
        );
    }

    #[test]
    fn what_is_no_directory() {
        for body in ["", "[]", "{}", "<html>", r#"{"newNonce":1}"#] {
            assert_eq!(
                Directory::read(&at(), body.as_bytes()).unwrap_err(),
                ProtocolError::Form,
                "{body}"
            );
        }
        for missing in ["newNonce", "newAccount", "newOrder"] {
            let mut form = form();
            form.as_object_mut().unwrap().remove(missing);
            assert_eq!(read(&form).unwrap_err(), ProtocolError::Form, "{missing}");
        }
        for wrong in [
            json!({"profiles": []}),
            json!({"caaIdentities": "a"}),
            json!({"externalAccountRequired": 1}),
        ] {
            let mut form = form();
            form["meta"] = wrong;
            assert_eq!(read(&form).unwrap_err(), ProtocolError::Form);
        }
    }

    #[test]
    fn every_address_is_of_the_directory_s_server() {
        let long = format!("https://a.example:8443/{}", "x".repeat(MAX_URL));
        for (text, error) in [
            ("http://a.example:8443/x", ProtocolError::Url(UrlError::Scheme)),
            ("https://127.0.0.1:8443/x", ProtocolError::Url(UrlError::Host)),
            ("https://a.example/x", ProtocolError::OtherServer),
            ("https://b.example:8443/x", ProtocolError::OtherServer),
            ("https://169-254-169-254.example:8443/x", ProtocolError::OtherServer),
            ("/x", ProtocolError::Url(UrlError::Scheme)),
            (&long, ProtocolError::Url(UrlError::TooLong)),
        ] {
            for field in ["newNonce", "newAccount", "newOrder", "revokeCert", "renewalInfo"] {
                let mut form = form();
                form[field] = json!(text);
                assert_eq!(read(&form).unwrap_err(), error, "{field}: {text}");
            }
        }
    }

    #[test]
    fn what_a_directory_lists_is_bounded() {
        let profiles: BTreeMap<_, _> = (0..1_000).map(|n| (format!("p{n}"), "")).collect();
        let mut form = form();
        form["meta"] = json!({"profiles": profiles, "caaIdentities": vec!["a.example"; 1_000]});
        let meta = read(&form).unwrap().meta;
        assert_eq!(
            (meta.profiles.len(), meta.caa_identities.len()),
            (MAX_PROFILES, MAX_IDENTITIES)
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in any::<Vec<u8>>()) {
            let _ = Directory::read(&at(), &body);
        }
    }
}
