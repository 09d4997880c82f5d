//! The AWS SDK for Rust works against the emulator.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use aws_sdk_acm::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_acm::error::ProvideErrorMetadata;
use aws_sdk_acm::operation::RequestId;
use aws_sdk_acm::types::{
    AcmeAccountStatus, AcmeAuthorizationBehavior, AcmeDomainValidationStatus, AcmeEndpointStatus, CertificateAuthority,
    DnsPrevalidationOptions, DomainScope, DomainScopeOption, Expiration, PrevalidationDetails, PrevalidationOptions,
    PublicCertificateAuthority, PublicKeyAlgorithm, TimeType,
};
use aws_sdk_acm::{Client, Config};
use emulator_acm::{AccountKey, Emulator, Principal, Registration};

struct Acm {
    emulator: Emulator,
    client: Client,
}

impl Acm {
    /// An emulator of these, with a principal that may do everything and one that may only list.
    fn start(config: impl FnOnce(&mut emulator_acm::Config)) -> Self {
        let mut made = emulator_acm::Config::new("us-east-1", "111122223333");
        let principal = |id: &str, may: Option<Vec<String>>| Principal {
            access_key_id: id.to_owned(),
            secret_access_key: format!("secret of {id}"),
            session_token: None,
            arn: format!("arn:aws:iam::111122223333:user/{id}"),
            may,
        };
        made.principals.push(principal("ADMIN", None));
        made.principals
            .push(principal("LISTER", Some(vec!["acm:ListAcmeEndpoints".to_owned()])));
        config(&mut made);
        let emulator = Emulator::start(&made).unwrap();
        let client = client(&emulator, "ADMIN");
        Self { emulator, client }
    }

    async fn endpoint(&self) -> String {
        let public = PublicCertificateAuthority::builder()
            .allowed_key_algorithms(PublicKeyAlgorithm::EcPrime256V1)
            .build();
        let made = self
            .client
            .create_acme_endpoint()
            .authorization_behavior(AcmeAuthorizationBehavior::PreApproved)
            .certificate_authority(CertificateAuthority::PublicCertificateAuthority(public))
            .send()
            .await
            .unwrap();
        made.acme_endpoint_arn.unwrap()
    }

    /// One that has become active.
    async fn active_endpoint(&self) -> String {
        let arn = self.endpoint().await;
        for expected in ["CREATING", "CREATING", "ACTIVE"] {
            let described = self
                .client
                .describe_acme_endpoint()
                .acme_endpoint_arn(&arn)
                .send()
                .await;
            let status = described.unwrap().acme_endpoint.unwrap().status.unwrap();
            assert_eq!(status.as_str(), expected);
        }
        arn
    }
}

fn client(emulator: &Emulator, id: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(id, format!("secret of {id}"), None, None, "test"))
        .endpoint_url(format!("http://{}", emulator.address()))
        .build();
    Client::from_conf(config)
}

#[tokio::test]
async fn an_endpoint_is_made_shown_listed_and_deleted() {
    let acm = Acm::start(|_| {});
    let arn = acm.active_endpoint().await;
    let shown = acm
        .client
        .describe_acme_endpoint()
        .acme_endpoint_arn(&arn)
        .send()
        .await
        .unwrap();
    let shown = shown.acme_endpoint.unwrap();
    let id = arn.rsplit('/').next().unwrap();
    let url = format!("https://acm-acme-enroll.us-east-1.api.aws/{id}/directory");
    assert_eq!(shown.endpoint_url.as_deref(), Some(url.as_str()));
    assert_eq!(shown.contact.unwrap().as_str(), "NOT_REQUIRED");
    for _ in 0..4 {
        acm.endpoint().await;
    }
    let pages = acm.client.list_acme_endpoints().into_paginator().items().send();
    assert_eq!(pages.collect::<Result<Vec<_>, _>>().await.unwrap().len(), 5);
    assert_eq!(acm.emulator.counters()["ListAcmeEndpoints"].requests, 3, "two a page");
    acm.client
        .delete_acme_endpoint()
        .acme_endpoint_arn(&arn)
        .send()
        .await
        .unwrap();
    let described = acm
        .client
        .describe_acme_endpoint()
        .acme_endpoint_arn(&arn)
        .send()
        .await
        .unwrap();
    assert_eq!(
        described.acme_endpoint.unwrap().status,
        Some(AcmeEndpointStatus::Deleting)
    );
    acm.client
        .describe_acme_endpoint()
        .acme_endpoint_arn(&arn)
        .send()
        .await
        .unwrap();
    let gone = acm
        .client
        .describe_acme_endpoint()
        .acme_endpoint_arn(&arn)
        .send()
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Some("ResourceNotFoundException"));
    assert!(gone.request_id().is_some());
}

#[tokio::test]
async fn a_domain_is_valid_when_its_record_stands_in_a_zone() {
    let acm = Acm::start(|_| {});
    let endpoint = acm.active_endpoint().await;
    let scope = DomainScope::builder().subdomains(DomainScopeOption::Enabled).build();
    let dns = DnsPrevalidationOptions::builder().domain_scope(scope).build();
    let create = || {
        acm.client
            .create_acme_domain_validation()
            .acme_endpoint_arn(&endpoint)
            .domain_name("a.example")
            .prevalidation_options(PrevalidationOptions::DnsPrevalidation(dns.clone()))
            .send()
    };
    let arn = create().await.unwrap().acme_domain_validation_arn;
    assert_eq!(
        create().await.unwrap_err().code(),
        Some("ConflictException"),
        "one each"
    );
    let show = async || {
        let shown = acm
            .client
            .describe_acme_domain_validation()
            .acme_domain_validation_arn(&arn);
        shown.send().await.unwrap().acme_domain_validation.unwrap()
    };
    for _ in 0..5 {
        assert_eq!(show().await.status, Some(AcmeDomainValidationStatus::Validating));
    }
    let Some(PrevalidationDetails::DnsPrevalidation(details)) = show().await.prevalidation_details else {
        panic!("no details");
    };
    assert_eq!(
        details.domain_scope.unwrap().wildcards,
        Some(DomainScopeOption::Disabled)
    );
    let record = details.resource_record.unwrap();
    acm.emulator.add_record(&record.name, &record.value);
    assert_eq!(show().await.status, Some(AcmeDomainValidationStatus::Valid));
    let gone = acm
        .client
        .delete_acme_endpoint()
        .acme_endpoint_arn(&endpoint)
        .send()
        .await;
    assert_eq!(gone.unwrap_err().code(), Some("ConflictException"), "it has a domain");
}

