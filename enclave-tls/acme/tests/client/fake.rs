//! A CA in memory: what it is told to say, else what a kind one says. It is strict about requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use enclave_acme::{AcmeError, NewOrder, PublicKey, Sent, Server, Signer as _, Transport};
use enclave_https::header::{HeaderName, HeaderValue};
use enclave_https::{HeaderMap, HttpError, Method, Reply, Request, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::key::Key;

/// 1994-11-06 08:49:37, as RFC 9110 has it.
pub(crate) const NOW: i64 = 784_111_777;
const TOKEN: &str = "DGyRejmCefe7v4NfDGDKfA";

/// What the CA says.
#[derive(Clone)]
pub(crate) enum Answer {
    Reply(u16, Vec<(&'static str, String)>, Vec<u8>),
    Lost(HttpError),
}

impl Answer {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::Reply(status, Vec::new(), body.to_string().into_bytes())
    }

    pub(crate) fn problem(status: u16, name: &str) -> Self {
        let kind = format!("urn:ietf:params:acme:error:{name}");
        Self::json(status, &json!({"type": kind, "detail": "in its own words"}))
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Reply(_, headers, _) = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) at: Instant,
    /// The payload, where there is one.
    pub(crate) payload: Value,
}

#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

struct State {
    key: PublicKey,
    told: BTreeMap<String, VecDeque<Answer>>,
    always: BTreeMap<String, Answer>,
    nonces: BTreeSet<String>,
    made: u32,
    seen: Vec<Seen>,
}

impl Fake {
    pub(crate) fn new(key: &Key) -> Self {
        Self(Arc::new(Mutex::new(State {
            key: key.public(),
            told: BTreeMap::new(),
            always: BTreeMap::new(),
            nonces: BTreeSet::new(),
            made: 0,
            seen: Vec::new(),
        })))
    }

    /// The next time that this path is asked for, it says this. What it is told first it says first.
    pub(crate) fn next(&self, path: &str, answer: Answer) {
        self.0
            .lock()
            .unwrap()
            .told
            .entry(path.to_owned())
            .or_default()
            .push_back(answer);
    }

    /// Whenever nothing else is told.
    pub(crate) fn always(&self, path: &str, answer: Answer) {
        self.0.lock().unwrap().always.insert(path.to_owned(), answer);
    }

    pub(crate) async fn server(&self) -> Result<Server, AcmeError> {
        let at = "https://ca.example/directory".parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(3_600);
        Server::connect(Box::new(self.clone()), Arc::new(|| NOW), at, deadline).await
    }

    /// Requests of this path.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let state = self.0.lock().unwrap();
        state.seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

impl Transport for Fake {
    fn send<'a>(&'a self, request: Request<'a>) -> Sent<'a> {
        let answer = self.0.lock().unwrap().answer(&request);
        Box::pin(async move { answer })
    }
}

impl State {
    fn answer(&mut self, request: &Request<'_>) -> Result<Reply, HttpError> {
        assert_eq!(request.url.authority(), "ca.example");
        let header = |wanted: &str| {
            request
                .headers
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| &value[..])
        };
        assert!(header("user-agent").unwrap().starts_with("enclave-tls/"));
        let path = request.url.path().to_owned();
        let mut payload = Value::Null;
        if request.method == Method::POST {
            assert_eq!(header("content-type"), Some("application/jose+json"));
            payload = self.verified(request);
        }
        let at = Instant::now();
        self.seen.push(Seen {
            path: path.clone(),
            at,
            payload,
        });
        let told = self.told.get_mut(&path).and_then(VecDeque::pop_front);
        let answer = told
            .or_else(|| self.always.get(&path).cloned())
            .unwrap_or_else(|| kind(&path));
        match answer {
            Answer::Lost(error) => Err(error),
            Answer::Reply(status, headers, body) if body.len() <= request.max_reply => {
                Ok(self.reply(status, headers, body))
            }
            Answer::Reply(..) => Err(HttpError::TooLong),
        }
    }

    /// A nonce goes with each reply, but where the headers have one.
    fn reply(&mut self, status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Reply {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
        }
        if !map.contains_key("replay-nonce") {
            self.made += 1;
            let nonce = format!("nonce-{}", self.made);
            map.insert("replay-nonce", HeaderValue::from_str(&nonce).unwrap());
            self.nonces.insert(nonce);
        }
        let status = StatusCode::from_u16(status).unwrap();
        Reply {
            status,
            headers: map,
            body,
        }
    }

    /// The payload of a request that RFC 8555, section 6.2, allows: signed by the account's key over this very address, with a
    /// nonce of ours that was not used before.
    fn verified(&mut self, request: &Request<'_>) -> Value {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 3);
        let part = |name: &str| body[name].as_str().unwrap();
        let (protected, payload) = (part("protected"), part("payload"));
        let PublicKey::P256(point) = self.key else {
            panic!("the tests' keys are of P-256");
        };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], &point[..]].concat());
        key.verify(format!("{protected}.{payload}").as_bytes(), &decoded(part("signature")))
            .unwrap();
        let header: Value = serde_json::from_slice(&decoded(protected)).unwrap();
        assert_eq!(
            (header["alg"].as_str(), header["url"].as_str()),
            (Some("ES256"), Some(request.url.as_str()))
        );
        assert!(
            self.nonces.remove(header["nonce"].as_str().unwrap()),
            "a nonce is good for one request"
        );
        let is_account = request.url.path() == "/new-account";
        assert_eq!(
            (header["jwk"].is_object(), header["kid"].is_string()),
            (is_account, !is_account)
        );
        match decoded(payload) {
            empty if empty.is_empty() => Value::Null,
            payload => serde_json::from_slice(&payload).unwrap(),
        }
    }
}

