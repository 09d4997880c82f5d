//! CAA records (RFC 8659) with the parameters that pin accounts and methods (RFC 8657).

use std::collections::BTreeMap;

use clap::ValueEnum;
use enclave_wire::DnsName;
use serde::{Serialize, Serializer};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    /// The name at which it stands, without the root's dot.
    pub(super) name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    flags: u8,
    tag: Tag,
    value: String,
    /// Flags, tag and value as one text, as hosted zones of Route 53 take it.
    rdata: String,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// The name, and names below it that have no records of their own.
    Issue,
    /// Wildcards.
    IssueWild,
}

/// An account that may have certificates.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) url: AccountUrl,
    /// The CA's domain.
    pub(super) issuer: DnsName,
    /// How it proves names. None said: it may prove them as it likes.
    pub(super) methods: Vec<Method>,
}

/// How a name is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    #[value(name = "http-01")]
    Http01,
    #[value(name = "dns-01")]
    Dns01,
}

/// The URL of an account, of characters that a parameter's value may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccountUrl {
    text: String,
    host: String,
}

/// Who may have certificates for which names, and nobody else: at each name one set of records, which says both of it and of its
/// wildcards.
#[derive(Default)]
pub(super) struct Pins(BTreeMap<String, Wanted>);

/// Who may have a name, and who its wildcards.
#[derive(Default)]
struct Wanted {
    exact: Vec<Account>,
    wildcard: Vec<Account>,
}

impl Pins {
    /// Lets these accounts have this name, beside those that may already.
    pub(super) fn add(&mut self, name: &DnsName, accounts: &[Account]) {
        let text = name.to_string();
        match text.strip_prefix("*.") {
            Some(base) => self
                .0
                .entry(base.to_owned())
                .or_default()
                .wildcard
                .extend_from_slice(accounts),
            None => self.0.entry(text).or_default().exact.extend_from_slice(accounts),
        }
    }

    pub(super) fn records(&self) -> Result<Vec<Record>, UnprovenWildcard> {
        let mut records = Vec::new();
        for (name, wanted) in &self.0 {
            records.extend(of_tag(name, Tag::Issue, &wanted.exact, |account| {
                Some(account.methods.clone())
            })?);
            records.extend(of_tag(
                name,
                Tag::IssueWild,
                &wanted.wildcard,
                Account::methods_of_wildcards,
            )?);
        }
        Ok(records)
    }
}

/// A name of which no account proves wildcards.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnprovenWildcard(pub(super) String);

/// One record for each account that can prove it; where nobody may have it, the record that says so.
fn of_tag(
    name: &str,
    tag: Tag,
    accounts: &[Account],
    methods: impl Fn(&Account) -> Option<Vec<Method>>,
) -> Result<Vec<Record>, UnprovenWildcard> {
    if accounts.is_empty() {
        return Ok(vec![Record::new(name, tag, ";".to_owned())]);
    }
    let able = accounts.iter().filter_map(|account| Some((account, methods(account)?)));
    let mut records: Vec<Record> = Vec::new();
    for (account, methods) in able {
        let record = Record::new(name, tag, account.value(&methods));
        // Two certificates of one name, ordered by one account in the same way.
        if !records.contains(&record) {
            records.push(record);
        }
    }
    match records.is_empty() {
        true => Err(UnprovenWildcard(format!("*.{name}"))),
        false => Ok(records),
    }
}

impl Record {
    fn new(name: &str, tag: Tag, value: String) -> Self {
        Self {
            name: name.to_owned(),
            kind: "CAA",
            // Not critical: that a CA must know the tag says nothing of the parameters, and every CA knows these tags.
            flags: 0,
            rdata: format!("0 {} \"{value}\"", tag.as_str()),
            tag,
            value,
        }
    }

    /// A line of a zone file. Nothing in a value wants escaping: what a domain, a URL and a method are made of has no quote.
    pub(super) fn line(&self) -> String {
        format!("{}. IN CAA {}\n", self.name, self.rdata)
    }
}

