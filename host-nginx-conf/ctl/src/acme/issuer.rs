//! Whose domain stands in CAA records: of each CA its own word, which its documentation fixes.

use enclave_wire::DnsName;

use super::record::AccountUrl;

/// The domain by which the CA of an account's URL is named in CAA records, if it is one that is known here.
pub(super) fn of(account: &AccountUrl) -> Option<DnsName> {
    let host = account.host();
    let known = KNOWN.iter().find(|(named, _)| host == *named);
    let is_acm = host.starts_with(ACM_PREFIX) && host.ends_with(ACM_SUFFIX);
    let domain = known.map(|(_, domain)| *domain).or(is_acm.then_some(AMAZON));
    domain.and_then(|domain| domain.parse().ok())
}

/// Host of the ACME server, domain in CAA records.
const KNOWN: [(&str, &str); 2] = [
    ("acme-v02.api.letsencrypt.org", "letsencrypt.org"),
    ("acme-staging-v02.api.letsencrypt.org", "letsencrypt.org"),
];

/// ACM's endpoints are `acm-acme-enroll.REGION.api.aws`.
const ACM_PREFIX: &str = "acm-acme-enroll.";
const ACM_SUFFIX: &str = ".api.aws";
/// Amazon takes amazontrust.com, awstrust.com and amazonaws.com as well; one is enough, and this is the first that it names.
const AMAZON: &str = "amazon.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_cas_have_their_domains() {
        let of = |url: &str| of(&url.parse().unwrap()).map(|domain| domain.to_string());
        let lets = "https://acme-v02.api.letsencrypt.org/acme/acct/1";
        assert_eq!(of(lets).as_deref(), Some("letsencrypt.org"));
        let acm = "https://acm-acme-enroll.eu-west-1.api.aws/0/account/1";
        assert_eq!(of(acm).as_deref(), Some("amazon.com"));
        for stranger in [
            "https://letsencrypt.org.evil.example/1",
            "https://acme-v02.api.letsencrypt.org.evil.example/1",
            "https://localhost:14000/my-account/1",
        ] {
            assert_eq!(of(stranger), None, "{stranger}");
        }
    }
}
