//! What the model's strings may be, each rule where the model has it.

use serde::Deserialize;

use crate::error::AcmError;

/// One of the model's kinds of ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Endpoint,
    Domain,
    Binding,
}

impl Kind {
    /// The member that carries it, as AWS names it in refusals.
    fn member(self) -> &'static str {
        match self {
            Self::Endpoint => "acmeEndpointArn",
            Self::Domain => "acmeDomainValidationArn",
            Self::Binding => "acmeExternalAccountBindingArn",
        }
    }

    /// What follows the endpoint's own id.
    pub(crate) fn part(self) -> Option<&'static str> {
        match self {
            Self::Endpoint => None,
            Self::Domain => Some("acme-domain-validation"),
            Self::Binding => Some("acme-external-account-binding"),
        }
    }

    fn pattern(self) -> String {
        let endpoint = "arn:aws[a-z-]*:acm:[a-z0-9-]+:[0-9]{12}:acme-endpoint/[a-zA-Z0-9-]+";
        match self.part() {
            None => endpoint.to_owned(),
            Some(part) => format!("{endpoint}/{part}/[a-zA-Z0-9-]+"),
        }
    }
}

/// An ARN of a required member: its own text, and that of its endpoint.
pub(crate) struct Arn {
    pub(crate) text: String,
    pub(crate) endpoint: String,
}

impl Arn {
    pub(crate) fn parse(kind: Kind, value: Option<String>) -> Result<Self, AcmError> {
        let text = required(kind.member(), value)?;
        length(kind.member(), &text, 200)?;
        let endpoint = endpoint_of(kind, &text).ok_or_else(|| pattern(kind.member(), &text, &kind.pattern()))?;
        Ok(Self { endpoint, text })
    }
}

/// The part of an ARN that is its endpoint's, if it is of this kind.
fn endpoint_of(kind: Kind, text: &str) -> Option<String> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = fields[..] else {
        return None;
    };
    let is_place = arn == "arn"
        && partition
            .strip_prefix("aws")
            .is_some_and(|rest| all(rest, |c| c.is_ascii_lowercase() || c == '-'))
        && service == "acm"
        && !region.is_empty()
        && all(region, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && account.len() == 12
        && all(account, |c| c.is_ascii_digit());
    let is_id = |id: &str| !id.is_empty() && all(id, |c| c.is_ascii_alphanumeric() || c == '-');
    let parts: Vec<&str> = resource.split('/').collect();
    let is_resource = match (parts[..].get(..), kind.part()) {
        (Some(["acme-endpoint", id]), None) => is_id(id),
        (Some(["acme-endpoint", id, part, own]), Some(expected)) => is_id(id) && *part == expected && is_id(own),
        _ => false,
    };
    let own_part = parts.get(1).copied().unwrap_or_default();
    (is_place && is_resource)
        .then(|| format!("{arn}:{partition}:{service}:{region}:{account}:acme-endpoint/{own_part}"))
}

/// A domain in lower case, without a wildcard.
pub(crate) fn domain(value: Option<String>) -> Result<String, AcmError> {
    let text = required("domainName", value)?;
    length("domainName", &text, 253)?;
    let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label =
        |label: &str| label.starts_with(is_edge) && label.ends_with(is_edge) && all(label, |c| is_edge(c) || c == '-');
    if text.split('.').all(is_label) {
        Ok(text)
    } else {
        let rule = "([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?";
        Err(pattern("domainName", &text, rule))
    }
}

pub(crate) fn role(value: Option<String>) -> Result<String, AcmError> {
    let text = required("roleArn", value)?;
    length("roleArn", &text, 2_048)?;
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let is_role = matches!(fields[..], ["arn", partition, "iam", "", account, resource]
        if partition.strip_prefix("aws").is_some_and(|rest| all(rest, |c| c.is_ascii_lowercase() || c == '-'))
            && account.len() == 12
            && all(account, |c| c.is_ascii_digit())
            && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty()));
    if is_role {
        Ok(text)
    } else {
        Err(pattern("roleArn", &text, "arn:aws[a-z-]*:iam::[0-9]{12}:role/.+"))
    }
}

pub(crate) fn hosted_zone(value: Option<String>) -> Result<Option<String>, AcmError> {
    let Some(text) = value else { return Ok(None) };
    let member = "prevalidationOptions.dnsPrevalidation.hostedZoneId";
    length(member, &text, 32)?;
    let id = text.strip_prefix('Z').filter(|id| !id.is_empty());
    if id.is_some_and(|id| all(id, |c| c.is_ascii_uppercase() || c.is_ascii_digit())) {
        Ok(Some(text))
    } else {
        Err(pattern(member, &text, "Z[A-Z0-9]+"))
    }
}

