//! What IAM says of a role: its policies, and what they and everything above them come to.

use aws_sdk_iam::Client;
use aws_sdk_iam::types::PolicyEvaluationDecisionType;

use super::sdk::{block_on, call, configuration};
use super::{AwsError, Simulated, Verdict};

/// The ARN of a role of the asker's account.
pub(crate) fn role_arn(name: &str) -> Result<String, AwsError> {
    block_on(async {
        let asked = client().await.get_role().role_name(name).send().await;
        let role = asked.map_err(call("GetRole"))?.role;
        role.map(|role| role.arn).ok_or(AwsError::Answer("GetRole"))
    })
}

/// Every policy of a role, written into it or attached to it: its name, and its JSON.
pub(crate) fn role_policies(name: &str) -> Result<Vec<(String, String)>, AwsError> {
    block_on(async {
        let client = client().await;
        let mut policies = Vec::new();
        let mut pages = client.list_role_policies().role_name(name).into_paginator().send();
        while let Some(page) = pages.next().await {
            for policy in page.map_err(call("ListRolePolicies"))?.policy_names {
                let asked = client.get_role_policy().role_name(name).policy_name(&policy).send();
                let document = asked.await.map_err(call("GetRolePolicy"))?.policy_document;
                policies.push((policy, unquoted(&document)));
            }
        }
        let mut pages = client
            .list_attached_role_policies()
            .role_name(name)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let attached = page.map_err(call("ListAttachedRolePolicies"))?.attached_policies;
            for arn in attached
                .unwrap_or_default()
                .into_iter()
                .filter_map(|one| one.policy_arn)
            {
                let document = managed(&client, &arn).await?;
                policies.push((arn, document));
            }
        }
        Ok(policies)
    })
}

/// The version of a managed policy that is in force.
async fn managed(client: &Client, arn: &str) -> Result<String, AwsError> {
    let asked = client.get_policy().policy_arn(arn).send().await;
    let policy = asked.map_err(call("GetPolicy"))?.policy;
    let version = policy.and_then(|policy| policy.default_version_id);
    let version = version.ok_or(AwsError::Answer("GetPolicy"))?;
    let asked = client.get_policy_version().policy_arn(arn).version_id(version).send();
    let version = asked.await.map_err(call("GetPolicyVersion"))?.policy_version;
    let document = version.and_then(|version| version.document);
    document
        .map(|document| unquoted(&document))
        .ok_or(AwsError::Answer("GetPolicyVersion"))
}

/// What IAM makes of each of these actions on each of these resources, with everything that binds the role.
pub(crate) fn simulate(role_arn: &str, actions: &[&str], resources: &[String]) -> Result<Vec<Simulated>, AwsError> {
    block_on(async {
        let client = client().await;
        let asked = client
            .simulate_principal_policy()
            .policy_source_arn(role_arn)
            .set_action_names(Some(actions.iter().map(|action| (*action).to_owned()).collect()))
            .set_resource_arns(Some(resources.to_vec()));
        let mut pages = asked.into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let results = page.map_err(call("SimulatePrincipalPolicy"))?.evaluation_results;
            all.extend(results.unwrap_or_default().into_iter().map(|result| Simulated {
                verdict: match result.eval_decision {
                    PolicyEvaluationDecisionType::Allowed => Verdict::Allowed,
                    PolicyEvaluationDecisionType::ExplicitDeny | PolicyEvaluationDecisionType::ImplicitDeny
                        if result.missing_context_values.as_deref().unwrap_or_default().is_empty() =>
                    {
                        Verdict::Denied
                    }
                    _ => Verdict::Depends(result.missing_context_values.unwrap_or_default()),
                },
                action: result.eval_action_name,
                resource: result.eval_resource_name.unwrap_or_else(|| "*".to_owned()),
            }));
        }
        // Whoever answers less than was asked has not said no to the rest.
        let is_answered = |action: &&str| {
            all.iter()
                .any(|one: &Simulated| one.action.eq_ignore_ascii_case(action))
        };
        if actions.iter().all(is_answered) {
            Ok(all)
        } else {
            Err(AwsError::Answer("SimulatePrincipalPolicy"))
        }
    })
}

/// IAM is one for a whole partition; the region says which.
async fn client() -> Client {
    Client::new(&configuration(None).await)
}

/// Without the percent signs that IAM puts into documents (RFC 3986).
fn unquoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                let value = high.checked_mul(16).and_then(|high| high.checked_add(low));
                bytes.extend(value.and_then(|value| u8::try_from(value).ok()));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::unquoted;

    #[test]
    fn documents_come_quoted() {
        assert_eq!(unquoted("%7B%22A%22%3A%5B%5D%7D"), "{\"A\":[]}");
        assert_eq!(unquoted("{\"a%\":1}%2"), "{\"a%\":1}%2");
        assert_eq!(unquoted("%C3%A9"), "é");
    }
}
