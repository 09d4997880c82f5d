//! The command line of `acm`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use enclave_policy::aws::KeyArn;
use enclave_wire::DnsName;

use crate::aws::acm::Lasts;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// ACME servers of your own
    Endpoint(Sub<EndpointCommand>),
    /// What an endpoint may issue for
    Domain(Sub<DomainCommand>),
    /// External account bindings: who may make an account at an endpoint
    Eab(Sub<EabCommand>),
    /// Accounts that clients made
    Account(Sub<AccountCommand>),
}

#[derive(Args)]
pub(crate) struct Sub<T: Subcommand> {
    #[command(subcommand)]
    pub(crate) command: T,
}

#[derive(Subcommand)]
pub(crate) enum EndpointCommand {
    /// Make one, and wait until it is active
    Create(CreateEndpoint),
    /// List them
    List(InRegion),
    /// Show one with its directory's URL
    Show(OneEndpoint),
    /// Delete one that has no domains and no bindings any more
    Delete(DeleteEndpoint),
}

#[derive(Args)]
pub(crate) struct CreateEndpoint {
    /// Where; without it, the region of the environment or the profile
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Refuse accounts that give no contact
    #[arg(long)]
    pub(crate) contact_required: bool,
    /// A key algorithm that certificates may have; repeat it for more; without it, all of them
    #[arg(long = "key-algorithm", value_name = "ALGORITHM", value_parser = ["EC_prime256v1", "EC_secp384r1", "RSA_2048"])]
    pub(crate) key_algorithms: Vec<String>,
    /// Do not wait until it is active
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Args)]
pub(crate) struct InRegion {
    /// Where; without it, the region of the environment or the profile
    #[arg(long)]
    pub(crate) region: Option<String>,
}

#[derive(Args)]
pub(crate) struct OneEndpoint {
    /// The endpoint's ARN
    pub(crate) arn: EndpointArn,
}

#[derive(Args)]
pub(crate) struct DeleteEndpoint {
    /// The endpoint's ARN
    pub(crate) arn: EndpointArn,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct OfEndpoint {
    /// The endpoint's ARN
    pub(crate) endpoint: EndpointArn,
}

#[derive(Subcommand)]
pub(crate) enum DomainCommand {
    /// Let an endpoint issue for a domain, once its CNAME is there
    Create(CreateDomain),
    /// List an endpoint's domains
    List(OfEndpoint),
    /// Show one with the CNAME that it wants
    Show(OneDomain),
    /// Delete one: the endpoint issues for it no more
    Delete(DeleteDomain),
}

#[derive(Args)]
pub(crate) struct CreateDomain {
    /// The endpoint's ARN
    pub(crate) endpoint: EndpointArn,
    /// The domain, without *.
    #[arg(value_parser = domain)]
    pub(crate) domain: DnsName,
    /// Certificates for the domain itself: the default, unless another is given
    #[arg(long)]
    pub(crate) exact: bool,
    /// Certificates for names below it
    #[arg(long)]
    pub(crate) subdomains: bool,
    /// Certificates for *.DOMAIN
    #[arg(long)]
    pub(crate) wildcards: bool,
    /// A hosted zone of Route 53 into which ACM writes the CNAME itself
    #[arg(long, value_name = "ID")]
    pub(crate) hosted_zone: Option<String>,
    /// Wait until ACM has seen the CNAME
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Args)]
pub(crate) struct OneDomain {
    /// The domain validation's ARN
    pub(crate) arn: DomainArn,
}

#[derive(Args)]
pub(crate) struct DeleteDomain {
    /// The domain validation's ARN
    pub(crate) arn: DomainArn,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Subcommand)]
pub(crate) enum EabCommand {
    /// Make one
    Create(CreateBinding),
    /// List an endpoint's
    List(OfEndpoint),
    /// Show one
    Show(OneBinding),
    /// Write one's key for the agent, encrypted under a KMS key; it is shown nowhere
    Credentials(BindingCredentials),
    /// Revoke one: it makes no accounts any more
    Revoke(OneBinding),
    /// Delete one
    Delete(OneBinding),
}

#[derive(Args)]
pub(crate) struct CreateBinding {
    /// The endpoint's ARN
    pub(crate) endpoint: EndpointArn,
    /// The role whose permissions its accounts have; not the instance's
    #[arg(long, value_name = "ARN")]
    pub(crate) role: RoleArn,
    /// How long it makes accounts: 90m, 24h, 7d
    #[arg(long, value_name = "TIME", value_parser = lasts)]
    pub(crate) expires: Option<Lasts>,
}

#[derive(Args)]
pub(crate) struct OneBinding {
    /// The binding's ARN
    pub(crate) arn: BindingArn,
}

#[derive(Args)]
pub(crate) struct BindingCredentials {
    /// The binding's ARN
    pub(crate) arn: BindingArn,
    /// The KMS key to encrypt under, which the enclave's policy has for bundles
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: KeyArn,
    /// Where to write it (mode 0644: nothing in it is secret)
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Subcommand)]
pub(crate) enum AccountCommand {
    /// List an endpoint's
    List(OfEndpoint),
    /// Show one
    Show(OneAccount),
    /// Revoke one, for ever
    Revoke(RevokeAccount),
}

#[derive(Args)]
pub(crate) struct OneAccount {
    /// The endpoint's ARN
    pub(crate) endpoint: EndpointArn,
    /// The account's URL
    pub(crate) url: String,
}

