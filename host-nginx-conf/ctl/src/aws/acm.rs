//! ACM's ACME endpoints, by the AWS SDK: what of them an administrator sees and does.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_acm::Client;
use aws_sdk_acm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_acm::types::{
    AcmeAccount, AcmeAccountSummary, AcmeAuthorizationBehavior, AcmeContact, AcmeDomainValidation,
    AcmeDomainValidationSummary, AcmeEndpoint, AcmeEndpointSummary, AcmeExternalAccountBinding,
    AcmeExternalAccountBindingSummary, CertificateAuthority, DnsPrevalidationOptions, DomainScope, DomainScopeOption,
    Expiration, FailureDetails, PrevalidationDetails, PrevalidationOptions, PublicCertificateAuthority,
    PublicKeyAlgorithm, TimeType,
};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use super::{AwsError, in_short};
use crate::time;

/// ACM in one region, asked by one thread for as long as a call takes.
pub(crate) struct Acm {
    client: Client,
    runtime: Runtime,
}

/// An ACME server of one's own.
#[derive(Debug, Serialize)]
pub(crate) struct Endpoint {
    pub(crate) arn: String,
    pub(crate) directory: Option<String>,
    pub(crate) status: String,
    pub(crate) failure: Option<String>,
    pub(crate) contact_required: bool,
    pub(crate) key_algorithms: Vec<String>,
    pub(crate) created: Option<String>,
}

/// What an endpoint may issue for.
#[derive(Debug, Serialize)]
pub(crate) struct Domain {
    pub(crate) arn: String,
    pub(crate) domain: String,
    pub(crate) status: String,
    pub(crate) failure: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) hosted_zone: Option<String>,
    pub(crate) record: Option<Record>,
    pub(crate) created: Option<String>,
}

/// For which names of a domain.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Scope {
    pub(crate) exact: bool,
    pub(crate) subdomains: bool,
    pub(crate) wildcards: bool,
}

/// The CNAME by which ACM knows whose a domain is.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// What lets a client make an account.
#[derive(Debug, Serialize)]
pub(crate) struct Binding {
    pub(crate) arn: String,
    pub(crate) role: Option<String>,
    pub(crate) created: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) revoked: Option<String>,
    pub(crate) last_used: Option<String>,
}

/// An account, and whose key it has.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) url: String,
    pub(crate) status: String,
    pub(crate) thumbprint: Option<String>,
    pub(crate) binding: Option<String>,
    pub(crate) contacts: Vec<String>,
    pub(crate) created: Option<String>,
}

/// A binding's key: no `Debug`, and the MAC key is wiped.
pub(crate) struct Credentials {
    pub(crate) kid: String,
    pub(crate) mac_key: Zeroizing<String>,
}

/// How long a binding is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    Minutes(i64),
    Hours(i64),
    Days(i64),
}