/// What a kind CA says.
fn kind(path: &str) -> Answer {
    match path {
        "/directory" => Answer::json(200, &directory()),
        "/new-nonce" => Answer::Reply(200, Vec::new(), Vec::new()),
        "/new-account" => {
            Answer::json(201, &json!({"status": "valid"})).with("location", "https://ca.example/account/1")
        }
        "/new-order" => Answer::json(201, &order("pending")).with("location", "https://ca.example/order/1"),
        "/order/1" | "/finalize/1" => Answer::json(200, &order("valid")),
        "/authz/1" => Answer::json(200, &authorization("pending")),
        "/challenge/1" => Answer::json(200, &json!({"status": "processing"})),
        "/revoke" => Answer::Reply(200, Vec::new(), Vec::new()),
        _ => Answer::problem(404, "malformed"),
    }
}

pub(crate) fn directory() -> Value {
    json!({
        "newNonce": "https://ca.example/new-nonce",
        "newAccount": "https://ca.example/new-account",
        "newOrder": "https://ca.example/new-order",
        "revokeCert": "https://ca.example/revoke",
        "renewalInfo": "https://ca.example/ari",
        "meta": {"profiles": {"short": "x"}},
    })
}

/// An order for `a.example`.
pub(crate) fn order(status: &str) -> Value {
    let mut order = json!({
        "status": status,
        "identifiers": [{"type": "dns", "value": "a.example"}],
        "authorizations": ["https://ca.example/authz/1"],
        "finalize": "https://ca.example/finalize/1",
        "expires": "2016-01-20T14:09:07.99Z",
    });
    if status == "valid" {
        order["certificate"] = "https://ca.example/certificate/1".into();
    }
    order
}

/// An authorisation for `a.example`.
pub(crate) fn authorization(status: &str) -> Value {
    let challenge = |kind: &str| json!({"type": kind, "url": "https://ca.example/challenge/1", "token": TOKEN});
    json!({
        "status": status,
        "identifier": {"type": "dns", "value": "a.example"},
        "challenges": [challenge("http-01"), challenge("dns-01"), {"type": "dns-persist-01", "url": "x"}],
    })
}

pub(crate) fn names() -> NewOrder {
    NewOrder {
        names: vec!["a.example".parse().unwrap()],
        profile: None,
        replaces: None,
    }
}

fn decoded(text: &str) -> Vec<u8> {
    Base64UrlUnpadded::decode_vec(text).unwrap()
}
