//! What the CAA records of a name come to, for an account of a CA (RFC 8659, RFC 8657).

use enclave_wire::DnsName;
use enclave_wire::control::CaaVerdict;

use super::message::Record;

/// Who would issue, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Issuer<'a> {
    /// The domains by which the CA knows itself in records.
    pub(crate) identities: &'a [DnsName],
    /// The account's URL.
    pub(crate) account: &'a str,
}

impl Issuer<'_> {
    /// What the records say that count for a name; a name with a `*` has rules of its own.
    pub(super) fn judge(&self, name: &DnsName, records: &[Record]) -> CaaVerdict {
        if records.iter().any(|record| record.critical && !is_known(&record.tag)) {
            return CaaVerdict::Refused;
        }
        let properties: Vec<Property<'_>> = properties(name, records).map(Property::read).collect();
        if properties.is_empty() {
            return CaaVerdict::Open;
        }
        if self.identities.is_empty() {
            return CaaVerdict::Unknown;
        }
        if !properties.iter().any(|property| self.admits(property)) {
            return CaaVerdict::Refused;
        }
        // Another CA that may issue for anyone leaves the name as open as this one would.
        if properties.iter().all(Property::names_an_account) {
            CaaVerdict::Pinned
        } else {
            CaaVerdict::NotPinned
        }
    }

    fn admits(&self, property: &Property<'_>) -> bool {
        let identity = |identity: &DnsName| identity.as_str().eq_ignore_ascii_case(property.domain);
        let account = property.account.is_none_or(|account| account == self.account);
        let method = property.methods.is_none_or(|methods| {
            let mut methods = methods.split(',');
            methods.any(|method| OUR_METHODS.contains(&method.trim_matches(SPACE)))
        });
        property.is_satisfiable && self.identities.iter().any(identity) && account && method
    }
}

/// What counts: for a wildcard `issuewild`, where there is one, else `issue`.
fn properties<'a>(name: &DnsName, records: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    let wild = name.as_str().starts_with("*.") && records.iter().any(|record| record.tag == ISSUE_WILD);
    let tag = if wild { ISSUE_WILD } else { ISSUE };
    records.iter().filter(move |record| record.tag == tag)
}

fn is_known(tag: &str) -> bool {
    // Those of RFC 8659, and RFC 9495's, which restricts mail alone.
    [ISSUE, ISSUE_WILD, "iodef", "issuemail"].contains(&tag)
}

/// The value of `issue` or `issuewild`.
#[derive(Default)]
struct Property<'a> {
    /// Empty: nobody.
    domain: &'a str,
    account: Option<&'a str>,
    methods: Option<&'a str>,
    /// A parameter that stands twice cannot be satisfied (RFC 8657, sections 3 and 4).
    is_satisfiable: bool,
}

impl<'a> Property<'a> {
    /// What is no value of the grammar names nobody (RFC 8659, section 4.2).
    fn read(record: &'a Record) -> Self {
        let text = std::str::from_utf8(&record.value).ok();
        text.and_then(Self::parse).unwrap_or_default()
    }

    /// Whether it lets nobody issue but for an account that it names.
    fn names_an_account(&self) -> bool {
        !self.is_satisfiable || self.domain.is_empty() || self.account.is_some()
    }

    fn parse(text: &'a str) -> Option<Self> {
        let (domain, parameters) = text.split_once(';').unwrap_or((text, ""));
        let domain = domain.trim_matches(SPACE);
        let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        domain.bytes().all(is_domain).then_some(())?;
        let mut property = Self {
            domain,
            is_satisfiable: true,
            ..Self::default()
        };
        let parameters = parameters.split(';').map(|one| one.trim_matches(SPACE));
        for parameter in parameters.filter(|one| !one.is_empty()) {
            let (tag, value) = parameter.split_once('=')?;
            let (tag, value) = (tag.trim_matches(SPACE), value.trim_matches(SPACE));
            let plain = !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let visible = value.bytes().all(|byte| byte.is_ascii_graphic());
            (plain && visible).then_some(())?;
            let known = match tag.to_ascii_lowercase().as_str() {
                "accounturi" => Some(&mut property.account),
                "validationmethods" => Some(&mut property.methods),
                _ => None,
            };
            if let Some(known) = known {
                property.is_satisfiable &= known.is_none();
                *known = Some(value);
            }
        }
        Some(property)
    }
}

