//! Why a server refuses something, in its own words (RFC 7807; RFC 8555, section 6.7).

use enclave_wire::log::Text;
use serde::Deserialize;

/// A problem document, bounded and printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What RFC 8555 calls it, such as `rateLimited`; another's name is whole. Empty where there was no document.
    pub name: String,
    /// The status of the reply; 0 where the document stood in another.
    pub status: u16,
    /// For people. Empty where there is none.
    pub detail: String,
    /// What is wrong with single names: the first [`MAX_SUBPROBLEMS`].
    pub subproblems: Vec<Subproblem>,
}

/// What is wrong with one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subproblem {
    /// The name, as the server writes it; empty where it does not.
    pub identifier: String,
    /// As a [`Problem`]'s.
    pub name: String,
    /// For people.
    pub detail: String,
}

impl Problem {
    /// Reads the body of a reply that is no success. Where it is no problem document, only the status is known.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let form: Form = serde_json::from_slice(body).unwrap_or_default();
        Self {
            status,
            ..Self::from(form)
        }
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

impl From<Form> for Problem {
    fn from(form: Form) -> Self {
        Self {
            name: name(&form.kind),
            status: 0,
            detail: printable::<MAX_DETAIL>(&form.detail),
            subproblems: form
                .subproblems
                .into_iter()
                .take(MAX_SUBPROBLEMS)
                .map(Subproblem::from)
                .collect(),
        }
    }
}

impl From<SubForm> for Subproblem {
    fn from(form: SubForm) -> Self {
        let identifier = form.identifier.map(|one| one.value).unwrap_or_default();
        Self {
            identifier: printable::<MAX_IDENTIFIER>(&identifier),
            name: name(&form.kind),
            detail: printable::<MAX_DETAIL>(&form.detail),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = if self.name.is_empty() {
            "(no problem named)"
        } else {
            &self.name
        };
        match (self.status, self.detail.as_str()) {
            (0, "") => f.write_str(name)?,
            (0, detail) => write!(f, "{name}: {detail}")?,
            (status, "") => write!(f, "{name} ({status})")?,
            (status, detail) => write!(f, "{name} ({status}): {detail}")?,
        }
        for Subproblem {
            identifier,
            name,
            detail,
        } in &self.subproblems
        {
            write!(f, "; {identifier}: {name}: {detail}")?;
        }
        Ok(())
    }
}

/// A problem as a server writes it. Wrong types make it none: what it says then is not known.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Form {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    subproblems: Vec<SubForm>,
}

#[derive(Debug, Deserialize)]
struct SubForm {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    detail: String,
    identifier: Option<Identifier>,
}

#[derive(Debug, Deserialize)]
struct Identifier {
    #[serde(default)]
    value: String,
}

fn name(kind: &str) -> String {
    printable::<MAX_NAME>(kind.strip_prefix(NAMESPACE).unwrap_or(kind))
}

/// Printable ASCII of at most `MAX` bytes.
pub(crate) fn printable<const MAX: usize>(text: &str) -> String {
    Text::<MAX>::lossy(text).as_str().to_owned()
}

pub(crate) const BAD_NONCE: &str = "badNonce";
pub(crate) const RATE_LIMITED: &str = "rateLimited";
pub(crate) const NO_ACCOUNT: &str = "accountDoesNotExist";
pub(crate) const ALREADY_REVOKED: &str = "alreadyRevoked";

const NAMESPACE: &str = "urn:ietf:params:acme:error:";
/// The longest name that RFC 8555 has is `externalAccountRequired`; others' are URLs.
const MAX_NAME: usize = 64;
/// Let's Encrypt's longest detail quotes what a name's web server answered.
pub const MAX_DETAIL: usize = 512;
/// What else is wrong is said once these are mended.
pub const MAX_SUBPROBLEMS: usize = 8;
/// A DNS name.
const MAX_IDENTIFIER: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_problem_and_its_subproblems() {
        let body = br#"{"type":"urn:ietf:params:acme:error:malformed","detail":"Some of the identifiers are wrong","status":403,"other":1,
            "subproblems":[{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"No","identifier":{"type":"dns","value":"_a.example"}},
                           {"type":"https://a.example/own","detail":"Why"}]}"#;
        let problem = Problem::read(400, body);
        assert!(problem.is("malformed"));
        assert_eq!(
            problem.to_string(),
            "malformed (400): Some of the identifiers are wrong; _a.example: rejectedIdentifier: No; : https://a.example/own: Why"
        );
    }

    #[test]
    fn what_is_no_problem_document_is_a_status() {
        for body in [
            &b""[..],
            b"<html>",
            b"[]",
            b"{",
            br#"{"type":3}"#,
            b"{\"detail\":\"\xff\"}",
        ] {
            let problem = Problem::read(503, body);
            assert_eq!(problem.to_string(), "(no problem named) (503)");
        }
    }

    #[test]
    fn what_a_server_says_is_bounded_and_printable() {
        let long = "x\u{1b}[2J\n\u{202e}".repeat(1_000);
        let sub = serde_json::json!({"type": long, "detail": long, "identifier": {"type": "dns", "value": long}});
        let body = serde_json::json!({"type": long, "detail": long, "subproblems": vec![sub; 100]}).to_string();
        let problem = Problem::read(400, body.as_bytes());
        assert_eq!(problem.subproblems.len(), MAX_SUBPROBLEMS);
        let text = problem.to_string();
        assert!(
            text.len() < 10_000 && text.chars().all(|c| c == ' ' || c.is_ascii_graphic()),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in any::<Vec<u8>>()) {
            let _ = Problem::read(400, &body).to_string();
        }
    }
}
