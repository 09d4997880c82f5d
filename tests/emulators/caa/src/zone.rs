//! CAA records, as a zone file has them.

use std::collections::BTreeMap;

/// Every name's records.
#[derive(Debug, Clone, Default)]
pub(crate) struct Zone(BTreeMap<String, Vec<Record>>);

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) flags: u8,
    pub(crate) tag: String,
    pub(crate) value: String,
}

/// A line that is no CAA record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not NAME. IN CAA FLAGS TAG \"VALUE\": {1}")]
pub struct ZoneError(usize, String);

impl Zone {
    /// Reads lines of a zone file. Empty ones and comments may stand between them, and nothing but CAA records.
    pub(crate) fn parse(text: &str) -> Result<Self, ZoneError> {
        let mut zone = Self::default();
        for (line, number) in text.lines().zip(1..) {
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            let (name, record) = record(line).ok_or_else(|| ZoneError(number, line.to_owned()))?;
            zone.0.entry(name).or_default().push(record);
        }
        Ok(zone)
    }

    /// The relevant set: that of the name, else of the nearest name above it that has one. The root has none.
    pub(crate) fn relevant(&self, name: &str) -> &[Record] {
        let mut rest = name;
        loop {
            if let Some(records) = self.0.get(&rest.to_ascii_lowercase()) {
                return records;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return &[],
            }
        }
    }
}

fn record(line: &str) -> Option<(String, Record)> {
    let (name, rest) = line.split_once(' ')?;
    let (flags, rest) = rest.strip_prefix("IN CAA ")?.split_once(' ')?;
    let (tag, value) = rest.split_once(' ')?;
    let value = value.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = !value.contains(['"', '\\']);
    let is_tag = !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let record = Record {
        flags: flags.parse().ok()?,
        tag: tag.to_ascii_lowercase(),
        value: value.to_owned(),
    };
    let name = name.strip_suffix('.')?.to_ascii_lowercase();
    (is_plain && is_tag && !name.is_empty()).then_some((name, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_set_is_the_relevant_one() {
        let zone = "; a comment\n\nexample. IN CAA 0 issue \"a.example\"\nw.b.example. IN CAA 128 ISSUE \";\"\n";
        let zone = Zone::parse(zone).unwrap();
        let value = |name: &str| zone.relevant(name).first().map(|record| record.value.clone());
        assert_eq!(value("w.b.example").as_deref(), Some(";"));
        assert_eq!(value("deep.W.b.example").as_deref(), Some(";"));
        assert_eq!(value("b.example").as_deref(), Some("a.example"));
        assert_eq!(value("w.b.example.org"), None);
        assert_eq!(zone.relevant("w.b.example")[0].flags, 128);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            "a.example IN CAA 0 issue \";\"",
            "a.example. IN CAA 0 issue ;",
            "a.example. IN CAA 256 issue \";\"",
            "a.example. IN TXT \"x\"",
            "a.example. IN CAA 0 is-sue \";\"",
            "a.example. IN CAA 0 issue \"a\" \"b\"",
            ". IN CAA 0 issue \";\"",
        ] {
            assert!(Zone::parse(bad).is_err(), "{bad}");
        }
    }
}
