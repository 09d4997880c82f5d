//! A client that signs by SigV4 and lets a test spoil each part.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use serde_json::Value;

use super::{Login, REGION, hex};

/// A request before it is signed.
pub(crate) struct Ask {
    pub(crate) login: Login,
    pub(crate) operation: String,
    pub(crate) body: Vec<u8>,
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// What `x-amz-content-sha256` says of the body; signed.
    pub(crate) content_sha256: Option<String>,
    /// Left out of the signature.
    pub(crate) leave_out: Option<&'static str>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(login: Login, operation: &str, body: &Value) -> Self {
        Self {
            login,
            operation: operation.to_owned(),
            body: body.to_string().into_bytes(),
            date: date(0),
            region: REGION.to_owned(),
            service: "kms".to_owned(),
            content_sha256: None,
            leave_out: None,
        }
    }

    pub(crate) fn authorization(&self, host: &str) -> String {
        let headers: Vec<(String, String)> = self.headers(host);
        let signed: Vec<&(String, String)> = headers
            .iter()
            .filter(|(name, _)| Some(name.as_str()) != self.leave_out)
            .collect();
        let names = signed
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(";");
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256(&self.body));
        let scope = format!("{}/{}/{}/aws4_request", &self.date[..8], self.region, self.service);
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.date,
            sha256(canonical.as_bytes())
        );
        let mut key = format!("AWS4{}", self.login.secret).into_bytes();
        for part in scope.split('/') {
            key = hmac_sha256(&key, part);
        }
        let signature = hex(&hmac_sha256(&key, &text));
        let id = self.login.access_key_id;
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    fn headers(&self, host: &str) -> Vec<(String, String)> {
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", host.to_owned()),
        ];
        headers.extend(self.content_sha256.clone().map(|hash| ("x-amz-content-sha256", hash)));
        headers.push(("x-amz-date", self.date.clone()));
        headers.extend(self.login.token.map(|token| ("x-amz-security-token", token.to_owned())));
        headers.push(("x-amz-target", format!("TrentService.{}", self.operation)));
        headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    pub(crate) fn send(&self, to: SocketAddr) -> Reply {
        let authorization = self.authorization(&to.to_string());
        self.send_with(to, Some(&authorization)).unwrap()
    }

    /// None: the connection ended before a whole reply.
    pub(crate) fn send_with(&self, to: SocketAddr, authorization: Option<&str>) -> Option<Reply> {
        let mut request = "POST / HTTP/1.1\r\nconnection: close\r\n".to_owned();
        for (name, value) in self.headers(&to.to_string()) {
            request += &format!("{name}: {value}\r\n");
        }
        if let Some(authorization) = authorization {
            request += &format!("authorization: {authorization}\r\n");
        }
        request += &format!("content-length: {}\r\n\r\n", self.body.len());
        exchange(to, &[request.as_bytes(), &self.body].concat())
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The refusal's name.
    pub(crate) fn refusal(&self) -> String {
        assert_ne!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()["__type"].as_str().unwrap().to_owned()
    }

    /// The refusal's words.
    pub(crate) fn words(&self) -> String {
        let json = self.json();
        let words = json.get("message").or_else(|| json.get("Message"));
        words.and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// Sends, and reads to the end.
pub(crate) fn exchange(to: SocketAddr, request: &[u8]) -> Option<Reply> {
    let mut connection = TcpStream::connect(to).unwrap();
    connection.write_all(request).unwrap();
    let mut reply = Vec::new();
    connection.read_to_end(&mut reply).ok()?;
    let at = reply.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(reply[..at].to_vec()).unwrap().to_lowercase();
    let body = reply[at + 4..].to_vec();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    (length.unwrap().parse() == Ok(body.len())).then_some(())?;
    Some(Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body,
    })
}

/// The present, moved, as `20150830T123600Z`; by the system's `date`, which is not what the emulator has.
pub(crate) fn date(offset_seconds: i64) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let unix = i64::try_from(since.as_secs()).unwrap() + offset_seconds;
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{unix}"), "+%Y%m%dT%H%M%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hmac_sha256(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}
