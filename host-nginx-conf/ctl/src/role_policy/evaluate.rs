//! What the policies of a role allow of what it must not be able to do.

use super::finding::{Danger, Finding};
use super::pattern::{covers, overlap};
use crate::kms_policy::{Document, Effect, Listed, Statement, Truth, Value, is_like, judge, unjudged};

/// Judges all policies of one role together: a Deny of one takes from an Allow of another.
pub(crate) fn lint(policies: &[(String, Document)]) -> Vec<Finding> {
    let findings = Danger::ALL.iter().filter_map(|danger| {
        let about = match danger {
            Danger::HasPrincipal => principals(policies),
            Danger::AcmeEndpoint
            | Danger::ZoneWriting
            | Danger::Delegation
            | Danger::CertificateExport
            | Danger::PrivateCa
            | Danger::WidensItself
            | Danger::TakesOnRoles => allowed(policies, danger.actions()),
        };
        (!about.is_empty()).then_some(Finding { danger: *danger, about })
    });
    findings.collect()
}

/// The resources on which the policies' statements could allow it, as they are written there, and all resources at once: what IAM is
/// asked about.
pub(crate) fn resources(policies: &[(String, Document)], danger: Danger) -> Vec<String> {
    let statements = policies.iter().flat_map(|(_, document)| document.of(Effect::Allow));
    let reached =
        statements.flat_map(|statement| danger.actions().iter().flat_map(|action| reached(statement, action)));
    let mut resources: Vec<_> = reached.map(|asked| asked.resource).collect();
    // A policy variable is no ARN.
    resources.retain(|resource| resource.starts_with("arn:") && !resource.contains('$'));
    resources.sort();
    resources.dedup();
    resources.truncate(MOST);
    resources.push("*".to_owned());
    resources
}

fn principals(policies: &[(String, Document)]) -> Vec<String> {
    let named = |(file, document): &(String, Document)| {
        let statements = document.statements.iter().enumerate();
        let named = statements.filter(|(_, statement)| statement.principals().is_some());
        named
            .map(|(place, statement)| format!("{file}, {}", statement.name(place)))
            .collect::<Vec<_>>()
    };
    policies.iter().flat_map(named).collect()
}

/// Each Allow that certainly no Deny takes back, in words.
fn allowed(policies: &[(String, Document)], actions: &[&str]) -> Vec<String> {
    let mut said = Vec::new();
    for (file, document) in policies {
        for (place, statement) in document.statements.iter().enumerate() {
            if statement.effect != Effect::Allow || judge(statement, |_| Value::Unknown) == Truth::No {
                continue;
            }
            for action in actions {
                let reached = reached(statement, action);
                let open = reached.iter().find(|asked| !is_denied(policies, asked));
                let Some(asked) = open else { continue };
                let mut provided = unjudged(statement, |_| Value::Unknown);
                provided.dedup();
                let provided = match provided.is_empty() {
                    true => String::new(),
                    false => format!(", depending on {}", provided.join(", ")),
                };
                let line = format!(
                    "{file}, {}: {action} on {}{provided}",
                    statement.name(place),
                    asked.resource
                );
                if !said.contains(&line) {
                    said.push(line);
                }
            }
        }
    }
    said
}

/// What a statement reaches: an action or a pattern of actions, in lower case, on a resource or a pattern.
struct Asked {
    /// That which is sought, and the statement's own pattern: a Deny that covers either takes it back.
    actions: Vec<String>,
    resource: String,
}

fn reached(statement: &Statement, sought: &str) -> Vec<Asked> {
    let sought_low = sought.to_ascii_lowercase();
    let by: Vec<Vec<String>> = match statement.actions() {
        Some(Listed::Only(list)) => list
            .iter()
            .map(|pattern| pattern.to_ascii_lowercase())
            .filter(|pattern| is_meant(pattern, sought))
            .map(|pattern| vec![sought_low.clone(), pattern])
            .collect(),
        Some(Listed::AllBut(list)) => {
            let is_out = list
                .iter()
                .any(|pattern| covers(&pattern.to_ascii_lowercase(), &sought_low));
            if is_out { Vec::new() } else { vec![vec![sought_low]] }
        }
        None => Vec::new(),
    };
    let resources: Vec<String> = match statement.resources() {
        Some(Listed::Only(list)) => list.iter().filter(|one| is_of_service(one, sought)).cloned().collect(),
        Some(Listed::AllBut(_)) => vec!["*".to_owned()],
        None => Vec::new(),
    };
    let each = by.iter().flat_map(|actions| {
        resources.iter().map(|resource| Asked {
            actions: actions.clone(),
            resource: resource.clone(),
        })
    });
    each.collect()
}

