//! Whether the instance's role could get certificates for keys of its own: by its policies, and by what IAM makes of them.
//!
//! Root on the parent has the role's credentials. What cannot be asked is said to be unknown, and never to be well.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Finding, Options, instance};
use crate::aws::{self, AwsError, Simulated, Verdict};
use crate::kms_policy::Document;
use crate::role_policy::{Danger, lint, resources};

pub(super) fn look(options: &Options) -> Vec<Finding> {
    let role = match &options.role {
        Some(role) => role.clone(),
        None => match instance::role() {
            Ok(role) => role,
            Err(error) => return vec![unknown(&format!("the metadata service names no role: {error}"))],
        },
    };
    let name = role.rsplit('/').next().unwrap_or(&role).to_owned();
    let arn = match role.starts_with("arn:") {
        true => Ok(role),
        false => aws::role_arn(&name),
    };
    match arn {
        Ok(arn) => of_role(&arn, &name),
        Err(error @ AwsError::NotBuilt) => vec![Finding::warning(
            AREA,
            format!("unknown: {error}"),
            "use a build with the feature aws",
        )],
        Err(error) => vec![unknown(&format!("of the role {name}: {error}"))],
    }
}

fn of_role(arn: &str, name: &str) -> Vec<Finding> {
    let (policies, mut findings) = match aws::role_policies(name).map(parsed) {
        Ok(Ok(policies)) => (policies, Vec::new()),
        Ok(Err(why)) => (Vec::new(), vec![unknown(&format!("a policy of {arn}: {why}"))]),
        Err(error) => (
            Vec::new(),
            vec![unknown(&format!(
                "the policies of {arn}, so nothing is known of rights on single zones and other single resources: {error}"
            ))],
        ),
    };
    let mut about: BTreeMap<Danger, Vec<String>> = BTreeMap::new();
    let (mut depends, mut unasked) = (Vec::new(), None);
    for danger in Danger::ALL.iter().filter(|danger| !danger.named().is_empty()) {
        match aws::simulate(arn, &danger.named(), &resources(&policies, *danger)) {
            Ok(said) => {
                let (allowed, open) = told(&said);
                if !allowed.is_empty() {
                    about.insert(*danger, allowed);
                }
                depends.extend(open);
            }
            Err(error) => unasked = Some(error),
        }
    }
    if let Some(error) = &unasked {
        // What the policies themselves say counts then: Deny of an organisation or a boundary may still take it back.
        about.extend(
            lint(&policies)
                .into_iter()
                .map(|finding| (finding.danger, finding.about)),
        );
        findings.push(unknown(&format!("what IAM makes of the policies of {arn}: {error}")));
    }
    if !depends.is_empty() {
        findings.push(unknown(&format!(
            "what depends on more than is known: {}",
            depends.join("; ")
        )));
    }
    if findings.is_empty() && about.is_empty() {
        findings.push(Finding::ok(
            AREA,
            format!("{arn} can get no certificate of its own, as far as IAM says"),
        ));
    }
    findings.extend(about.into_iter().map(of_danger));
    findings
}

fn of_danger((danger, about): (Danger, Vec<String>)) -> Finding {
    let found = format!("{}: {} ({})", danger.text(), danger.sentence(), about.join("; "));
    match danger.is_error() {
        true => Finding::error(AREA, found, danger.advice()),
        false => Finding::warning(AREA, found, danger.advice()),
    }
}

/// What is allowed, and what nobody can say without knowing more of a request.
fn told(said: &[Simulated]) -> (Vec<String>, Vec<String>) {
    let (mut allowed, mut depends) = (Vec::new(), Vec::new());
    for one in said {
        let what = format!("{} on {}", one.action, one.resource);
        match &one.verdict {
            Verdict::Allowed => allowed.push(what),
            Verdict::Denied => {}
            Verdict::Depends(keys) => depends.push(format!("{what} ({})", keys.join(", "))),
        }
    }
    (allowed, depends)
}

fn parsed(policies: Vec<(String, String)>) -> Result<Vec<(String, Document)>, String> {
    let one = |(name, text): (String, String)| match Document::parse(&text) {
        Ok(document) => Ok((name, document)),
        Err(error) => Err(format!("{}: {error}", Path::new(&name).display())),
    };
    policies.into_iter().map(one).collect()
}

/// Never a pass.
fn unknown(what: &str) -> Finding {
    Finding::warning(AREA, format!("unknown: {what}"), ASK)
}

const AREA: &str = "role";
const ASK: &str = "as an administrator who may ask IAM (iam:GetRole, iam:ListRolePolicies, iam:GetRolePolicy, iam:ListAttachedRolePolicies, \
                   iam:GetPolicy, iam:GetPolicyVersion, iam:SimulatePrincipalPolicy): enclave-tlsctl check --online --role ARN; or by files: \
                   enclave-tlsctl policy lint --iam FILE";
