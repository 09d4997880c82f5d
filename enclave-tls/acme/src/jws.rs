//! Signed requests (RFC 7515, flattened JSON), as RFC 8555, section 6.2 wants them.

use aws_lc_rs::hmac;
use enclave_https::Url;
use serde::Serialize;

use crate::account::Binding;
use crate::server::json;
use crate::signer::{NoSignature, Signer, base64url};

/// How a request names its account.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// By its key: there is no account yet, or its URL is not known.
    Key,
    /// By its URL.
    Account(&'a Url),
}

/// The body of a request. Neither `nonce` nor a [`Url`] can hold what JSON escapes.
pub(crate) fn signed(
    signer: &dyn Signer,
    by: By<'_>,
    nonce: &str,
    url: &Url,
    payload: &str,
) -> Result<Vec<u8>, NoSignature> {
    let public = signer.public();
    let by = match by {
        By::Key => format!(r#""jwk":{}"#, public.jwk()),
        By::Account(account) => format!(r#""kid":"{account}""#),
    };
    let algorithm = public.algorithm();
    let protected = format!(r#"{{"alg":"{algorithm}",{by},"nonce":"{nonce}","url":"{url}"}}"#);
    let input = input(&protected, payload);
    let signature = signer.sign(input.as_bytes())?;
    if signature.len() != public.signature_len() {
        return Err(NoSignature);
    }
    Ok(json(&Flattened::of(&input, &signature)).into_bytes())
}

/// The account's key, signed with the key that the CA gave for that (RFC 8555, section 7.3.4).
pub(crate) fn bound(binding: &Binding, new_account: &Url, signer: &dyn Signer) -> Flattened {
    // The kid is the CA's own words, which JSON may have to escape.
    let kid = serde_json::Value::from(binding.kid.as_str());
    let protected = format!(r#"{{"alg":"HS256","kid":{kid},"url":"{new_account}"}}"#);
    let input = input(&protected, &signer.public().jwk());
    let key = hmac::Key::new(hmac::HMAC_SHA256, &binding.mac_key);
    Flattened::of(&input, hmac::sign(&key, input.as_bytes()).as_ref())
}

fn input(protected: &str, payload: &str) -> String {
    let (protected, payload) = (base64url(protected.as_bytes()), base64url(payload.as_bytes()));
    format!("{protected}.{payload}")
}

/// A signature with all that it is over.
#[derive(Serialize)]
pub(crate) struct Flattened {
    protected: String,
    payload: String,
    signature: String,
}

impl Flattened {
    fn of(input: &str, signature: &[u8]) -> Self {
        let (protected, payload) = input.split_once('.').unwrap_or((input, ""));
        Self {
            protected: protected.to_owned(),
            payload: payload.to_owned(),
            signature: base64url(signature),
        }
    }
}
