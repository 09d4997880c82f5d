//! Whether a CA may issue: RFC 8659, section 3 and 4, with the parameters of RFC 8657.

use crate::property::Property;
use crate::zone::{Record, Zone};

/// Who wants a certificate, and how a name was proven.
pub(crate) struct Order<'a> {
    pub(crate) account: &'a str,
    /// `None`: nobody saw it.
    pub(crate) method: Option<&'a str>,
}

/// Why a name may not be had.
pub(crate) fn refusal(zone: &Zone, issuer: &str, name: &str, order: &Order<'_>) -> Option<String> {
    let base = name.strip_prefix("*.");
    let records = zone.relevant(base.unwrap_or(name));
    if let Some(unknown) = records
        .iter()
        .find(|record| record.flags & CRITICAL != 0 && !is_known(record))
    {
        return Some(format!(
            "the critical CAA property {} of {name} is not known",
            unknown.tag
        ));
    }
    let of = |tag: &str| -> Vec<&Record> { records.iter().filter(|record| record.tag == tag).collect() };
    let wild = of("issuewild");
    let binding = if base.is_some() && !wild.is_empty() {
        wild
    } else {
        of("issue")
    };
    let allowed = binding.iter().any(|record| {
        let property = Property::parse(&record.value);
        property.is_some_and(|property| property.allows(issuer, order))
    });
    if binding.is_empty() || allowed {
        return None;
    }
    let (account, method) = (order.account, order.method.unwrap_or("no method that was seen"));
    Some(format!(
        "no CAA record of {name} lets {account} have it by {method} from {issuer}"
    ))
}

fn is_known(record: &Record) -> bool {
    ["issue", "issuewild", "iodef"].contains(&record.tag.as_str())
}

const CRITICAL: u8 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(zone: &str, name: &str) -> bool {
        let order = Order {
            account: "https://ca.example/acct/1",
            method: Some("dns-01"),
        };
        refusal(&Zone::parse(zone).unwrap(), "ca.example", name, &order).is_some()
    }

    #[test]
    fn names_and_wildcards_are_bound_by_their_own_properties() {
        let mine = "\"ca.example; accounturi=https://ca.example/acct/1\"";
        let wild_only = format!("a.example. IN CAA 0 issue \";\"\na.example. IN CAA 0 issuewild {mine}\n");
        assert!(is_refused(&wild_only, "a.example"));
        assert!(is_refused(&wild_only, "www.a.example"));
        assert!(!is_refused(&wild_only, "*.a.example"));
        let exact_only = format!("a.example. IN CAA 0 issue {mine}\na.example. IN CAA 0 issuewild \";\"\n");
        assert!(!is_refused(&exact_only, "a.example"));
        assert!(is_refused(&exact_only, "*.a.example"));
        let both = format!("a.example. IN CAA 0 issue {mine}\n");
        assert!(!is_refused(&both, "*.a.example"), "issue stands for wildcards, too");
        let one_of_two = format!("a.example. IN CAA 0 issue \"other.example\"\na.example. IN CAA 0 issue {mine}\n");
        assert!(!is_refused(&one_of_two, "a.example"));
    }

    #[test]
    fn nothing_binds_where_nothing_is_said_of_issuing() {
        assert!(!is_refused("", "a.example"));
        assert!(!is_refused(
            "a.example. IN CAA 0 iodef \"mailto:a@a.example\"\n",
            "a.example"
        ));
        assert!(!is_refused("a.example. IN CAA 0 unknown \"x\"\n", "a.example"));
        assert!(!is_refused("a.example. IN CAA 0 issuewild \";\"\n", "a.example"));
        assert!(is_refused("a.example. IN CAA 128 unknown \"x\"\n", "a.example"));
        assert!(is_refused(
            "a.example. IN CAA 0 issue \"ca.example; broken\"\n",
            "a.example"
        ));
    }
}
