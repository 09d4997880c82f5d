//! What tests in other processes tell and ask, over HTTP on a port of its own: ACM's has nothing that ACM's has not.

use serde::Deserialize;
use serde_json::json;

use crate::acm::Acm;
use crate::store::Registration;

/// `GET /_emulator/counters`; `POST /_emulator/records` (a CNAME stands in a zone); `POST /_emulator/accounts` (a [`Registration`]).
pub(crate) fn answer(acm: &Acm, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Record {
        name: String,
        value: String,
    }
    match (method, path) {
        ("GET", "/_emulator/counters") => (200, json!(acm.counters()).to_string()),
        ("POST", "/_emulator/records") => match serde_json::from_slice(body) {
            Ok(Record { name, value }) => {
                acm.state().records.insert((name, value));
                (200, "{}".to_owned())
            }
            Err(error) => refused(&error),
        },
        ("POST", "/_emulator/accounts") => match serde_json::from_slice::<Registration>(body) {
            Ok(registration) => match acm.state().register(registration, acm.now()) {
                Ok(()) => (200, "{}".to_owned()),
                Err(error) => refused(&error),
            },
            Err(error) => refused(&error),
        },
        _ => (404, json!({ "error": "no such thing" }).to_string()),
    }
}

fn refused(error: &dyn std::fmt::Display) -> (u16, String) {
    (400, json!({ "error": error.to_string() }).to_string())
}
