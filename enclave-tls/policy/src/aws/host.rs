//! The host names of KMS and S3.

use enclave_wire::DnsName;

use super::region::Region;

/// A service of AWS that the enclave speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The Key Management Service.
    Kms,
    /// The Simple Storage Service.
    S3,
}

impl Service {
    fn label(self) -> &'static str {
        match self {
            Self::Kms => "kms",
            Self::S3 => "s3",
        }
    }
}

/// The service's standard host in a region: `kms.us-east-1.amazonaws.com`.
#[must_use]
pub fn host(service: Service, region: &Region) -> DnsName {
    let name = format!("{}.{region}.{}", service.label(), region.partition().dns_suffix());
    DnsName::try_from(name.as_str()).expect("a service, a region and a suffix are labels of a DNS name")
}

/// Whether `name` is the service in that region, by one of the names that AWS gives it. Security-critical: the enclave
/// sends credentials and takes keys wherever this says yes and the chain is Amazon's.
///
/// Taken are the standard name, the FIPS endpoint's, and a VPC endpoint's regional or zonal name ("Interface VPC
/// endpoints" of KMS; of S3 "Accessing Amazon S3 interface endpoints", whose name for buckets begins with the word
/// `bucket`). What follows `vpce-ID` must be the service itself: after another word, `vpce-svc-…`, anyone's own service
/// may stand.
#[must_use]
pub fn accepts_host(service: Service, region: &Region, name: &DnsName) -> bool {
    let suffix = region.partition().dns_suffix();
    let Some(front) = name
        .as_str()
        .strip_suffix(suffix)
        .and_then(|front| front.strip_suffix('.'))
    else {
        return false;
    };
    let service_label = service.label();
    let labels: Vec<&str> = front.split('.').collect();
    match (service, labels.as_slice()) {
        (_, [label, place]) => {
            let fips = label.strip_suffix("-fips").unwrap_or(label);
            fips == service_label && *place == region.as_str()
        }
        (Service::Kms, [endpoint, label, place, "vpce"])
        | (Service::S3, ["bucket", endpoint, label, place, "vpce"]) => {
            is_endpoint(endpoint, region) && *label == service_label && *place == region.as_str()
        }
        _ => false,
    }
}

