//! One `issue` or `issuewild` property: whom it lets issue.

use crate::judge::Order;

/// A property's value, taken apart.
pub(crate) struct Property {
    /// Empty: nobody.
    domain: String,
    parameters: Vec<(String, String)>,
}

impl Property {
    /// By the grammar of RFC 8659, section 4.2. A value that is none lets nobody issue, which is for the caller to say.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (domain, rest) = match value.split_once(';') {
            None => (value, None),
            Some((domain, rest)) => (domain, Some(trimmed(rest))),
        };
        let parameters = match rest {
            None | Some("") => Vec::new(),
            Some(rest) => rest.split(';').map(parameter).collect::<Option<_>>()?,
        };
        let domain = trimmed(domain).to_ascii_lowercase();
        let is_domain = domain.split('.').all(is_label);
        (domain.is_empty() || is_domain).then_some(Self { domain, parameters })
    }

    /// Whether it lets this order's account have a certificate from this CA.
    pub(crate) fn allows(&self, issuer: &str, order: &Order<'_>) -> bool {
        self.domain == issuer.to_ascii_lowercase()
            && self.is_met("accounturi", |uri| uri == order.account)
            && self.is_met("validationmethods", |methods| {
                methods.split(',').any(|method| Some(method) == order.method)
            })
    }

    /// RFC 8657: an absent parameter asks for nothing, one that stands twice can be met by nobody.
    fn is_met(&self, name: &str, is: impl Fn(&str) -> bool) -> bool {
        let mut values = self.parameters.iter().filter(|(of, _)| of == name);
        match (values.next(), values.next()) {
            (None, _) => true,
            (Some((_, value)), None) => is(value),
            (Some(_), Some(_)) => false,
        }
    }
}

fn parameter(text: &str) -> Option<(String, String)> {
    let (tag, value) = trimmed(text).split_once('=')?;
    let (tag, value) = (trimmed(tag), trimmed(value));
    let is_value = value.bytes().all(|byte| byte.is_ascii_graphic());
    (is_label(tag) && is_value).then(|| (tag.to_ascii_lowercase(), value.to_owned()))
}

/// Letters and digits, hyphens between them: what labels and tags are made of.
fn is_label(text: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_edge) && text.ends_with(is_edge) && text.chars().all(|c| is_edge(c) || c == '-')
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(value: &str) -> Option<bool> {
        let order = Order {
            account: "https://ca.example/acct/1",
            method: Some("http-01"),
        };
        Property::parse(value).map(|property| property.allows("ca.example", &order))
    }

    #[test]
    fn what_a_property_asks_for_must_all_be_so() {
        for good in [
            "ca.example",
            "  CA.example ;",
            "ca.example; accounturi=https://ca.example/acct/1",
            "ca.example;accounturi = https://ca.example/acct/1 ; validationmethods=dns-01,http-01",
            "ca.example; unknown=1",
        ] {
            assert_eq!(allows(good), Some(true), "{good}");
        }
        for bad in [
            ";",
            "",
            "other.example",
            "ca.example; accounturi=https://ca.example/acct/2",
            "ca.example; accounturi=https://ca.example/acct/1; accounturi=https://ca.example/acct/1",
            "ca.example; accounturi=",
            "ca.example; validationmethods=dns-01",
            "ca.example; validationmethods=",
            "ca.example; ACCOUNTURI=https://ca.example/acct/12",
        ] {
            assert_eq!(allows(bad), Some(false), "{bad}");
        }
        for none in [
            "ca_example",
            "ca.example; accounturi",
            "ca.example; a=b;;c=d",
            "ca.example; a=b c",
            "-a.example",
            "ca.example; a=\u{e9}",
        ] {
            assert_eq!(allows(none), None, "{none}");
        }
    }

    #[test]
    fn a_method_that_nobody_saw_meets_no_list() {
        let order = Order {
            account: "https://ca.example/acct/1",
            method: None,
        };
        let allows = |value| Property::parse(value).unwrap().allows("ca.example", &order);
        assert!(allows("ca.example"));
        assert!(!allows("ca.example; validationmethods=http-01"));
    }
}