impl Account {
    fn value(&self, methods: &[Method]) -> String {
        let mut value = format!("{}; accounturi={}", self.issuer, self.url.text);
        if !methods.is_empty() {
            let names: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
            value.push_str(&format!("; validationmethods={}", names.join(",")));
        }
        value
    }

    /// RFC 8555 proves a wildcard by DNS alone.
    fn methods_of_wildcards(&self) -> Option<Vec<Method>> {
        match self.methods.as_slice() {
            [] => Some(Vec::new()),
            some if some.contains(&Method::Dns01) => Some(vec![Method::Dns01]),
            _ => None,
        }
    }
}

impl Tag {
    fn as_str(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::IssueWild => "issuewild",
        }
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Method {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        }
    }
}

impl AccountUrl {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

impl std::str::FromStr for AccountUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an account's URL is as its CA gave it: https://HOST/PATH, without ; \" \\ or spaces";
        let is_of_value = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b';' | b'"' | b'\\');
        let rest = text.strip_prefix("https://").ok_or(EXPECTED)?;
        let (authority, path) = rest.split_once('/').ok_or(EXPECTED)?;
        let host = authority.split_once(':').map_or(authority, |(host, _)| host);
        if host.is_empty() || path.is_empty() || text.len() > MAX_URL || !text.bytes().all(is_of_value) {
            return Err(EXPECTED);
        }
        Ok(Self {
            host: host.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// As long as an enclave takes one.
const MAX_URL: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn account(methods: &[Method]) -> Account {
        Account {
            url: "https://ca.example/acct/1".parse().unwrap(),
            issuer: "ca.example".parse().unwrap(),
            methods: methods.to_vec(),
        }
    }

    fn lines(names: &[&str], accounts: &[Account]) -> Vec<String> {
        let mut pins = Pins::default();
        for name in names {
            pins.add(&name.parse().unwrap(), accounts);
        }
        pins.records().unwrap().iter().map(Record::line).collect()
    }

    #[test]
    fn what_is_not_wanted_is_forbidden() {
        let accounts = [account(&[Method::Http01]), account(&[Method::Dns01, Method::Http01])];
        assert_eq!(
            lines(&["www.example"], &accounts[..1]),
            [
                "www.example. IN CAA 0 issue \"ca.example; accounturi=https://ca.example/acct/1; validationmethods=http-01\"\n",
                "www.example. IN CAA 0 issuewild \";\"\n",
            ]
        );
        assert_eq!(
            lines(&["*.a.example"], &accounts),
            [
                "a.example. IN CAA 0 issue \";\"\n",
                "a.example. IN CAA 0 issuewild \"ca.example; accounturi=https://ca.example/acct/1; validationmethods=dns-01\"\n",
            ]
        );
        let both = lines(&["*.a.example", "a.example"], &accounts);
        assert_eq!(both.len(), 3, "{both:?}");
        assert!(
            both.iter()
                .all(|line| line.starts_with("a.example. IN CAA 0 issue") && !line.contains("\";\""))
        );
        assert_eq!(
            lines(&["a.example"], &[account(&[])])[0].matches(';').count(),
            1,
            "any method"
        );
    }

    #[test]
    fn a_wildcard_that_nobody_proves_is_no_record() {
        let mut pins = Pins::default();
        pins.add(&"*.a.example".parse().unwrap(), &[account(&[Method::Http01])]);
        let unproven = pins.records();
        assert_eq!(unproven, Err(UnprovenWildcard("*.a.example".to_owned())));
    }

    #[test]
    fn nothing_in_a_url_ends_a_parameter() {
        for bad in [
            "",
            "http://ca.example/1",
            "https://ca.example",
            "https:///1",
            "https://ca.example/1; x=y",
            "https://ca.example/1\"",
            "https://ca.example/\\1",
            "https://ca.example/\u{e9}",
        ] {
            assert!(bad.parse::<AccountUrl>().is_err(), "{bad}");
        }
    }
}