/// `vpce-`, 8 or 17 hexadecimal digits, the endpoint's own letters and digits, and for one zone the zone's name.
fn is_endpoint(label: &str, region: &Region) -> bool {
    let Some((id, rest)) = label.strip_prefix("vpce-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let is_id = [8, 17].contains(&id.len()) && id.bytes().all(is_hex);
    let (own, zone) = match rest.split_once('-') {
        Some((own, zone)) => (own, Some(zone)),
        None => (rest, None),
    };
    let is_own = (4..=16).contains(&own.len()) && own.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    is_id && is_own && zone.is_none_or(|zone| is_zone(zone, region))
}

/// The region's name and one letter: `us-east-1a`.
fn is_zone(zone: &str, region: &Region) -> bool {
    let letter = zone.strip_prefix(region.as_str());
    letter.is_some_and(|letter| letter.len() == 1 && letter.bytes().all(|b| b.is_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(text: &str) -> Region {
        text.parse().unwrap()
    }

    fn accepts(service: Service, place: &str, name: &str) -> bool {
        DnsName::try_from(name).is_ok_and(|name| accepts_host(service, &region(place), &name))
    }

    #[test]
    fn a_host_follows_from_service_and_region() {
        for (service, place, name) in [
            (Service::Kms, "us-east-1", "kms.us-east-1.amazonaws.com"),
            (Service::S3, "eu-west-3", "s3.eu-west-3.amazonaws.com"),
            (Service::Kms, "cn-north-1", "kms.cn-north-1.amazonaws.com.cn"),
            (Service::S3, "us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
        ] {
            assert_eq!(host(service, &region(place)).as_str(), name);
            assert!(accepts(service, place, name), "{name}");
        }
    }

    #[test]
    fn fips_and_vpc_endpoints_are_the_service_too() {
        for (service, place, name) in [
            (Service::Kms, "us-east-1", "kms-fips.us-east-1.amazonaws.com"),
            (Service::S3, "us-gov-west-1", "s3-fips.us-gov-west-1.amazonaws.com"),
            (
                Service::Kms,
                "us-east-1",
                "vpce-0295a3caf8414c94a-dfm9tr04.kms.us-east-1.vpce.amazonaws.com",
            ),
            (
                Service::Kms,
                "us-east-1",
                "vpce-0295a3caf8414c94a-dfm9tr04-us-east-1a.kms.us-east-1.vpce.amazonaws.com",
            ),
            (
                Service::Kms,
                "cn-north-1",
                "vpce-0295a3caf8414c94a-dfm9tr04.kms.cn-north-1.vpce.amazonaws.com.cn",
            ),
            (
                Service::S3,
                "us-east-1",
                "bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
            ),
            (
                Service::S3,
                "us-east-1",
                "bucket.vpce-1a2b3c4d-5e6f-us-east-1a.s3.us-east-1.vpce.amazonaws.com",
            ),
        ] {
            assert!(accepts(service, place, name), "{name}");
        }
    }

    #[test]
    fn threat_31_a_host_of_someone_elses_choosing_is_refused() {
        for name in [
            "evil.example",
            "amazonaws.com",
            "kms.amazonaws.com",
            "us-east-1.amazonaws.com",
            "kms.us-east-1.amazonaws.com.evil.example",
            "kms.us-east-1.amazonaws.com.cn",
            "kms.us-east-1.amazonaws.org",
            "kms.us-east-1.evilamazonaws.com",
            "kms.us-east-1amazonaws.com",
            "kms-us-east-1.amazonaws.com",
            "evil.kms.us-east-1.amazonaws.com",
            "kms.evil.us-east-1.amazonaws.com",
            "kms.us-east-1.evil.amazonaws.com",
            "*.us-east-1.amazonaws.com",
            "*.kms.us-east-1.amazonaws.com",
            "*.amazonaws.com",
            "kms-fips-fips.us-east-1.amazonaws.com",
            "fips.us-east-1.amazonaws.com",
            "kmsx.us-east-1.amazonaws.com",
            "xkms.us-east-1.amazonaws.com",
            "kms-evil.us-east-1.amazonaws.com",
            "kms.us-east-1.api.aws",
            "execute-api.us-east-1.amazonaws.com",
            "bucket.s3.us-east-1.amazonaws.com",
            "ec2-203-0-113-25.compute-1.amazonaws.com",
            // A service that anyone may offer by PrivateLink.
            "vpce-0295a3caf8414c94a-dfm9tr04.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com",
            "kms.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04.kms.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04.kms.us-east-1.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04.kms-fips.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04.execute-api.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04.kms.us-east-1.vpce.amazonaws.com.evil.example",
            "evil.vpce-0295a3caf8414c94a-dfm9tr04.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94-dfm9tr04.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94g-dfm9tr04.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04-us-west-2a.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04-us-east-1.kms.us-east-1.vpce.amazonaws.com",
            "vpce-0295a3caf8414c94a-dfm9tr04-us-east-1ab.kms.us-east-1.vpce.amazonaws.com",
            "vpce-svc-0295a3caf8414c94a.kms.us-east-1.vpce.amazonaws.com",
            "vpce.kms.us-east-1.vpce.amazonaws.com",
            "bucket.vpce-1a2b3c4d-5e6f.kms.us-east-1.vpce.amazonaws.com",
            // Not DNS names at all.
            "kms.us-east-1.amazonaws.com.",
            "KMS.us-east-1.amazonaws.com",
            "kms.us-east-1.amazonaws.com:443",
            "kms.us-east-1.amazonaws.com/",
            "evil.example#kms.us-east-1.amazonaws.com",
            "evil.example\0kms.us-east-1.amazonaws.com",
            "user@kms.us-east-1.amazonaws.com",
            "kms.us‐east‐1.amazonaws.com",
            "127.0.0.1",
            "",
        ] {
            assert!(!accepts(Service::Kms, "us-east-1", name), "{name:?}");
        }
        for name in [
            "evil.s3.us-east-1.amazonaws.com",
            "bucket.s3.us-east-1.amazonaws.com",
            "s3.amazonaws.com",
            "s3-website.us-east-1.amazonaws.com",
            "s3-accesspoint.us-east-1.amazonaws.com",
            "s3.dualstack.us-east-1.amazonaws.com",
            "vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
            "evil.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
            "evil.bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
            "accesspoint.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
            "*.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com",
        ] {
            assert!(!accepts(Service::S3, "us-east-1", name), "{name:?}");
        }
    }

    #[test]
    fn threat_33_another_region_service_or_partition_is_refused() {
        let kms = "kms.us-east-1.amazonaws.com";
        let private = "vpce-0295a3caf8414c94a-dfm9tr04.kms.us-east-1.vpce.amazonaws.com";
        for name in [kms, private] {
            assert!(accepts(Service::Kms, "us-east-1", name));
            for place in ["us-west-2", "us-east-2", "us-east-11", "cn-north-1", "us-gov-east-1"] {
                assert!(!accepts(Service::Kms, place, name), "{place}: {name}");
            }
            assert!(!accepts(Service::S3, "us-east-1", name), "{name}");
        }
        assert!(!accepts(Service::Kms, "us-east-1", "s3.us-east-1.amazonaws.com"));
        assert!(!accepts(Service::Kms, "cn-north-1", "kms.cn-north-1.amazonaws.com"));
        assert!(!accepts(Service::Kms, "cn-north-1", "kms.us-east-1.amazonaws.com.cn"));
    }
}