#[tokio::test]
async fn a_binding_has_the_servers_key_until_it_is_revoked() {
    let acm = Acm::start(|config| {
        let (key_id, mac_key) = (
            "kid-1".to_owned(),
            "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W".to_owned(),
        );
        config.account_keys = Some(vec![AccountKey { key_id, mac_key }]);
        config.directory = Some("https://localhost:14000/dir".to_owned());
    });
    let endpoint = acm.active_endpoint().await;
    let create = || {
        let expiration = Expiration::builder().value(7).r#type(TimeType::Days).build().unwrap();
        acm.client
            .create_acme_external_account_binding()
            .acme_endpoint_arn(&endpoint)
            .role_arn("arn:aws:iam::111122223333:role/acme")
            .expiration(expiration)
            .send()
    };
    let binding = create().await.unwrap().external_account_binding.unwrap();
    assert_eq!(
        binding.expires_at.unwrap().secs() - binding.created_at.unwrap().secs(),
        7 * 86_400
    );
    assert_eq!(
        create().await.unwrap_err().code(),
        Some("ServiceQuotaExceededException")
    );
    let arn = binding.acme_external_account_binding_arn.unwrap();
    let credentials = || {
        acm.client
            .get_acme_external_account_binding_credentials()
            .acme_external_account_binding_arn(&arn)
            .send()
    };
    assert_eq!(credentials().await.unwrap().key_id.as_deref(), Some("kid-1"));
    let registration = Registration {
        key_id: "kid-1".to_owned(),
        account_url: "https://localhost:14000/my-account/1".to_owned(),
        thumbprint: "t".to_owned(),
        contacts: Vec::new(),
    };
    acm.emulator.register(registration.clone()).unwrap();
    let revoke = || {
        acm.client
            .revoke_acme_external_account_binding()
            .acme_external_account_binding_arn(&arn)
            .send()
    };
    revoke().await.unwrap();
    assert_eq!(revoke().await.unwrap_err().code(), Some("ConflictException"));
    assert_eq!(credentials().await.unwrap_err().code(), Some("ValidationException"));
    assert!(acm.emulator.register(registration.clone()).is_err());

    // What was made by it stays, and is revoked by itself.
    let account = || {
        acm.client
            .describe_acme_account()
            .acme_endpoint_arn(&endpoint)
            .account_url(&registration.account_url)
            .send()
    };
    let shown = account().await.unwrap().acme_account.unwrap();
    assert_eq!(
        (shown.status, shown.acme_external_account_binding_arn),
        (Some(AcmeAccountStatus::Valid), Some(arn.clone()))
    );
    let revoke = acm.client.revoke_acme_account().acme_endpoint_arn(&endpoint);
    revoke.account_url(&registration.account_url).send().await.unwrap();
    let shown = account().await.unwrap().acme_account.unwrap();
    assert_eq!(shown.status, Some(AcmeAccountStatus::Revoked));
}

#[tokio::test]
async fn nothing_is_added_to_an_endpoint_that_is_not_active() {
    let acm = Acm::start(|config| config.failing_endpoints = Some("told so".to_owned()));
    let endpoint = acm.endpoint().await;
    let create = || {
        acm.client
            .create_acme_external_account_binding()
            .acme_endpoint_arn(&endpoint)
            .role_arn("arn:aws:iam::111122223333:role/acme")
            .send()
    };
    assert_eq!(create().await.unwrap_err().code(), Some("ConflictException"));
    for _ in 0..3 {
        acm.client
            .describe_acme_endpoint()
            .acme_endpoint_arn(&endpoint)
            .send()
            .await
            .unwrap();
    }
    let shown = acm
        .client
        .describe_acme_endpoint()
        .acme_endpoint_arn(&endpoint)
        .send()
        .await
        .unwrap();
    let shown = shown.acme_endpoint.unwrap();
    assert_eq!(
        (shown.status, shown.failure_reason.as_deref()),
        (Some(AcmeEndpointStatus::Failed), Some("told so"))
    );
    assert_eq!(create().await.unwrap_err().code(), Some("ConflictException"));
}

#[tokio::test]
async fn a_principal_does_what_it_may_and_nobody_signs_for_another_service() {
    let acm = Acm::start(|_| {});
    let lister = client(&acm.emulator, "LISTER");
    lister.list_acme_endpoints().send().await.unwrap();
    let refused = lister
        .describe_acme_endpoint()
        .acme_endpoint_arn("x")
        .send()
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Some("AccessDeniedException"));
    assert!(refused.message().unwrap().contains("acm:DescribeAcmeEndpoint"));
    let stranger = client(&acm.emulator, "NOBODY")
        .list_acme_endpoints()
        .send()
        .await
        .unwrap_err();
    assert_eq!(stranger.code(), Some("UnrecognizedClientException"));
}