/// Whether a Deny certainly takes it back.
fn is_denied(policies: &[(String, Document)], asked: &Asked) -> bool {
    let denies = |statement: &Statement| {
        let action = match statement.actions() {
            Some(Listed::Only(list)) => list.iter().any(|pattern| {
                let pattern = pattern.to_ascii_lowercase();
                asked.actions.iter().any(|action| covers(&pattern, action))
            }),
            Some(Listed::AllBut(list)) => asked.actions.iter().any(|action| {
                let spared = |pattern: &String| overlap(&pattern.to_ascii_lowercase(), action);
                !list.iter().any(spared)
            }),
            None => false,
        };
        let resource = match statement.resources() {
            Some(Listed::Only(list)) => list.iter().any(|pattern| covers(pattern, &asked.resource)),
            Some(Listed::AllBut(list)) => !list.iter().any(|pattern| overlap(pattern, &asked.resource)),
            None => false,
        };
        action && resource && judge(statement, |_| Value::Unknown) == Truth::Yes
    };
    policies
        .iter()
        .any(|(_, document)| document.of(Effect::Deny).any(denies))
}

/// Whether a statement's pattern of actions reaches what is sought: an action that is known, or one of AWS's next year, where the
/// statement itself names it.
fn is_meant(pattern: &str, sought: &str) -> bool {
    let sought = sought.to_ascii_lowercase();
    let known = Danger::ALL.iter().flat_map(|danger| danger.named());
    let mut known = known
        .map(str::to_ascii_lowercase)
        .filter(|action| is_like(action, &sought));
    known.any(|action| is_like(&action, pattern)) || covers(&sought, pattern)
}

/// Whether a resource can be one that an action is about: a right on objects of S3 is none on zones, whatever its actions say.
fn is_of_service(resource: &str, action: &str) -> bool {
    let service = match action.split(':').next().unwrap_or_default() {
        // Roles are IAM's.
        "sts" => "iam",
        service => service,
    };
    let parts: Vec<&str> = resource.split(':').collect();
    match parts.as_slice() {
        [_, _, its, ..] => overlap(its, service),
        few => few.last().is_some_and(|last| last.contains('*')),
    }
}

