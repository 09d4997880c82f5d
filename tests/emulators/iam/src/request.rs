//! A request of the query API whose signature (Signature Version 4) has been verified.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::account::{Account, Asker};
use crate::answer::Refused;

/// What came before the body.
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(its, _)| its == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A request of somebody who is known.
pub(crate) struct Request<'a> {
    pub(crate) asker: &'a Asker,
    pub(crate) operation: String,
    /// The rest of its parameters.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl<'a> Request<'a> {
    /// Verifies the signature, and reads the parameters.
    pub(crate) fn verified(account: &'a Account, head: &Head, body: &[u8]) -> Result<Self, Refused> {
        let asker = signer(account, head, body)?;
        if head.method != "POST" || head.path != "/" {
            return Err(Refused::new(404, "InvalidAction", "IAM takes POST to / alone"));
        }
        let form = std::str::from_utf8(body).ok().and_then(form);
        let mut parameters = form.ok_or_else(|| Refused::new(400, "MalformedQueryString", "not a form"))?;
        let version = parameters.remove("Version");
        if version.as_deref() != Some("2010-05-08") {
            return Err(Refused::new(400, "InvalidAction", "there is no such version"));
        }
        let operation = parameters.remove("Action").unwrap_or_default();
        Ok(Self {
            asker,
            operation,
            parameters,
        })
    }

    /// `NAME.member.1`, `NAME.member.2` and so on, without a gap.
    pub(crate) fn members(&mut self, name: &str) -> Vec<String> {
        let mut members = Vec::new();
        while let Some(member) = self.parameters.remove(&format!("{name}.member.{}", members.len() + 1)) {
            members.push(member);
        }
        members
    }
}

fn signer<'a>(account: &'a Account, head: &Head, body: &[u8]) -> Result<&'a Asker, Refused> {
    let unknown = || {
        Refused::new(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        )
    };
    let wrong = || {
        Refused::new(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match.",
        )
    };
    let authorization = head.header("authorization").ok_or_else(unknown)?;
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(wrong)?;
    let fields: BTreeMap<&str, &str> = rest
        .split(',')
        .filter_map(|field| field.trim().split_once('='))
        .collect();
    let field = |name: &str| fields.get(name).copied().ok_or_else(wrong);
    let (credential, signed, signature) = (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
    let mut scope = credential.split('/');
    let key_id = scope.next().unwrap_or_default();
    let scope: Vec<&str> = scope.collect();
    let asker = account.askers.iter().find(|asker| asker.access_key_id == key_id);
    let asker = asker.ok_or_else(unknown)?;
    if head.header("x-amz-security-token") != asker.session_token.as_deref() {
        return Err(unknown());
    }
    let date = head.header("x-amz-date").unwrap_or_default();
    // IAM is one service for the partition, and signs as of this region.
    if scope != [date.get(..8).unwrap_or_default(), "us-east-1", "iam", "aws4_request"] {
        return Err(wrong());
    }
    let names: Vec<&str> = signed.split(';').collect();
    let must = head.headers.iter().map(|(name, _)| name.as_str());
    let mut must = must.filter(|name| *name == "host" || *name == "content-type" || name.starts_with("x-amz-"));
    if !names.is_sorted() || !must.all(|name| names.contains(&name)) {
        return Err(wrong());
    }
    let headers: String = names
        .iter()
        .map(|name| format!("{name}:{}\n", head.header(name).unwrap_or_default()))
        .collect();
    let canonical = format!("{}\n{}\n\n{headers}\n{signed}\n{}", head.method, head.path, hash(body));
    let text = format!(
        "AWS4-HMAC-SHA256\n{date}\n{}\n{}",
        scope.join("/"),
        hash(canonical.as_bytes())
    );
    let mut key = format!("AWS4{}", asker.secret_access_key).into_bytes();
    for part in scope {
        key = mac(&key, part);
    }
    if hex(&mac(&key, &text)) == signature {
        Ok(asker)
    } else {
        Err(wrong())
    }
}

/// A form without a name that comes twice.
fn form(body: &str) -> Option<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for pair in body.split('&') {
        let (name, value) = pair.split_once('=')?;
        if all.insert(unquoted(name)?, unquoted(value)?).is_some() {
            return None;
        }
    }
    Some(all)
}

fn unquoted(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
