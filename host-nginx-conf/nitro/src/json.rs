//! The JSON that `nitro-cli` writes. Fields of later versions are passed over: it is no format of ours.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::enclave::{Enclave, Flags, State};
use crate::pcr::Measurements;

/// What `describe-enclaves` lists.
pub(crate) fn described(bytes: &[u8]) -> Result<Vec<Enclave>, String> {
    let listed: Vec<Described> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    listed.into_iter().map(Described::enclave).collect()
}

/// What `run-enclave` started.
pub(crate) fn started(bytes: &[u8]) -> Result<Enclave, String> {
    let started: Started = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(started.enclave(State::Running, Flags::None, None))
}

/// Whether `terminate-enclave` did.
pub(crate) fn terminated(bytes: &[u8]) -> Result<bool, String> {
    let answer: Terminated = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(answer.terminated)
}

#[derive(Deserialize)]
struct Described {
    #[serde(flatten)]
    started: Started,
    #[serde(rename = "State")]
    state: String,
    #[serde(rename = "Flags")]
    flags: String,
    /// Absent before version 1.2, empty until the image was measured.
    #[serde(rename = "Measurements", default)]
    measurements: Map<String, Value>,
}

impl Described {
    fn enclave(self) -> Result<Enclave, String> {
        let measurements: Option<Measurements> = match self.measurements.contains_key("PCR0") {
            true => Some(serde_json::from_value(Value::Object(self.measurements)).map_err(|error| error.to_string())?),
            false => None,
        };
        Ok(self.started.enclave(self.state.into(), self.flags.into(), measurements))
    }
}

#[derive(Deserialize)]
struct Started {
    #[serde(rename = "EnclaveName")]
    name: Option<String>,
    #[serde(rename = "EnclaveID")]
    id: String,
    #[serde(rename = "ProcessID")]
    process: u32,
    #[serde(rename = "EnclaveCID")]
    cid: u32,
    #[serde(rename = "NumberOfCPUs")]
    cpus: u32,
    #[serde(rename = "CPUIDs", default)]
    cpu_ids: Vec<u32>,
    #[serde(rename = "MemoryMiB")]
    memory_mib: u64,
}

impl Started {
    fn enclave(self, state: State, flags: Flags, measurements: Option<Measurements>) -> Enclave {
        Enclave {
            name: self.name,
            id: self.id,
            process: self.process,
            cid: self.cid,
            cpus: self.cpus,
            cpu_ids: self.cpu_ids,
            memory_mib: self.memory_mib,
            state,
            flags,
            measurements,
        }
    }
}

#[derive(Deserialize)]
struct Terminated {
    #[serde(rename = "Terminated")]
    terminated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pcr;

    fn listed(flags: &str, measurements: &str) -> String {
        format!(
            r#"[{{"EnclaveName": "enclave-tls", "EnclaveID": "i-0123456789abcdef0-enc0123456789abcde",
                "ProcessID": 4711, "EnclaveCID": 16, "NumberOfCPUs": 2, "CPUIDs": [1, 3], "MemoryMiB": 128,
                "State": "RUNNING", "Flags": "{flags}"{measurements}, "ImageName": "enclave-tls"}}]"#
        )
    }

    #[test]
    fn a_listed_enclave_is_read() {
        let pcr = "0d".repeat(48);
        let measured = format!(
            r#", "Measurements": {{"HashAlgorithm": "Sha384 {{ ... }}", "PCR0": "{pcr}", "PCR1": "{pcr}", "PCR2": "{pcr}"}}"#
        );
        let enclaves = described(listed("NONE", &measured).as_bytes()).unwrap();
        let [enclave] = enclaves.as_slice() else {
            panic!("{enclaves:?}")
        };
        assert_eq!(
            (enclave.cid, enclave.process, enclave.cpus, enclave.memory_mib),
            (16, 4711, 2, 128)
        );
        assert_eq!((&enclave.state, &enclave.flags), (&State::Running, &Flags::None));
        assert_eq!(enclave.measurements.as_ref().unwrap().pcr0.to_string(), pcr);
        assert!(described(b"[]").unwrap().is_empty());
    }

    #[test]
    fn measurements_may_be_missing_and_never_half() {
        for none in ["", r#", "Measurements": {}"#] {
            assert_eq!(
                described(listed("NONE", none).as_bytes()).unwrap()[0].measurements,
                None
            );
        }
        let half = format!(r#", "Measurements": {{"PCR0": "{}"}}"#, Pcr::ZERO);
        assert!(
            described(listed("NONE", &half).as_bytes())
                .unwrap_err()
                .contains("PCR1")
        );
    }

    #[test]
    fn debug_and_unknown_flags_are_told_apart_from_none() {
        assert_eq!(
            described(listed("DEBUG_MODE", "").as_bytes()).unwrap()[0].flags,
            Flags::Debug
        );
        assert_eq!(
            described(listed("None", "").as_bytes()).unwrap()[0].flags,
            Flags::Other("None".into())
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bad in ["", "{}", "[{}]", "null", "[1]", "Start allocating memory..."] {
            assert!(
                described(bad.as_bytes()).is_err() && started(bad.as_bytes()).is_err(),
                "{bad}"
            );
        }
        assert!(terminated(br#"{"EnclaveID": "i-1-enc2", "Terminated": true}"#).unwrap());
    }
}
