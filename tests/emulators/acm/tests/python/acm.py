"""boto3 against the stand-in for ACM: every operation of the model with ACME in its name is there, and refuses what the model refuses.

usage: acm.py ENDPOINT ADMIN
"""

import json
import sys
import urllib.request

import boto3
import botocore.config
import botocore.exceptions

ENDPOINT, ADMIN = sys.argv[1], sys.argv[2]
PUBLIC = {"PublicCertificateAuthority": {"AllowedKeyAlgorithms": ["EC_prime256v1"]}}
ROLE = "arn:aws:iam::111122223333:role/acme"


def main():
    acm = client(parameter_validation=True)
    arn = acm.create_acme_endpoint(AuthorizationBehavior="PRE_APPROVED", CertificateAuthority=PUBLIC)["AcmeEndpointArn"]
    wait(lambda: acm.describe_acme_endpoint(AcmeEndpointArn=arn)["AcmeEndpoint"], "ACTIVE")
    acm.update_acme_endpoint(AcmeEndpointArn=arn, Contact="REQUIRED")
    domain = domains(acm, arn)
    binding = bindings(acm, arn)
    idempotency(acm, arn)
    every_operation_is_there(acm.meta.service_model)
    what_the_model_refuses(client(parameter_validation=False), arn, domain, binding)
    print("agreed")


def client(parameter_validation):
    return boto3.client(
        "acm",
        region_name="eu-west-1",
        endpoint_url=ENDPOINT,
        aws_access_key_id="ADMIN",
        aws_secret_access_key="secret",
        config=botocore.config.Config(retries={"max_attempts": 0}, parameter_validation=parameter_validation),
    )


def domains(acm, arn):
    zone = {"DnsPrevalidation": {"HostedZoneId": "Z0123", "DomainScope": {"ExactDomain": "ENABLED"}}}
    domain = acm.create_acme_domain_validation(AcmeEndpointArn=arn, DomainName="a.example", PrevalidationOptions=zone)
    domain = domain["AcmeDomainValidationArn"]
    show = lambda: acm.describe_acme_domain_validation(AcmeDomainValidationArn=domain)["AcmeDomainValidation"]
    refused("ConflictException", acm.update_acme_domain_validation, AcmeDomainValidationArn=domain)
    wait(show, "VALID")
    wild = {"DnsPrevalidation": {"DomainScope": {"Wildcards": "ENABLED"}}}
    acm.update_acme_domain_validation(AcmeDomainValidationArn=domain, PrevalidationOptions=wild)
    scope = show()["PrevalidationDetails"]["DnsPrevalidation"]["DomainScope"]
    assert scope == {"ExactDomain": "DISABLED", "Subdomains": "DISABLED", "Wildcards": "ENABLED"}, scope
    listed = acm.list_acme_domain_validations(AcmeEndpointArn=arn)["AcmeDomainValidations"]
    assert [item["AcmeDomainValidationArn"] for item in listed] == [domain]
    return domain


def bindings(acm, arn):
    made = [acm.create_acme_external_account_binding(AcmeEndpointArn=arn, RoleArn=ROLE) for _ in range(3)]
    arns = sorted(one["ExternalAccountBinding"]["AcmeExternalAccountBindingArn"] for one in made)
    pages, token = [], {}
    while True:
        page = acm.list_acme_external_account_bindings(AcmeEndpointArn=arn, **token)
        assert len(page["ExternalAccountBindings"]) == 1
        pages += page["ExternalAccountBindings"]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert [one["AcmeExternalAccountBindingArn"] for one in pages] == arns
    key = acm.get_acme_external_account_binding_credentials(AcmeExternalAccountBindingArn=arns[0])
    account = "https://localhost:14000/my-account/1"
    registration = {"key_id": key["KeyId"], "account_url": account, "thumbprint": "t", "contacts": ["mailto:a@a.example"]}
    tell("accounts", registration)
    listed = acm.list_acme_accounts(AcmeEndpointArn=arn)["AcmeAccounts"]
    assert listed[0]["AccountUrl"] == account and listed[0]["Contacts"] == ["mailto:a@a.example"], listed
    acm.revoke_acme_account(AcmeEndpointArn=arn, AccountUrl=account)
    assert acm.describe_acme_account(AcmeEndpointArn=arn, AccountUrl=account)["AcmeAccount"]["Status"] == "REVOKED"
    acm.delete_acme_external_account_binding(AcmeExternalAccountBindingArn=arns[0])
    acm.delete_acme_external_account_binding(AcmeExternalAccountBindingArn=arns[0])
    refused("ResourceNotFoundException", acm.describe_acme_external_account_binding, AcmeExternalAccountBindingArn=arns[0])
    return arns[1]