impl Acm {
    /// In this region; none: in that of the environment or the profile.
    pub(crate) fn new(region: Option<&str>) -> Result<Self, AwsError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(AwsError::Runtime)?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let client = Client::new(&runtime.block_on(loader.load()));
        Ok(Self { client, runtime })
    }

    pub(crate) fn create_endpoint(&self, contact_required: bool, algorithms: &[String]) -> Result<String, AwsError> {
        let contact = match contact_required {
            true => AcmeContact::Required,
            false => AcmeContact::NotRequired,
        };
        let algorithms: Vec<_> = algorithms
            .iter()
            .map(|name| PublicKeyAlgorithm::from(name.as_str()))
            .collect();
        let public = PublicCertificateAuthority::builder()
            .set_allowed_key_algorithms((!algorithms.is_empty()).then_some(algorithms))
            .build();
        let ask = self
            .client
            .create_acme_endpoint()
            .authorization_behavior(AcmeAuthorizationBehavior::PreApproved)
            .contact(contact)
            .certificate_authority(CertificateAuthority::PublicCertificateAuthority(public));
        let made = self
            .runtime
            .block_on(ask.send())
            .map_err(refused("CreateAcmeEndpoint"))?;
        made.acme_endpoint_arn.ok_or(AwsError::Answer("CreateAcmeEndpoint"))
    }

    pub(crate) fn endpoint(&self, arn: &str) -> Result<Endpoint, AwsError> {
        let ask = self.client.describe_acme_endpoint().acme_endpoint_arn(arn);
        let shown = self
            .runtime
            .block_on(ask.send())
            .map_err(refused("DescribeAcmeEndpoint"))?;
        shown
            .acme_endpoint
            .map(Endpoint::from)
            .ok_or(AwsError::Answer("DescribeAcmeEndpoint"))
    }

    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, AwsError> {
        let pages = self.client.list_acme_endpoints().into_paginator().items().send();
        let all = self.runtime.block_on(pages.collect::<Result<Vec<_>, _>>());
        Ok(all
            .map_err(refused("ListAcmeEndpoints"))?
            .into_iter()
            .map(Endpoint::from)
            .collect())
    }

    pub(crate) fn delete_endpoint(&self, arn: &str) -> Result<(), AwsError> {
        let ask = self.client.delete_acme_endpoint().acme_endpoint_arn(arn);
        self.runtime
            .block_on(ask.send())
            .map_err(refused("DeleteAcmeEndpoint"))?;
        Ok(())
    }

    pub(crate) fn create_domain(
        &self,
        endpoint: &str,
        domain: &str,
        scope: Scope,
        zone: Option<&str>,
    ) -> Result<String, AwsError> {
        let option = |enabled| match enabled {
            true => DomainScopeOption::Enabled,
            false => DomainScopeOption::Disabled,
        };
        let scope = DomainScope::builder()
            .exact_domain(option(scope.exact))
            .subdomains(option(scope.subdomains))
            .wildcards(option(scope.wildcards))
            .build();
        let dns = DnsPrevalidationOptions::builder()
            .domain_scope(scope)
            .set_hosted_zone_id(zone.map(str::to_owned))
            .build();
        let ask = self
            .client
            .create_acme_domain_validation()
            .acme_endpoint_arn(endpoint)
            .domain_name(domain)
            .prevalidation_options(PrevalidationOptions::DnsPrevalidation(dns));
        let made = self.runtime.block_on(ask.send());
        Ok(made
            .map_err(refused("CreateAcmeDomainValidation"))?
            .acme_domain_validation_arn)
    }

    pub(crate) fn domain(&self, arn: &str) -> Result<Domain, AwsError> {
        let ask = self
            .client
            .describe_acme_domain_validation()
            .acme_domain_validation_arn(arn);
        let shown = self
            .runtime
            .block_on(ask.send())
            .map_err(refused("DescribeAcmeDomainValidation"))?;
        let shown = shown.acme_domain_validation.map(Domain::from);
        shown.ok_or(AwsError::Answer("DescribeAcmeDomainValidation"))
    }

    pub(crate) fn domains(&self, endpoint: &str) -> Result<Vec<Domain>, AwsError> {
        let ask = self.client.list_acme_domain_validations().acme_endpoint_arn(endpoint);
        let all = self
            .runtime
            .block_on(ask.into_paginator().items().send().collect::<Result<Vec<_>, _>>());
        let all = all.map_err(refused("ListAcmeDomainValidations"))?;
        Ok(all.into_iter().map(Domain::from).collect())
    }

    pub(crate) fn delete_domain(&self, arn: &str) -> Result<(), AwsError> {
        let ask = self
            .client
            .delete_acme_domain_validation()
            .acme_domain_validation_arn(arn);
        self.runtime
            .block_on(ask.send())
            .map_err(refused("DeleteAcmeDomainValidation"))?;
        Ok(())
    }

    pub(crate) fn create_binding(&self, endpoint: &str, role: &str, lasts: Option<Lasts>) -> Result<Binding, AwsError> {
        let expiration = lasts.map(Lasts::expiration).transpose()?;
        let ask = self
            .client
            .create_acme_external_account_binding()
            .acme_endpoint_arn(endpoint)
            .role_arn(role)
            .set_expiration(expiration);
        let made = self
            .runtime
            .block_on(ask.send())
            .map_err(refused("CreateAcmeExternalAccountBinding"))?;
        let made = made.external_account_binding.map(Binding::from);
        made.ok_or(AwsError::Answer("CreateAcmeExternalAccountBinding"))
    }

    pub(crate) fn binding(&self, arn: &str) -> Result<Binding, AwsError> {
        let ask = self
            .client
            .describe_acme_external_account_binding()
            .acme_external_account_binding_arn(arn);
        let shown = self.runtime.block_on(ask.send());
        let shown = shown.map_err(refused("DescribeAcmeExternalAccountBinding"))?;
        let shown = shown.external_account_binding.map(Binding::from);
        shown.ok_or(AwsError::Answer("DescribeAcmeExternalAccountBinding"))
    }

    pub(crate) fn bindings(&self, endpoint: &str) -> Result<Vec<Binding>, AwsError> {
        let ask = self
            .client
            .list_acme_external_account_bindings()
            .acme_endpoint_arn(endpoint);
        let all = self
            .runtime
            .block_on(ask.into_paginator().items().send().collect::<Result<Vec<_>, _>>());
        let all = all.map_err(refused("ListAcmeExternalAccountBindings"))?;
        Ok(all.into_iter().map(Binding::from).collect())
    }

    pub(crate) fn revoke_binding(&self, arn: &str) -> Result<(), AwsError> {
        let ask = self
            .client
            .revoke_acme_external_account_binding()
            .acme_external_account_binding_arn(arn);
        self.runtime
            .block_on(ask.send())
            .map_err(refused("RevokeAcmeExternalAccountBinding"))?;
        Ok(())
    }

    pub(crate) fn delete_binding(&self, arn: &str) -> Result<(), AwsError> {
        let ask = self
            .client
            .delete_acme_external_account_binding()
            .acme_external_account_binding_arn(arn);
        self.runtime
            .block_on(ask.send())
            .map_err(refused("DeleteAcmeExternalAccountBinding"))?;
        Ok(())
    }

    /// The SDK's own copies of the answer, on their way out of TLS, are not wiped.
    pub(crate) fn credentials(&self, arn: &str) -> Result<Credentials, AwsError> {
        const OPERATION: &str = "GetAcmeExternalAccountBindingCredentials";
        let ask = self
            .client
            .get_acme_external_account_binding_credentials()
            .acme_external_account_binding_arn(arn);
        let given = self.runtime.block_on(ask.send()).map_err(refused(OPERATION))?;
        let mac_key = given.mac_key.map(Zeroizing::new).ok_or(AwsError::Answer(OPERATION))?;
        let kid = given.key_id.ok_or(AwsError::Answer(OPERATION))?;
        Ok(Credentials { kid, mac_key })
    }

    pub(crate) fn account(&self, endpoint: &str, url: &str) -> Result<Account, AwsError> {
        let ask = self
            .client
            .describe_acme_account()
            .acme_endpoint_arn(endpoint)
            .account_url(url);
        let shown = self
            .runtime
            .block_on(ask.send())
            .map_err(refused("DescribeAcmeAccount"))?;
        shown
            .acme_account
            .map(Account::from)
            .ok_or(AwsError::Answer("DescribeAcmeAccount"))
    }

    pub(crate) fn accounts(&self, endpoint: &str) -> Result<Vec<Account>, AwsError> {
        let ask = self.client.list_acme_accounts().acme_endpoint_arn(endpoint);
        let all = self
            .runtime
            .block_on(ask.into_paginator().items().send().collect::<Result<Vec<_>, _>>());
        Ok(all
            .map_err(refused("ListAcmeAccounts"))?
            .into_iter()
            .map(Account::from)
            .collect())
    }

    pub(crate) fn revoke_account(&self, endpoint: &str, url: &str) -> Result<(), AwsError> {
        let ask = self
            .client
            .revoke_acme_account()
            .acme_endpoint_arn(endpoint)
            .account_url(url);
        self.runtime
            .block_on(ask.send())
            .map_err(refused("RevokeAcmeAccount"))?;
        Ok(())
    }
}

