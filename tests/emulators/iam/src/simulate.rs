//! `SimulatePrincipalPolicy`: what the policies of a role, under its boundary, come to. Context is given to none of it, so whatever
//! has a condition is not applied, and its keys are said to be missing, as IAM does.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::account::{Account, Role};
use crate::answer::{Refused, element, list, text};
use crate::operations::{none, wanted};
use crate::request::Request;

/// A page of verdicts.
pub(crate) fn answer(account: &Account, request: &mut Request<'_>) -> Result<String, Refused> {
    let invalid = |why: String| Refused::new(400, "InvalidInput", why);
    let source = wanted(request, "PolicySourceArn")?;
    let role = account.role_of(&source).ok_or_else(|| none(&source))?;
    let actions = request.members("ActionNames");
    let mut resources = request.members("ResourceArns");
    let marker = request.parameters.remove("Marker");
    if let Some(action) = actions.iter().find(|action| !is_action(action)) {
        return Err(invalid(format!("Invalid Action Name {action}")));
    }
    if actions.is_empty() {
        return Err(invalid("there are no actions".to_owned()));
    }
    if let Some(resource) = resources.iter().find(|one| *one != "*" && !one.starts_with("arn:")) {
        return Err(invalid(format!("Invalid Resource {resource}")));
    }
    if resources.is_empty() {
        resources.push("*".to_owned());
    }
    let pairs = actions
        .iter()
        .flat_map(|action| resources.iter().map(move |resource| (action, resource)));
    let results: Vec<String> = pairs.map(|(action, resource)| result(role, action, resource)).collect();
    let from: usize = match marker {
        None => 0,
        Some(marker) => marker.parse().map_err(|_| invalid("Invalid Marker".to_owned()))?,
    };
    let page: Vec<String> = results.iter().skip(from).take(PAGE).cloned().collect();
    let end = from + page.len();
    let more = match end < results.len() {
        true => element("IsTruncated", "true") + &element("Marker", &end.to_string()),
        false => element("IsTruncated", "false"),
    };
    Ok(list("EvaluationResults", page) + &more)
}

fn result(role: &Role, action: &str, resource: &str) -> String {
    let policies: Vec<&Value> = role.inline.values().chain(role.attached.values()).collect();
    let mut missing = BTreeSet::new();
    let mut says = |policies: &[&Value], effect: &str| {
        let statements = policies.iter().flat_map(|policy| statements(policy));
        let speaks = statements.filter(|one| one["Effect"] == effect && is_of(one, action, resource));
        let mut any = false;
        for statement in speaks {
            match condition_keys(statement) {
                keys if keys.is_empty() => any = true,
                keys => missing.extend(keys),
            }
        }
        any
    };
    let bounded: Vec<&Value> = role.boundary.iter().collect();
    let is_denied = says(&policies, "Deny") || says(&bounded, "Deny");
    let is_allowed = says(&policies, "Allow") && (bounded.is_empty() || says(&bounded, "Allow"));
    let decision = match (is_denied, is_allowed) {
        (true, _) => "explicitDeny",
        (false, true) => "allowed",
        (false, false) => "implicitDeny",
    };
    element("EvalActionName", action)
        + &element("EvalResourceName", resource)
        + &element("EvalDecision", decision)
        + &list("MatchedStatements", [])
        + &list("MissingContextValues", missing.iter().map(|key| text(key)))
}

fn statements(policy: &Value) -> Vec<&Value> {
    match &policy["Statement"] {
        Value::Array(many) => many.iter().collect(),
        one => vec![one],
    }
}

fn is_of(statement: &Value, action: &str, resource: &str) -> bool {
    let action = action.to_ascii_lowercase();
    let fits = |of: &Value, text: &str| texts(of).iter().any(|pattern| is_like(text, pattern));
    let lower = |of: &Value| Value::from(texts(of).iter().map(|one| one.to_ascii_lowercase()).collect::<Vec<_>>());
    let by_action = match (statement.get("Action"), statement.get("NotAction")) {
        (Some(list), _) => fits(&lower(list), &action),
        (None, Some(list)) => !fits(&lower(list), &action),
        (None, None) => false,
    };
    let by_resource = match (statement.get("Resource"), statement.get("NotResource")) {
        (Some(list), _) => fits(list, resource),
        (None, Some(list)) => !fits(list, resource),
        (None, None) => false,
    };
    by_action && by_resource
}

fn condition_keys(statement: &Value) -> Vec<String> {
    let operators = statement["Condition"].as_object().into_iter().flatten();
    let keys = operators.flat_map(|(_, keys)| keys.as_object().into_iter().flatten());
    keys.map(|(key, _)| key.clone()).collect()
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        one => one.as_str().map(str::to_owned).into_iter().collect(),
    }
}

fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_at_checked(1) {
        None => text.is_empty(),
        Some(("*", rest)) => (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| is_like(text, rest))),
        Some((wanted, rest)) => {
            let first = text.split_at_checked(1);
            first.is_some_and(|(first, text)| (wanted == "?" || wanted == first) && is_like(text, rest))
        }
    }
}

/// IAM takes no patterns here.
fn is_action(action: &str) -> bool {
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    action
        .split_once(':')
        .is_some_and(|(service, name)| is_word(service) && is_word(name))
}

/// Small, so that whoever reads only the first page is found out.
const PAGE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_actions_are_those_of_iam() {
        assert!(is_like(
            "arn:aws:route53:::hostedzone/Z1",
            "arn:aws:route53:::hostedzone/*"
        ));
        assert!(is_like("*", "*") && is_like("ab", "a?") && !is_like("a", "a?") && !is_like("*", "arn:*"));
        assert!(is_action("acm:CreateAcmeEndpoint") && is_action("acm-pca:X"));
        assert!(!is_action("acm:*Acme*") && !is_action("acm") && !is_action(":x"));
    }
}