#[derive(Args)]
pub(crate) struct RevokeAccount {
    /// The endpoint's ARN
    pub(crate) endpoint: EndpointArn,
    /// The account's URL
    pub(crate) url: String,
    /// Do it
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The ARN of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointArn {
    text: String,
    region: String,
}

impl EndpointArn {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }
}

impl std::str::FromStr for EndpointArn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "an endpoint is given as arn:aws:acm:REGION:ACCOUNT:acme-endpoint/ID; see `acm endpoint list`";
        let fields: Vec<&str> = text.split(':').collect();
        let [_, _, _, region, _, resource] = fields[..] else {
            return Err(EXPECTED);
        };
        let id = resource.strip_prefix("acme-endpoint/").filter(|id| is_id(id));
        if !is_of_acm(&fields) || id.is_none() {
            return Err(EXPECTED);
        }
        Ok(Self {
            text: text.to_owned(),
            region: region.to_owned(),
        })
    }
}

/// The ARN of something of an endpoint.
macro_rules! part_of_endpoint {
    ($name:ident, $part:literal, $expected:literal) => {
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name {
            text: String,
            endpoint: EndpointArn,
        }

        impl $name {
            pub(crate) fn as_str(&self) -> &str {
                &self.text
            }

            pub(crate) fn endpoint(&self) -> &EndpointArn {
                &self.endpoint
            }
        }

        impl std::str::FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let (endpoint, id) = text.rsplit_once(concat!("/", $part, "/")).ok_or($expected)?;
                if !is_id(id) {
                    return Err($expected);
                }
                Ok(Self {
                    text: text.to_owned(),
                    endpoint: endpoint.parse().map_err(|_| $expected)?,
                })
            }
        }
    };
}

part_of_endpoint!(
    DomainArn,
    "acme-domain-validation",
    "a domain validation is given as ENDPOINT/acme-domain-validation/ID; see `acm domain list ENDPOINT`"
);
part_of_endpoint!(
    BindingArn,
    "acme-external-account-binding",
    "a binding is given as ENDPOINT/acme-external-account-binding/ID; see `acm eab list ENDPOINT`"
);

/// The ARN of a role.
#[derive(Debug, Clone)]
pub(crate) struct RoleArn(String);

impl RoleArn {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for RoleArn {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        match fields[..] {
            ["arn", _, "iam", "", account, resource] if is_account(account) && resource.starts_with("role/") => {
                Ok(Self(text.to_owned()))
            }
            _ => Err("a role is given as arn:aws:iam::ACCOUNT:role/NAME"),
        }
    }
}

fn is_of_acm(fields: &[&str]) -> bool {
    matches!(fields, ["arn", partition, "acm", region, account, _]
        if partition.starts_with("aws") && !region.is_empty() && is_account(account))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn domain(text: &str) -> Result<DnsName, &'static str> {
    const EXPECTED: &str = "a domain is in lower case (IDNA names as xn--…) and without *: --wildcards is for that";
    let name: DnsName = text.parse().map_err(|_| EXPECTED)?;
    if text.starts_with('*') { Err(EXPECTED) } else { Ok(name) }
}

fn lasts(text: &str) -> Result<Lasts, &'static str> {
    const EXPECTED: &str = "a time is a number and m, h or d: 90m, 24h, 7d";
    let (unit, number) = text
        .char_indices()
        .next_back()
        .map(|(at, unit)| (unit, text.get(..at)))
        .ok_or(EXPECTED)?;
    let number: i64 = number
        .and_then(|number| number.parse().ok())
        .filter(|n| *n >= 1)
        .ok_or(EXPECTED)?;
    match unit {
        'm' => Ok(Lasts::Minutes(number)),
        'h' => Ok(Lasts::Hours(number)),
        'd' => Ok(Lasts::Days(number)),
        _ => Err(EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: &str = "arn:aws:acm:us-east-1:111122223333:acme-endpoint/e-1";

    #[test]
    fn an_arn_is_of_its_kind_and_knows_its_region() {
        let endpoint: EndpointArn = ENDPOINT.parse().unwrap();
        assert_eq!(endpoint.region(), "us-east-1");
        let binding: BindingArn = format!("{ENDPOINT}/acme-external-account-binding/b-1").parse().unwrap();
        assert_eq!(binding.endpoint(), &endpoint);
        for bad in [
            "",
            "e-1",
            "arn:aws:acm:us-east-1:111122223333:certificate/e-1",
            binding.as_str(),
        ] {
            assert!(bad.parse::<EndpointArn>().is_err(), "{bad}");
        }
        for bad in [ENDPOINT.to_owned(), format!("{ENDPOINT}/acme-domain-validation/d-1")] {
            assert!(bad.parse::<BindingArn>().is_err(), "{bad}");
        }
        assert!("arn:aws:iam::111122223333:role/a".parse::<RoleArn>().is_ok());
        assert!("arn:aws:iam::111122223333:user/a".parse::<RoleArn>().is_err());
    }

    #[test]
    fn times_have_their_units() {
        assert_eq!(lasts("90m"), Ok(Lasts::Minutes(90)));
        assert_eq!(lasts("7d"), Ok(Lasts::Days(7)));
        for bad in ["", "d", "0d", "-1d", "7", "7w", "7é"] {
            assert!(lasts(bad).is_err(), "{bad}");
        }
    }
}