/// IAM is asked about each action on each of them.
const MOST: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(policies: &[&str]) -> Vec<(&'static str, usize)> {
        let parse = |(at, text): (usize, &&str)| (format!("p{at}"), Document::parse(text).unwrap());
        let policies: Vec<_> = policies.iter().enumerate().map(parse).collect();
        let findings = lint(&policies);
        findings
            .iter()
            .map(|one| (one.danger.text(), one.about.len()))
            .collect()
    }

    fn allow(action: &str, resource: &str) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":{action},"Resource":{resource}}}}}"#
        )
    }

    #[test]
    fn what_an_enclaves_role_needs_is_no_finding() {
        let needed = allow(
            r#"["kms:Decrypt","kms:GenerateDataKey","s3:GetObject","acm:ListCertificates","route53:List*"]"#,
            r#""*""#,
        );
        assert_eq!(found(&[&needed]), []);
        // Whatever its actions say, its resources are of another service.
        assert_eq!(found(&[&allow(r#""*""#, r#""arn:aws:s3:::bucket/*""#)]), []);
    }

    #[test]
    fn each_way_to_write_a_right_is_seen() {
        for action in [
            r#""acm:*""#,
            r#""ACM:CreateAcme*""#,
            r#"["acm:getacmeexternalaccountbindingcredentials"]"#,
            r#""acm:*Acme*""#,
        ] {
            let found = found(&[&allow(action, r#""*""#)]);
            assert!(
                found.iter().any(|(name, _)| *name == "acme-endpoint"),
                "{action}: {found:?}"
            );
        }
        let zone = r#"["arn:aws:route53:::hostedzone/Z1","arn:aws:s3:::x"]"#;
        assert_eq!(found(&[&allow(r#""route53:Change*""#, zone)]), [("zone-writing", 1)]);
        assert_eq!(
            found(&[&allow(r#""route53domains:*""#, r#""*""#)]),
            [("domain-delegation", 3)]
        );
        assert_eq!(
            found(&[&allow(r#""acm:Export*""#, r#""*""#)]),
            [("certificate-export", 1)]
        );
        assert_eq!(
            found(&[&allow(r#""sts:AssumeRole""#, r#""arn:aws:iam::1:role/x""#)]),
            [("takes-on-roles", 1)]
        );
        assert_eq!(found(&[&allow(r#""iam:Put*""#, r#""*""#)]), [("widens-itself", 3)]);
        let all_but = r#"{"Statement":[{"Effect":"Allow","NotAction":["iam:*","sts:*","acm-pca:*"],"Resource":"*"}]}"#;
        let names: Vec<_> = found(&[all_but]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            [
                "acme-endpoint",
                "zone-writing",
                "domain-delegation",
                "certificate-export"
            ]
        );
        let not_resource =
            r#"{"Statement":[{"Effect":"Allow","Action":"acm:*","NotResource":"arn:aws:acm:*:1:certificate/*"}]}"#;
        assert_eq!(found(&[not_resource]).len(), 2);
    }

    #[test]
    fn a_deny_counts_only_where_it_certainly_holds() {
        let all = allow(r#""acm:*Acme*""#, r#""*""#);
        let deny = |action: &str, resource: &str, condition: &str| {
            format!(r#"{{"Statement":[{{"Effect":"Deny",{action},{resource}{condition}}}]}}"#)
        };
        let (star, condition) = (
            r#""Resource":"*""#,
            r#","Condition":{"StringEquals":{"aws:SourceVpc":"vpc-1"}}"#,
        );
        for (second, is_open) in [
            (deny(r#""Action":"acm:*Acme*""#, star, ""), false),
            (deny(r#""Action":"ACM:*""#, star, ""), false),
            (deny(r#""NotAction":["kms:*","s3:*"]"#, star, ""), false),
            (deny(r#""NotAction":["acm:Get*"]"#, star, ""), true),
            (deny(r#""Action":"acm:CreateAcme*""#, star, ""), true),
            (
                deny(r#""Action":"acm:*""#, r#""Resource":"arn:aws:acm:us-east-1:1:*""#, ""),
                true,
            ),
            (deny(r#""Action":"acm:*""#, star, condition), true),
        ] {
            let names = found(&[&all, &second]);
            assert_eq!(!names.is_empty(), is_open, "{second}: {names:?}");
        }
        // Of one action, the same one denied is enough.
        let one = allow(r#""acm:CreateAcmeEndpoint""#, r#""*""#);
        assert_eq!(found(&[&one, &deny(r#""Action":"acm:CreateAcme*""#, star, "")]), []);
    }

    #[test]
    fn a_condition_of_an_allow_may_hold_and_is_named() {
        let text = r#"{"Statement":[{"Sid":"Dns","Effect":"Allow","Action":"route53:ChangeResourceRecordSets","Resource":"arn:aws:route53:::hostedzone/Z1",
            "Condition":{"ForAllValues:StringEquals":{"route53:ChangeResourceRecordSetsRecordTypes":["TXT"]}}}]}"#;
        let policies = [("p".to_owned(), Document::parse(text).unwrap())];
        let [finding] = &lint(&policies)[..] else {
            panic!("one finding")
        };
        assert_eq!(
            finding.about,
            [
                "p, statement \"Dns\": route53:ChangeResourceRecordSets on arn:aws:route53:::hostedzone/Z1, depending on \
              route53:changeresourcerecordsetsrecordtypes"
            ]
        );
    }

    #[test]
    fn a_policy_of_a_resource_is_none_of_a_role() {
        let text = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}]}"#;
        assert_eq!(found(&[text]), [("has-principal", 1)]);
    }
}
