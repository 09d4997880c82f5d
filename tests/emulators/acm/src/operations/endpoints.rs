//! Endpoints: ACME servers of one's own.

use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{Asked, page};
use super::{Call, Reply};
use crate::error::AcmError;
use crate::shape::{Arn, Kind, Tag, one_of, required, tags};
use crate::store::{Endpoint, Phase, State, new_id};

/// Of the model's one member: serde takes exactly one, as AWS does.
#[derive(Deserialize)]
enum CertificateAuthority {
    PublicCertificateAuthority(PublicCertificateAuthority),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PublicCertificateAuthority {
    allowed_key_algorithms: Option<Vec<String>>,
}

impl CertificateAuthority {
    fn json(self) -> Result<Value, AcmError> {
        let Self::PublicCertificateAuthority(public) = self;
        let member = "certificateAuthority.publicCertificateAuthority.allowedKeyAlgorithms";
        let Some(algorithms) = public.allowed_key_algorithms else {
            return Ok(json!({ "PublicCertificateAuthority": {} }));
        };
        for algorithm in &algorithms {
            one_of(member, algorithm, &ALGORITHMS)?;
        }
        Ok(json!({ "PublicCertificateAuthority": { "AllowedKeyAlgorithms": algorithms } }))
    }
}

pub(super) fn create(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        idempotency_token: Option<String>,
        authorization_behavior: Option<String>,
        contact: Option<String>,
        certificate_authority: Option<CertificateAuthority>,
        tags: Option<Vec<Tag>>,
        certificate_tags: Option<Vec<Tag>>,
    }
    let input: Input = call.input()?;
    let behavior = required("authorizationBehavior", input.authorization_behavior)?;
    one_of("authorizationBehavior", &behavior, &BEHAVIORS)?;
    let contact = input.contact.unwrap_or_else(|| "NOT_REQUIRED".to_owned());
    one_of("contact", &contact, &CONTACTS)?;
    let certificate_authority = required("certificateAuthority", input.certificate_authority)?.json()?;
    tags(input.tags)?;
    let certificate_tags = match tags(input.certificate_tags)? {
        tags if tags.is_empty() => Value::Null,
        tags => json!(tags),
    };
    call.once("CreateAcmeEndpoint", input.idempotency_token, |state| {
        let (config, now, id) = (call.config(), call.now(), new_id()?);
        let (partition, region, account) = (config.partition(), &config.region, &config.account);
        let arn = format!("arn:{partition}:acm:{region}:{account}:acme-endpoint/{id}");
        let directory = format!("https://acm-acme-enroll.{region}.api.aws/{id}/directory");
        let endpoint = Endpoint {
            url: config.directory.clone().unwrap_or(directory),
            phase: Phase::Pending(config.looks),
            contact,
            certificate_authority,
            certificate_tags,
            created: now,
            updated: now,
            domains: Default::default(),
            bindings: Default::default(),
            accounts: Default::default(),
        };
        state.endpoints.insert(arn.clone(), endpoint);
        Ok(json!({ "AcmeEndpointArn": arn }))
    })
}

pub(super) fn describe(call: &Call<'_>) -> Reply {
    let arn = named(call)?.text;
    let mut state = call.state();
    look(call, &mut state, &arn);
    Ok(json!({ "AcmeEndpoint": state.endpoint(&arn)?.json(&arn) }))
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    let Input {
        next_token,
        max_results,
    } = call.input()?;
    let state = call.state();
    let all = state.endpoints.iter().map(|(arn, endpoint)| endpoint.json(arn));
    let asked = Asked {
        next_token,
        max_results,
    };
    page(call, "AcmeEndpoints", &asked, all.collect())
}

pub(super) fn update(call: &Call<'_>) -> Reply {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        acme_endpoint_arn: Option<String>,
        authorization_behavior: Option<String>,
        contact: Option<String>,
        certificate_authority: Option<CertificateAuthority>,
    }
    let input: Input = call.input()?;
    let arn = Arn::parse(Kind::Endpoint, input.acme_endpoint_arn)?.text;
    if let Some(behavior) = &input.authorization_behavior {
        one_of("authorizationBehavior", behavior, &BEHAVIORS)?;
    }
    if let Some(contact) = &input.contact {
        one_of("contact", contact, &CONTACTS)?;
    }
    let authority = input
        .certificate_authority
        .map(CertificateAuthority::json)
        .transpose()?;
    let mut state = call.state();
    let endpoint = state.endpoint(&arn)?;
    active(endpoint, &arn)?;
    endpoint.contact = input.contact.unwrap_or_else(|| endpoint.contact.clone());
    endpoint.certificate_authority = authority.unwrap_or_else(|| endpoint.certificate_authority.clone());
    endpoint.updated = call.now();
    Ok(Value::Null)
}

/// What is not there is deleted already: the model has no refusal for it.
pub(super) fn delete(call: &Call<'_>) -> Reply {
    let arn = named(call)?.text;
    let (mut state, now) = (call.state(), call.now());
    let Some(endpoint) = state.endpoints.get_mut(&arn) else {
        return Ok(Value::Null);
    };
    if matches!(endpoint.phase, Phase::Pending(_) | Phase::Deleting(_)) {
        return Err(AcmError::conflict(format!("{arn} is being created or deleted.")));
    }
    if !endpoint.domains.is_empty() || endpoint.bindings.values().any(|binding| binding.is_usable(now)) {
        let message = format!("{arn} has domain validations or external account bindings.");
        return Err(AcmError::conflict(message));
    }
    endpoint.phase = Phase::Deleting(call.config().looks);
    Ok(Value::Null)
}

/// What was begun goes on by being looked at.
pub(super) fn look(call: &Call<'_>, state: &mut State, arn: &str) {
    let Some(endpoint) = state.endpoints.get_mut(arn) else {
        return;
    };
    match endpoint.phase.next(true, call.config().failing_endpoints.as_ref()) {
        Some(phase) => endpoint.phase = phase,
        None => drop(state.endpoints.remove(arn)),
    }
}

/// Nothing is added to an endpoint that is not `ACTIVE`.
pub(super) fn active(endpoint: &Endpoint, arn: &str) -> Result<(), AcmError> {
    match endpoint.phase {
        Phase::Ready => Ok(()),
        Phase::Pending(_) | Phase::Failed(_) | Phase::Deleting(_) => {
            Err(AcmError::conflict(format!("{arn} is not ACTIVE.")))
        }
    }
}

fn named(call: &Call<'_>) -> Result<Arn, AcmError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase", deny_unknown_fields)]
    struct Input {
        acme_endpoint_arn: Option<String>,
    }
    Arn::parse(Kind::Endpoint, call.input::<Input>()?.acme_endpoint_arn)
}

const BEHAVIORS: [&str; 1] = ["PRE_APPROVED"];
const CONTACTS: [&str; 2] = ["REQUIRED", "NOT_REQUIRED"];
const ALGORITHMS: [&str; 3] = ["RSA_2048", "EC_prime256v1", "EC_secp384r1"];
