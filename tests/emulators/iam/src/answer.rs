//! Answers and errors, in XML.

/// An error, as IAM gives it.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn xml(&self) -> String {
        let (code, message) = (self.code, text(&self.message));
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>{REQUEST}</RequestId></ErrorResponse>"
        )
    }
}

/// The answer to an operation.
pub(crate) fn whole(operation: &str, result: &str) -> String {
    format!(
        "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{REQUEST}</RequestId></ResponseMetadata></{operation}Response>"
    )
}

/// An element with a text.
pub(crate) fn element(name: &str, value: &str) -> String {
    format!("<{name}>{}</{name}>", text(value))
}

/// A list, of elements that are XML already.
pub(crate) fn list(name: &str, members: impl IntoIterator<Item = String>) -> String {
    let members: String = members
        .into_iter()
        .map(|member| format!("<member>{member}</member>"))
        .collect();
    format!("<{name}>{members}</{name}>")
}

/// A document, quoted as IAM quotes it (RFC 3986).
pub(crate) fn quoted(document: &serde_json::Value) -> String {
    let quote = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    document.to_string().bytes().map(quote).collect()
}

pub(crate) fn text(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
const REQUEST: &str = "00000000-0000-4000-8000-000000000000";
