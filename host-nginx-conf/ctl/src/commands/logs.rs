//! The part of `status` and `stats` that is about the enclave's log.

use serde::Serialize;

use enclave_tls_admin::protocol;

use crate::table;

#[derive(Serialize)]
pub(super) struct LogsJson {
    /// Printed.
    records: u64,
    /// Not printed: dropped by the enclave, lost by a connection, or too many.
    dropped: u64,
    /// Connections that were closed for what came over them.
    malformed: u64,
    /// Its target and message. Where a boot has ended it says why, until there is a newer one.
    last_error: Option<String>,
}

impl From<&protocol::Logs> for LogsJson {
    fn from(logs: &protocol::Logs) -> Self {
        Self {
            records: logs.records,
            dropped: logs.dropped,
            malformed: logs.malformed,
            last_error: logs.last_error.as_ref().map(|last| last.as_str().to_owned()),
        }
    }
}

impl LogsJson {
    /// The last error, if there was one.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// In a line.
    pub(super) fn counted(&self) -> String {
        format!(
            "{} records, {} dropped, {} malformed connections",
            self.records, self.dropped, self.malformed
        )
    }

    /// The last error, in a paragraph: it may be long.
    pub(super) fn last(&self) -> String {
        self.last_error
            .as_ref()
            .map_or(String::new(), |last| format!("\nThe enclave's last error: {last}\n"))
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        let rows = [
            ("records", self.records),
            ("dropped", self.dropped),
            ("malformed connections", self.malformed),
        ];
        let rows = rows.map(|(what, count)| [what.to_owned(), count.to_string()]);
        format!("\n{}{}", table::render(["LOGS", ""], &rows), self.last())
    }
}