/// One of an enumeration's values.
pub(crate) fn one_of(member: &str, value: &str, of: &[&str]) -> Result<(), AcmError> {
    if of.contains(&value) {
        return Ok(());
    }
    let rule = format!("Member must satisfy enum value set: [{}]", of.join(", "));
    Err(AcmError::constraint(member, Some(value), &rule))
}

pub(crate) fn required<T>(member: &str, value: Option<T>) -> Result<T, AcmError> {
    value.ok_or_else(|| AcmError::constraint(member, None, "Member must not be null"))
}

/// Tags, of which nothing but the form is looked at.
#[derive(Deserialize, serde::Serialize, Clone)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Tag {
    key: Option<String>,
    value: Option<String>,
}

pub(crate) fn tags(tags: Option<Vec<Tag>>) -> Result<Vec<Tag>, AcmError> {
    let Some(tags) = tags else { return Ok(Vec::new()) };
    if tags.is_empty() || tags.len() > 50 {
        let rule = "Member must have length greater than or equal to 1 and less than or equal to 50";
        return Err(AcmError::constraint("tags", None, rule));
    }
    for tag in &tags {
        length("tags.member.key", &required("tags.member.key", tag.key.clone())?, 128)?;
        let value = tag.value.as_deref().unwrap_or_default();
        if value.len() > 256 {
            let rule = "Member must have length less than or equal to 256";
            return Err(AcmError::constraint("tags.member.value", Some(value), rule));
        }
    }
    Ok(tags)
}

fn length(member: &str, text: &str, most: usize) -> Result<(), AcmError> {
    if text.is_empty() {
        let rule = "Member must have length greater than or equal to 1";
        return Err(AcmError::constraint(member, Some(text), rule));
    }
    if text.chars().count() > most {
        let rule = format!("Member must have length less than or equal to {most}");
        return Err(AcmError::constraint(member, Some(text), &rule));
    }
    Ok(())
}

fn pattern(member: &str, text: &str, pattern: &str) -> AcmError {
    let rule = format!("Member must satisfy regular expression pattern: {pattern}");
    AcmError::constraint(member, Some(text), &rule)
}

fn all(text: &str, is: impl Fn(char) -> bool) -> bool {
    text.chars().all(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_of_their_kind() {
        let endpoint = "arn:aws:acm:us-east-1:111122223333:acme-endpoint/e-1";
        let domain = format!("{endpoint}/acme-domain-validation/d-1");
        let parse = |kind, text: &str| Arn::parse(kind, Some(text.to_owned())).ok().map(|arn| arn.endpoint);
        assert_eq!(parse(Kind::Endpoint, endpoint).as_deref(), Some(endpoint));
        assert_eq!(parse(Kind::Domain, &domain).as_deref(), Some(endpoint));
        for bad in [
            domain.as_str(),
            "",
            "arn:aws:acm:us-east-1:111122223333:acme-endpoint/",
            "arn:aws:acm:us-east-1:111122223333:certificate/e-1",
            "arn:aws:kms:us-east-1:111122223333:acme-endpoint/e-1",
            "arn:aws:acm:us-east-1:11112222333:acme-endpoint/e-1",
            "arn:aws:acm::111122223333:acme-endpoint/e-1",
            "arn:other:acm:us-east-1:111122223333:acme-endpoint/e-1",
            "arn:aws:acm:us-east-1:111122223333:acme-endpoint/e_1",
        ] {
            assert_eq!(parse(Kind::Endpoint, bad), None, "{bad}");
        }
        assert_eq!(parse(Kind::Binding, &domain), None);
    }

    #[test]
    fn other_strings_have_their_patterns() {
        let some = |text: &str| Some(text.to_owned());
        assert!(domain(some("a-b.example")).is_ok());
        for bad in ["*.a.example", "A.example", "-a.example", "a..example", "a.example.", ""] {
            assert!(domain(some(bad)).is_err(), "{bad}");
        }
        assert!(role(some("arn:aws-cn:iam::111122223333:role/path/name")).is_ok());
        for bad in [
            "arn:aws:iam::111122223333:user/a",
            "arn:aws:iam:x:111122223333:role/a",
            "role",
        ] {
            assert!(role(some(bad)).is_err(), "{bad}");
        }
        assert!(hosted_zone(some("Z0ABC")).is_ok());
        for bad in ["Z", "z0", "/hostedzone/Z0", ""] {
            assert!(hosted_zone(some(bad)).is_err(), "{bad}");
        }
    }
}
