//! What a booted image says on its log plane.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use enclave_wire::codec::Decode;
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::log::{RECORD, Record};

/// The records that came, until there is silence. Nothing else may come, and none may be missing.
pub(super) fn records(mut plane: &UnixStream) -> Result<Vec<Record>> {
    plane.set_read_timeout(Some(SILENCE))?;
    let mut bytes = Vec::new();
    // What came before the silence is kept.
    match plane.read_to_end(&mut bytes) {
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::WouldBlock => (),
        Err(error) => bail!("the log plane: {error}"),
    }
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let (header, after) = rest.split_first_chunk::<HEADER_LEN>().context("half a header")?;
        let header = Header::decode(header, limit::LOG)?;
        ensure!(header.operation == RECORD, "operation {}", header.operation);
        let (body, after) = after.split_at_checked(header.body_len()).context("half a record")?;
        records.push(Record::decode_all(body)?);
        rest = after;
    }
    for (number, record) in (0..).zip(&records) {
        ensure!(
            record.sequence == number && record.dropped == 0,
            "a record is missing before {record:?}"
        );
    }
    Ok(records)
}

/// Longer than a record waits for the next part of it.
const SILENCE: Duration = Duration::from_millis(500);
