//! Switches and counters over HTTP, for tests in other processes. On a port of its own: KMS's has nothing that KMS's has not.

use serde::Serialize;
use serde_json::json;

use crate::counters::Counters;
use crate::kms::Kms;

/// `GET`, `PUT`, `DELETE /_emulator/faults` (the JSON of `Faults`); `GET`, `DELETE /_emulator/counters`.
pub(crate) fn answer(kms: &Kms, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    match (method, path) {
        ("GET", FAULTS) => (200, written(&kms.faults.current())),
        ("PUT", FAULTS) => match serde_json::from_slice(body) {
            Ok(faults) => {
                kms.faults.set(faults);
                (200, written(&kms.faults.current()))
            }
            Err(error) => (400, json!({ "error": error.to_string() }).to_string()),
        },
        ("DELETE", FAULTS) => {
            kms.faults.clear();
            (200, written(&kms.faults.current()))
        }
        ("GET", COUNTERS) => (200, written(&*kms.counters())),
        ("DELETE", COUNTERS) => {
            let before = std::mem::take(&mut *kms.counters());
            (200, written::<Counters>(&before))
        }
        _ => (404, json!({ "error": "no such thing" }).to_string()),
    }
}

fn written<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

const FAULTS: &str = "/_emulator/faults";
const COUNTERS: &str = "/_emulator/counters";