const ISSUE: &str = "issue";
const ISSUE_WILD: &str = "issuewild";
const SPACE: [char; 2] = [' ', '\t'];
const OUR_METHODS: [&str; 2] = ["http-01", "dns-01"];

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://ca.example/account/1";

    fn judge(name: &str, records: &[(u8, &str, &str)]) -> CaaVerdict {
        let identities = ["ca.example", "other.ca.example"].map(|text| text.parse().unwrap());
        let issuer = Issuer {
            identities: &identities,
            account: ACCOUNT,
        };
        issuer.judge(&name.parse().unwrap(), &of(records))
    }

    fn of(records: &[(u8, &str, &str)]) -> Vec<Record> {
        let record = |(flags, tag, value): &(u8, &str, &str)| Record {
            critical: flags & 0x80 != 0,
            tag: (*tag).to_owned(),
            value: value.as_bytes().to_vec(),
        };
        records.iter().map(record).collect()
    }

    #[test]
    fn threat_54_only_records_that_name_accounts_pin() {
        let ours = format!("ca.example; accounturi={ACCOUNT}");
        let recovery = "ca.example; accounturi=https://ca.example/account/2";
        for (value, verdict) in [
            (ours.as_str(), CaaVerdict::Pinned),
            (
                &format!("CA.example;validationmethods=dns-01 ;\taccounturi={ACCOUNT};"),
                CaaVerdict::Pinned,
            ),
            ("ca.example", CaaVerdict::NotPinned),
            (" other.ca.example ; x=y", CaaVerdict::NotPinned),
            ("ca.example; validationmethods=http-01", CaaVerdict::NotPinned),
            (recovery, CaaVerdict::Refused),
            ("else.example", CaaVerdict::Refused),
            (";", CaaVerdict::Refused),
            ("", CaaVerdict::Refused),
            ("ca.example; validationmethods=tls-alpn-01,ca-own", CaaVerdict::Refused),
            (&format!("{ours}; accounturi={ACCOUNT}"), CaaVerdict::Refused),
            ("ca.example accounturi", CaaVerdict::Refused),
            ("ca.example; accounturi", CaaVerdict::Refused),
            (&format!("ca.example; accounturi={ACCOUNT}/"), CaaVerdict::Refused),
            (&format!("ca.example; accounturi= {ACCOUNT} x"), CaaVerdict::Refused),
        ] {
            assert_eq!(judge("a.example", &[(0, "issue", value)]), verdict, "{value}");
        }
        let pair = |other: &str| judge("a.example", &[(0, "issue", &ours), (0, "issue", other)]);
        assert_eq!(pair(recovery), CaaVerdict::Pinned, "both accounts are named");
        assert_eq!(pair("ca.example"), CaaVerdict::NotPinned);
        assert_eq!(pair("else.example"), CaaVerdict::NotPinned, "another CA takes anybody");
        assert_eq!(pair("else.example; accounturi=x"), CaaVerdict::Pinned);
        assert_eq!(pair(";"), CaaVerdict::Pinned);
        assert_eq!(
            pair("ca.example; validationmethods=ca-own"),
            CaaVerdict::NotPinned,
            "by a method that is not ours"
        );
    }

    #[test]
    fn a_wildcard_has_rules_of_its_own_where_there_are_some() {
        let both = [(0, "issue", "else.example"), (0, "issuewild", "ca.example")];
        assert_eq!(judge("*.a.example", &both), CaaVerdict::NotPinned);
        assert_eq!(judge("a.example", &both), CaaVerdict::Refused);
        assert_eq!(
            judge("*.a.example", &[(0, "issue", "ca.example")]),
            CaaVerdict::NotPinned
        );
        assert_eq!(
            judge("a.example", &[(0, "issuewild", "else.example")]),
            CaaVerdict::Open
        );
    }

    #[test]
    fn what_is_not_known_and_critical_refuses_all() {
        assert_eq!(judge("a.example", &[]), CaaVerdict::Open);
        assert_eq!(judge("a.example", &[(0, "iodef", "mailto:x")]), CaaVerdict::Open);
        assert_eq!(judge("a.example", &[(0x80, "iodef", "mailto:x")]), CaaVerdict::Open);
        assert_eq!(judge("a.example", &[(0, "policy", "x")]), CaaVerdict::Open);
        assert_eq!(judge("a.example", &[(0x80, "policy", "x")]), CaaVerdict::Refused);
    }

    #[test]
    fn a_ca_that_says_no_name_of_its_own_cannot_be_found_in_records() {
        let issuer = Issuer {
            identities: &[],
            account: ACCOUNT,
        };
        let name = "a.example".parse().unwrap();
        assert_eq!(
            issuer.judge(&name, &of(&[(0, "issue", "ca.example")])),
            CaaVerdict::Unknown
        );
        assert_eq!(issuer.judge(&name, &[]), CaaVerdict::Open);
    }
}