impl Lasts {
    fn expiration(self) -> Result<Expiration, AwsError> {
        let (value, unit) = match self {
            Self::Minutes(value) => (value, TimeType::Minutes),
            Self::Hours(value) => (value, TimeType::Hours),
            Self::Days(value) => (value, TimeType::Days),
        };
        let built = Expiration::builder().value(value).r#type(unit).build();
        built.map_err(|_| AwsError::Answer("CreateAcmeExternalAccountBinding"))
    }
}

/// The model describes each thing twice, once for `Describe…` and once for `List…`, with the same members.
macro_rules! both {
    ($into:ident from $one:ident and $other:ident, |$it:ident| $made:expr) => {
        impl From<$one> for $into {
            fn from($it: $one) -> Self {
                $made
            }
        }

        impl From<$other> for $into {
            fn from($it: $other) -> Self {
                $made
            }
        }
    };
}

both!(Endpoint from AcmeEndpoint and AcmeEndpointSummary, |it| Self {
    key_algorithms: algorithms(it.certificate_authority.as_ref()),
    arn: it.acme_endpoint_arn.unwrap_or_default(),
    directory: it.endpoint_url,
    status: it.status.map_or_else(unknown, |status| status.as_str().to_owned()),
    failure: it.failure_reason,
    contact_required: it.contact == Some(AcmeContact::Required),
    created: it.created_at.map(|moment| time::utc(moment.secs())),
});

