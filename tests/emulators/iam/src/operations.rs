//! The operations, with the parameters that each has.

use crate::Inside;
use crate::answer::{Refused, element, list, quoted, whole};
use crate::request::Request;
use crate::simulate;

/// The answer to a request, if the asker may have one.
pub(crate) fn answer(inside: &Inside, request: &Request<'_>) -> Result<String, Refused> {
    let operation = request.operation.as_str();
    if !request.asker.may.iter().any(|may| may == operation) {
        return Err(Refused::new(
            403,
            "AccessDenied",
            format!(
                "User: {} is not authorized to perform: iam:{operation} because no identity-based policy allows the iam:{operation} action",
                request.asker.arn
            ),
        ));
    }
    let mut rest = Request {
        asker: request.asker,
        operation: request.operation.clone(),
        parameters: request.parameters.clone(),
    };
    let result = match operation {
        "GetRole" => get_role(inside, &mut rest),
        "ListRolePolicies" => list_role_policies(inside, &mut rest),
        "GetRolePolicy" => get_role_policy(inside, &mut rest),
        "ListAttachedRolePolicies" => list_attached(inside, &mut rest),
        "GetPolicy" => get_policy(inside, &mut rest),
        "GetPolicyVersion" => get_policy_version(inside, &mut rest),
        "SimulatePrincipalPolicy" => simulate::answer(&inside.account, &mut rest),
        other => Err(Refused::new(
            400,
            "InvalidAction",
            format!("Could not find operation {other}"),
        )),
    }?;
    match rest.parameters.keys().next() {
        Some(unknown) => Err(Refused::new(
            400,
            "ValidationError",
            format!("{operation} has no parameter {unknown}"),
        )),
        None => Ok(whole(operation, &result)),
    }
}

fn get_role(inside: &Inside, request: &mut Request<'_>) -> Result<String, Refused> {
    let role = role(inside, request)?;
    Ok(format!(
        "<Role>{}{}{}{}{}</Role>",
        element("Path", &role.path),
        element("RoleName", &role.name),
        element("RoleId", "AROAEXAMPLEEXAMPLE123"),
        element("Arn", &inside.account.arn(role)),
        element("CreateDate", "2026-01-01T00:00:00Z"),
    ))
}

fn list_role_policies(inside: &Inside, request: &mut Request<'_>) -> Result<String, Refused> {
    let role = role(inside, request)?;
    let names = role.inline.keys().map(|name| crate::answer::text(name));
    Ok(list("PolicyNames", names) + &element("IsTruncated", "false"))
}

fn get_role_policy(inside: &Inside, request: &mut Request<'_>) -> Result<String, Refused> {
    let role = role(inside, request)?;
    let name = wanted(request, "PolicyName")?;
    let document = role.inline.get(&name).ok_or_else(|| none(&name))?;
    Ok(element("RoleName", &role.name) + &element("PolicyName", &name) + &element("PolicyDocument", &quoted(document)))
}

fn list_attached(inside: &Inside, request: &mut Request<'_>) -> Result<String, Refused> {
    let role = role(inside, request)?;
    let one = |arn: &String| {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        element("PolicyName", name) + &element("PolicyArn", arn)
    };
    Ok(list("AttachedPolicies", role.attached.keys().map(one)) + &element("IsTruncated", "false"))
}

fn get_policy(inside: &Inside, request: &mut Request<'_>) -> Result<String, Refused> {
    let arn = wanted(request, "PolicyArn")?;
    inside.account.managed(&arn).ok_or_else(|| none(&arn))?;
    let name = arn.rsplit('/').next().unwrap_or(&arn).to_owned();
    Ok(format!(
        "<Policy>{}{}{}</Policy>",
        element("PolicyName", &name),
        element("Arn", &arn),
        element("DefaultVersionId", VERSION)
    ))
}

fn get_policy_version(inside: &Inside, request: &mut Request<'_>) -> Result<String, Refused> {
    let arn = wanted(request, "PolicyArn")?;
    let version = wanted(request, "VersionId")?;
    let document = inside.account.managed(&arn).filter(|_| version == VERSION);
    let document = document.ok_or_else(|| none(&format!("{arn} version {version}")))?;
    Ok(format!(
        "<PolicyVersion>{}{}{}</PolicyVersion>",
        element("Document", &quoted(document)),
        element("VersionId", VERSION),
        element("IsDefaultVersion", "true")
    ))
}

fn role<'a>(inside: &'a Inside, request: &mut Request<'_>) -> Result<&'a crate::Role, Refused> {
    let name = wanted(request, "RoleName")?;
    inside
        .account
        .role(&name)
        .ok_or_else(|| none(&format!("The role with name {name}")))
}

pub(crate) fn wanted(request: &mut Request<'_>, name: &str) -> Result<String, Refused> {
    let value = request.parameters.remove(name);
    value.ok_or_else(|| Refused::new(400, "ValidationError", format!("{name} is missing")))
}

pub(crate) fn none(what: &str) -> Refused {
    Refused::new(404, "NoSuchEntity", format!("{what} cannot be found."))
}

/// The one in force: not the first, so that whoever takes that one finds nothing.
const VERSION: &str = "v3";