def idempotency(acm, arn):
    once = {"AcmeEndpointArn": arn, "RoleArn": ROLE, "IdempotencyToken": "t"}
    assert [acm.create_acme_external_account_binding(**once)["ExternalAccountBinding"] for _ in range(2)].count(
        acm.create_acme_external_account_binding(**once)["ExternalAccountBinding"]
    ) == 2
    refused("ConflictException", acm.create_acme_external_account_binding, **(once | {"RoleArn": ROLE + "2"}))


def every_operation_is_there(model):
    acm = client(parameter_validation=False)
    names = [name for name in model.operation_names if "Acme" in name]
    assert len(names) == 19, names
    for name in names:
        call = getattr(acm, botocore.xform_name(name))
        try:
            call()
        except botocore.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "ValidationException", error
        for member in model.operation_model(name).input_shape.required_members:
            assert name != "ListAcmeEndpoints", member


def what_the_model_refuses(acm, arn, domain, binding):
    endpoint = {"AuthorizationBehavior": "PRE_APPROVED", "CertificateAuthority": PUBLIC}
    validation = {"AcmeEndpointArn": arn, "DomainName": "b.example", "PrevalidationOptions": {"DnsPrevalidation": {}}}
    account = {"AcmeEndpointArn": arn, "RoleArn": ROLE}
    algorithms = {"PublicCertificateAuthority": {"AllowedKeyAlgorithms": ["RSA_1024"]}}
    for call, good, spoiled in [
        (acm.create_acme_endpoint, endpoint, {"AuthorizationBehavior": "ANY"}),
        (acm.create_acme_endpoint, endpoint, {"Contact": "PERHAPS"}),
        (acm.create_acme_endpoint, endpoint, {"CertificateAuthority": algorithms}),
        (acm.create_acme_endpoint, endpoint, {"Tags": []}),
        (acm.create_acme_endpoint, endpoint, {"Tags": [{"Key": "k" * 129}]}),
        (acm.create_acme_domain_validation, validation, {"DomainName": "*.b.example"}),
        (acm.create_acme_domain_validation, validation, {"DomainName": "B.example"}),
        (acm.create_acme_domain_validation, validation, {"AcmeEndpointArn": domain}),
        (acm.create_acme_domain_validation, validation, {"PrevalidationOptions": {"DnsPrevalidation": {"HostedZoneId": "z"}}}),
        (acm.create_acme_external_account_binding, account, {"RoleArn": "arn:aws:iam::111122223333:user/acme"}),
        (acm.create_acme_external_account_binding, account, {"Expiration": {"Value": 0, "Type": "DAYS"}}),
        (acm.create_acme_external_account_binding, account, {"Expiration": {"Value": 1, "Type": "WEEKS"}}),
        (acm.create_acme_external_account_binding, account, {"Expiration": {"Value": 1}}),
        (acm.describe_acme_domain_validation, {"AcmeDomainValidationArn": domain}, {"AcmeDomainValidationArn": binding}),
        (acm.list_acme_endpoints, {}, {"MaxResults": 0}),
        (acm.list_acme_endpoints, {}, {"MaxResults": 101}),
        (acm.list_acme_endpoints, {}, {"NextToken": "another"}),
    ]:
        refused("ValidationException", call, **(good | spoiled))


def wait(show, status):
    for _ in range(10):
        if show()["Status"] == status:
            return
    raise AssertionError(f"never {status}")


def refused(name, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        got = error.response["Error"]["Code"]
        assert got == name, f"{got}, not {name}: {error}"
        return
    raise AssertionError(f"not refused with {name}: {arguments}")


def tell(what, value):
    request = urllib.request.Request(f"{ADMIN}/_emulator/{what}", data=json.dumps(value).encode(), method="POST")
    urllib.request.urlopen(request).read()


main()