both!(Domain from AcmeDomainValidation and AcmeDomainValidationSummary, |it| {
    let (scope, hosted_zone, record) = details(it.prevalidation_details);
    Self {
        arn: it.acme_domain_validation_arn.unwrap_or_default(),
        domain: it.domain_name.unwrap_or_default(),
        status: it.status.map_or_else(unknown, |status| status.as_str().to_owned()),
        failure: it.failure_details.map(failure),
        scope,
        hosted_zone,
        record,
        created: it.created_at.map(|moment| time::utc(moment.secs())),
    }
});

both!(Binding from AcmeExternalAccountBinding and AcmeExternalAccountBindingSummary, |it| Self {
    arn: it.acme_external_account_binding_arn.unwrap_or_default(),
    role: it.role_arn,
    created: it.created_at.map(|moment| time::utc(moment.secs())),
    expires: it.expires_at.map(|moment| time::utc(moment.secs())),
    revoked: it.revoked_at.map(|moment| time::utc(moment.secs())),
    last_used: it.last_used_at.map(|moment| time::utc(moment.secs())),
});

both!(Account from AcmeAccount and AcmeAccountSummary, |it| Self {
    url: it.account_url.unwrap_or_default(),
    status: it.status.map_or_else(unknown, |status| status.as_str().to_owned()),
    thumbprint: it.public_key_thumbprint,
    binding: it.acme_external_account_binding_arn,
    contacts: it.contacts.unwrap_or_default(),
    created: it.created_at.map(|moment| time::utc(moment.secs())),
});

fn algorithms(authority: Option<&CertificateAuthority>) -> Vec<String> {
    let public = authority.and_then(|authority| authority.as_public_certificate_authority().ok());
    let algorithms = public
        .map(PublicCertificateAuthority::allowed_key_algorithms)
        .unwrap_or_default();
    algorithms
        .iter()
        .map(|algorithm| algorithm.as_str().to_owned())
        .collect()
}

fn details(details: Option<PrevalidationDetails>) -> (Scope, Option<String>, Option<Record>) {
    let Some(PrevalidationDetails::DnsPrevalidation(dns)) = details else {
        return (Scope::default(), None, None);
    };
    let enabled = |option: Option<&DomainScopeOption>| option == Some(&DomainScopeOption::Enabled);
    let scope = dns.domain_scope.map_or_else(Scope::default, |scope| Scope {
        exact: enabled(scope.exact_domain()),
        subdomains: enabled(scope.subdomains()),
        wildcards: enabled(scope.wildcards()),
    });
    let record = dns.resource_record.map(|record| Record {
        name: record.name,
        value: record.value,
    });
    (scope, dns.hosted_zone_id, record)
}

fn failure(details: FailureDetails) -> String {
    let reason = details.reason.map_or_else(unknown, |reason| reason.as_str().to_owned());
    match details.message {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What ACM says, where it was ACM that refused; else what became of the connection.
fn refused<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> AwsError
where
    SdkError<E, R>: std::error::Error + ProvideErrorMetadata,
{
    move |error| match (error.code(), error.message()) {
        (Some(code), message) => AwsError::Refused {
            operation,
            code: code.to_owned(),
            message: message.unwrap_or_default().to_owned(),
        },
        (None, _) => AwsError::Call {
            operation,
            why: in_short(&error),
        },
    }
}
