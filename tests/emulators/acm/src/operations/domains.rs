//! Domain validations: what an endpoint may issue for.

use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{Asked, page};
use super::{Call, Reply, endpoints};
use crate::error::AcmError;
use crate::shape::{Arn, Kind, Tag, domain, hosted_zone, one_of, required, tags};
use crate::store::{Domain, Phase, State, new_id};

/// Of the model's one member.
#[derive(Deserialize)]
enum PrevalidationOptions {
    DnsPrevalidation(DnsPrevalidation),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DnsPrevalidation {
    domain_scope: Option<DomainScope>,
    hosted_zone_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DomainScope {
    exact_domain: Option<String>,
    subdomains: Option<String>,
    wildcards: Option<String>,
}

impl DomainScope {
    /// Each of the three, `DISABLED` where it was not said. A validation for nothing is refused.
    fn json(self) -> Result<Value, AcmError> {
        let disabled = || "DISABLED".to_owned();
        let parts = [self.exact_domain, self.subdomains, self.wildcards].map(|part| part.unwrap_or_else(disabled));
        for part in &parts {
            one_of(
                "prevalidationOptions.dnsPrevalidation.domainScope",
                part,
                &["ENABLED", "DISABLED"],
            )?;
        }
        if parts.iter().all(|part| part == "DISABLED") {
            return Err(AcmError::validation("A domain scope must enable something."));
        }
        let [exact, subdomains, wildcards] = parts;
        Ok(json!({ "ExactDomain": exact, "Subdomains": subdomains, "Wildcards": wildcards }))
    }
}

/// Scope and zone.
fn options(options: PrevalidationOptions) -> Result<(Value, Option<String>), AcmError> {
    let PrevalidationOptions::DnsPrevalidation(dns) = options;
    let scope = dns.domain_scope.unwrap_or(DomainScope {
        exact_domain: Some("ENABLED".to_owned()),
        subdomains: None,
        wildcards: None,
    });
    Ok((scope.json()?, hosted_zone(dns.hosted_zone_id)?))
}

pub(super) fn create(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        idempotency_token: Option<String>,
        acme_endpoint_arn: Option<String>,
        domain_name: Option<String>,
        prevalidation_options: Option<PrevalidationOptions>,
        tags: Option<Vec<Tag>>,
    }
    let input: Input = call.input()?;
    let endpoint_arn = Arn::parse(Kind::Endpoint, input.acme_endpoint_arn)?.text;
    let name = domain(input.domain_name)?;
    let (scope, hosted_zone) = options(required("prevalidationOptions", input.prevalidation_options)?)?;
    tags(input.tags)?;
    call.once("CreateAcmeDomainValidation", input.idempotency_token, |state| {
        let (now, id) = (call.now(), new_id()?);
        let endpoint = state.endpoint(&endpoint_arn)?;
        endpoints::active(endpoint, &endpoint_arn)?;
        if endpoint.domains.values().any(|domain| domain.name == name) {
            return Err(AcmError::conflict(format!("{name} has a validation at this endpoint.")));
        }
        let arn = format!("{endpoint_arn}/acme-domain-validation/{id}");
        let record = (format!("_{id}.{name}."), format!("_{id}.acm-validations.aws."));
        let made = Domain {
            name,
            scope,
            hosted_zone,
            record,
            phase: Phase::Pending(call.config().looks),
            created: now,
            updated: now,
        };
        endpoint.domains.insert(arn.clone(), made);
        Ok(json!({ "AcmeDomainValidationArn": arn }))
    })
}

pub(super) fn describe(call: &Call<'_>) -> Reply {
    let arn = named(call)?;
    let mut state = call.state();
    look(call, &mut state, &arn);
    Ok(json!({ "AcmeDomainValidation": found(&mut state, &arn)?.json(&arn.text, &arn.endpoint) }))
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        next_token: Option<String>,
        max_results: Option<i64>,
        acme_endpoint_arn: Option<String>,
    }
    let input: Input = call.input()?;
    let endpoint = Arn::parse(Kind::Endpoint, input.acme_endpoint_arn)?.text;
    let mut state = call.state();
    let domains = state.endpoint(&endpoint)?.domains.iter();
    let all = domains.map(|(arn, domain)| domain.json(arn, &endpoint)).collect();
    let asked = Asked {
        next_token: input.next_token,
        max_results: input.max_results,
    };
    page(call, "AcmeDomainValidations", &asked, all)
}

pub(super) fn update(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        acme_domain_validation_arn: Option<String>,
        prevalidation_options: Option<PrevalidationOptions>,
    }
    let input: Input = call.input()?;
    let arn = Arn::parse(Kind::Domain, input.acme_domain_validation_arn)?;
    let changed = input.prevalidation_options.map(options).transpose()?;
    let mut state = call.state();
    let domain = found(&mut state, &arn)?;
    if matches!(domain.phase, Phase::Pending(_) | Phase::Deleting(_)) {
        return Err(AcmError::conflict(format!(
            "{} is being validated or deleted.",
            arn.text
        )));
    }
    if let Some((scope, zone)) = changed {
        domain.scope = scope;
        domain.hosted_zone = zone.or_else(|| domain.hosted_zone.clone());
    }
    domain.updated = call.now();
    Ok(Value::Null)
}

/// What is not there is deleted already: the model has no refusal for it.
pub(super) fn delete(call: &Call<'_>) -> Reply {
    let arn = named(call)?;
    let mut state = call.state();
    let Ok(domain) = found(&mut state, &arn) else {
        return Ok(Value::Null);
    };
    if matches!(domain.phase, Phase::Deleting(_)) {
        return Err(AcmError::conflict(format!("{} is being deleted.", arn.text)));
    }
    domain.phase = Phase::Deleting(call.config().looks);
    Ok(Value::Null)
}

/// A validation ends when its CNAME stands in a zone; ACM writes it itself into a hosted zone that it was given.
fn look(call: &Call<'_>, state: &mut State, arn: &Arn) {
    let State { endpoints, records, .. } = state;
    let Some(endpoint) = endpoints.get_mut(&arn.endpoint) else {
        return;
    };
    let Some(domain) = endpoint.domains.get_mut(&arn.text) else {
        return;
    };
    let is_proven = domain.hosted_zone.is_some() || records.contains(&domain.record);
    match domain
        .phase
        .next(is_proven, call.config().failing_domains.get(&domain.name))
    {
        Some(phase) => domain.phase = phase,
        None => drop(endpoint.domains.remove(&arn.text)),
    }
}

fn found<'s>(state: &'s mut State, arn: &Arn) -> Result<&'s mut Domain, AcmError> {
    let missing = || AcmError::not_found("ACME domain validation", &arn.text);
    let endpoint = state.endpoints.get_mut(&arn.endpoint).ok_or_else(missing)?;
    endpoint.domains.get_mut(&arn.text).ok_or_else(missing)
}

fn named(call: &Call<'_>) -> Result<Arn, AcmError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        acme_domain_validation_arn: Option<String>,
    }
    Arn::parse(Kind::Domain, call.input::<Input>()?.acme_domain_validation_arn)
}
