//! The record set that an enclave found for a name, read from its words.

use serde::Serialize;

/// The records that count for a name, and the name at which they stand: its own, or one above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) owner: String,
    pub(super) records: Vec<Found>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    critical: bool,
    tag: String,
    value: String,
}

/// Whom a record lets issue, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Property<'a> {
    /// The CA's domain. Empty: nobody's.
    pub(super) domain: &'a str,
    pub(super) account: Option<&'a str>,
    /// None: any.
    pub(super) methods: Option<&'a str>,
}

impl Set {
    /// Reads `OWNER: FLAGS TAG "VALUE", FLAGS TAG "VALUE"`. None: it is something else, or was too long to come whole.
    pub(super) fn read(said: &str) -> Option<Self> {
        let (owner, mut rest) = said.split_once(": ")?;
        let mut records = Vec::new();
        loop {
            let (record, after) = Found::read(rest)?;
            records.push(record);
            match after.strip_prefix(", ") {
                Some(more) => rest = more,
                None if after.is_empty() => break,
                None => return None,
            }
        }
        Some(Self {
            owner: owner.to_owned(),
            records,
        })
    }

    /// Those that say who may issue for this name: of a wildcard `issuewild`, where there is one, else `issue` (RFC 8659, section 4).
    pub(super) fn issuing(&self, name: &str) -> Vec<Property<'_>> {
        let has_wild = self.records.iter().any(|record| record.tag == ISSUE_WILD);
        let tag = if name.starts_with("*.") && has_wild {
            ISSUE_WILD
        } else {
            ISSUE
        };
        let of_tag = self.records.iter().filter(|record| record.tag == tag);
        of_tag.map(|record| Property::read(&record.value)).collect()
    }

    /// Whether a record is critical whose tag CAs need not know: then none issues.
    pub(super) fn forbids_all(&self) -> bool {
        let is_known = |tag: &str| [ISSUE, ISSUE_WILD, "iodef", "issuemail"].contains(&tag);
        self.records
            .iter()
            .any(|record| record.critical && !is_known(&record.tag))
    }
}

impl Found {
    /// As it stands in a zone.
    pub(super) fn line(&self) -> String {
        let flags = if self.critical { CRITICAL } else { NO_FLAGS };
        format!("{flags} {} \"{}\"", self.tag, self.value)
    }

    /// The first record, and what follows it.
    fn read(text: &str) -> Option<(Self, &str)> {
        let (flags, text) = text.split_once(' ')?;
        let (tag, text) = text.split_once(" \"")?;
        let critical = match flags {
            NO_FLAGS => false,
            CRITICAL => true,
            _ => return None,
        };
        let mut value = String::new();
        let mut letters = text.chars();
        loop {
            match letters.next()? {
                '"' => break,
                // Any other escape is of what no value of the grammar has, and stays as it is.
                '\\' => match letters.next()? {
                    plain @ ('"' | '\\') => value.push(plain),
                    other => value.extend(['\\', other]),
                },
                plain => value.push(plain),
            }
        }
        let record = Self {
            critical,
            tag: tag.to_owned(),
            value,
        };
        Some((record, letters.as_str()))
    }
}

impl<'a> Property<'a> {
    /// For words alone: the verdict is the enclave's, which is stricter with what is no value.
    fn read(value: &'a str) -> Self {
        let mut parts = value.split(';').map(str::trim);
        let mut property = Self {
            domain: parts.next().unwrap_or_default(),
            account: None,
            methods: None,
        };
        for (tag, value) in parts.filter_map(|part| part.split_once('=')) {
            match tag.trim().to_ascii_lowercase().as_str() {
                "accounturi" => property.account = Some(value.trim()),
                "validationmethods" => property.methods = Some(value.trim()),
                _ => {}
            }
        }
        property
    }

    /// Whether it lets names be proven in this way.
    pub(super) fn takes(&self, method: &str) -> bool {
        let among = |methods: &str| methods.split(',').any(|one| one.trim() == method);
        self.methods.is_none_or(among)
    }
}

const ISSUE: &str = "issue";
const ISSUE_WILD: &str = "issuewild";
const NO_FLAGS: &str = "0";
const CRITICAL: &str = "128";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_as_the_enclave_writes_it() {
        let said = r#"a.example: 0 issue "ca.example; accounturi=https://ca.example/1; validationmethods=http-01, dns-01", 128 issuewild ";", 0 iodef "x\", 0 \\y""#;
        let set = Set::read(said).unwrap();
        assert_eq!((set.owner.as_str(), set.records.len()), ("a.example", 3));
        assert_eq!(set.records[2].value, r#"x", 0 \y"#);
        let ours = set.issuing("b.a.example");
        assert_eq!(
            ours,
            [Property {
                domain: "ca.example",
                account: Some("https://ca.example/1"),
                methods: Some("http-01, dns-01"),
            }]
        );
        assert!(ours[0].takes("dns-01") && !ours[0].takes("tls-alpn-01"));
        let wild = set.issuing("*.a.example");
        assert_eq!((wild.len(), wild[0].domain), (1, ""));
        assert_eq!(set.records[1].line(), "128 issuewild \";\"");
        assert!(!set.forbids_all());
        assert!(Set::read("a.example: 128 policy \"x\"").unwrap().forbids_all());
    }

    #[test]
    fn what_is_no_set_is_none() {
        for said in [
            "",
            "no records, here or above",
            "a.example: the resolver failed, or does not trust what it found (SERVFAIL)",
            "a.example: the resolver answers 502",
            "a.example: 0 issue \"ca.example; accounturi=https://ca.exa",
            "a.example: 0 issue \"ca.example\", ",
            "a.example: 0 issue \"ca.example\" 0 issue \";\"",
            "a.example: 1 issue \"ca.example\"",
        ] {
            assert_eq!(Set::read(said), None, "{said}");
        }
    }
}
