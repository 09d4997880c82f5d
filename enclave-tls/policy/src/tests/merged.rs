//! The image's policy and the parent's, together.

use std::collections::BTreeSet;

use enclave_wire::identity::RsaBits;

use super::*;
use crate::any_or::AnyOr;
use crate::endpoint::{Address, Endpoint};
use crate::rules::{NameRule, NsmTrust, RsaRange, Rules};

#[test]
fn threat_39_an_open_list_is_closed_by_the_parents_policy() {
    let image = policy(RELEASE);
    assert!(image.sealing_keys().is_empty(), "an open list names no key");
    assert_eq!(image.bundle_key(&key(1)), Err(ControlError::KmsKeyRefused));
    assert_eq!(image.allows_region(&region("eu-west-1")), Ok(()));

    let sealing = format!("keys = [\"{}\", \"{}\"]", key(2), key(1));
    let bundles = format!("keys = [\"{}\", \"{}\"]", key(4), key(1));
    let parent = RELEASE
        .replacen("regions = [\"*\"]", "regions = [\"eu-west-1\"]", 1)
        .replacen("keys = [\"*\"]", &sealing, 1)
        .replacen("keys = [\"*\"]", &bundles, 1);
    let merged = image.intersect(&policy(&parent));
    assert_eq!(merged.sealing_keys(), [key(2), key(1)], "the parent's order");
    assert_eq!(merged.bundle_key(&key(4)), Ok(()));
    assert_eq!(merged.bundle_key(&key(3)), Err(ControlError::KmsKeyRefused));
    assert_eq!(merged.bundle_key(&key(1)), Err(ControlError::KmsKeyRefused), "it seals");
    assert_eq!(merged.allows_region(&region("eu-west-1")), Ok(()));
    assert_eq!(
        merged.allows_region(&region("us-east-1")),
        Err(ControlError::RegionRefused)
    );
    assert_eq!(merged.aws_roots(), image.aws_roots());
    assert_ne!(merged.pcr16(), image.pcr16());

    let still_open = image.intersect(&image);
    assert!(still_open.sealing_keys().is_empty());
    assert_eq!(still_open.bundle_key(&key(1)), Err(ControlError::KmsKeyRefused));
}

/// The image's own CAs stay as they are, and the entry that it leaves open takes what the parent's policy names.
#[test]
fn threat_39_the_parents_policy_names_a_ca_of_its_own() {
    let own = "https://step.example:9000/acme/web/directory";
    let image = policy(RELEASE);
    let entry = format!(
        "directory = {own:?}\nroots = [{:?}]",
        root::to_pem(&image.aws_roots()[3])
    );
    let parent = policy(&RELEASE.replacen("directory = \"*\"\nroots = [\"*\"]", &entry, 1));
    let merged = image.intersect(&parent);
    assert_eq!(acme_roots(&image, own), Err(ControlError::DirectoryRefused));
    assert_eq!(acme_roots(&merged, own), Ok(vec![image.aws_roots()[3].clone()]));
    assert_eq!(acme_roots(&merged, LETS_ENCRYPT), acme_roots(&image, LETS_ENCRYPT));
    let without = |text: &str| policy(&text.replace("https://acme-v02.", "https://acme-v03."));
    let kept = image.intersect(&without(RELEASE));
    assert_eq!(
        acme_roots(&kept, LETS_ENCRYPT),
        acme_roots(&image, LETS_ENCRYPT),
        "by the entry that it leaves open"
    );
    let closed = image.intersect(&without(&RELEASE.replacen(
        "[[acme]]\ndirectory = \"*\"\nroots = [\"*\"]\n",
        "",
        1,
    )));
    assert_eq!(acme_roots(&closed, LETS_ENCRYPT), Err(ControlError::DirectoryRefused));
    let resolver = RELEASE.replacen(
        "resolver = \"*\"\nroots = [\"*\"]",
        &format!(
            "resolver = \"https://dns.example/dns-query\"\nroots = [{:?}]",
            root::to_pem(&image.aws_roots()[3])
        ),
        1,
    );
    assert_eq!(image.resolver(), Err(ControlError::ResolverRefused));
    let merged = image.intersect(&policy(&resolver));
    let resolver = merged.resolver().unwrap();
    assert_eq!(resolver.url, "https://dns.example/dns-query");
    assert_eq!(resolver.roots, [image.aws_roots()[3].clone()]);
}

#[test]
fn threat_31_a_parent_cannot_add_a_root() {
    let roots = policy(RELEASE).aws_roots().to_vec();
    let only = |keep: &[usize]| {
        let mut rules = policy(RELEASE).rules;
        rules.aws_roots = keep.iter().map(|n| roots[*n].clone()).collect();
        let tree = rules.to_tree();
        Policy::new(rules, tree)
    };
    let merged = only(&[0, 1, 2]).intersect(&only(&[4, 2, 1]));
    assert_eq!(merged.aws_roots(), [roots[1].clone(), roots[2].clone()]);
    let other = RELEASE.replacen("641a", "641b", 1);
    assert_eq!(policy(RELEASE).intersect(&policy(&other)).attestation(), None);
    assert_eq!(policy(LAB).intersect(&policy(RELEASE)).attestation(), None);
    let root = policy(RELEASE).to_toml();
    let unsigned: String = root
        .lines()
        .map(|line| match line.starts_with("root_sha256") {
            true => "unsigned = true\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    let unsigned = policy(&unsigned);
    assert_eq!(unsigned.attestation(), Some(NsmTrust::Unsigned));
    assert_eq!(
        policy(RELEASE).intersect(&unsigned).attestation(),
        None,
        "no parent takes the signature away"
    );
    assert_eq!(unsigned.intersect(&policy(RELEASE)).attestation(), None);
}

#[test]
fn names_that_take_too_many_rules_leave_no_name() {
    let rules = |pattern: fn(usize) -> String| {
        let names: String = (0..40)
            .map(|n| format!("[[names]]\npattern = \"{}\"\nusages = [\"tls\"]\n", pattern(n)))
            .collect();
        policy(&format!("version = 1\nimports = true\n{names}[keys]\n"))
    };
    let merged = rules(|n| format!("a{n}-*")).intersect(&rules(|n| format!("*-{n}")));
    assert_eq!(merged.allows(&name("a1-1"), Usage::Tls), Err(ControlError::NameRefused));
    assert_eq!(policy(&merged.to_toml()), merged);
}

#[test]
fn a_policy_that_was_read_is_written_as_it_was() {
    for text in [LAB, RELEASE, "version = 1\nimports = false\nkeys = {}\n"] {
        let read = policy(text);
        assert_eq!(policy(&read.to_toml()), read, "{}", read.to_toml());
    }
}

fn patterns() -> impl Strategy<Value = String> {
    // Few letters and short texts, so that heads and tails meet and overlap.
    prop_oneof!["[ab]{1,4}", "[ab]{0,4}\\*[ab-]{0,4}"]
        .prop_filter("a pattern", |text| Pattern::try_from(text.as_str()).is_ok())
}

fn names() -> impl Strategy<Value = Vec<NameRule>> {
    let rule = (patterns(), proptest::collection::btree_set(select(Usage::ALL), 0..4)).prop_map(|(pattern, usages)| {
        NameRule {
            pattern: Pattern::try_from(pattern.as_str()).unwrap(),
            usages,
        }
    });
    proptest::collection::vec(rule, 0..5)
}

fn sizes() -> impl Strategy<Value = Option<RsaRange>> {
    let bits = || (256u16..=1024).prop_map(|bytes| RsaBits::try_from(bytes.saturating_mul(8)).unwrap());
    proptest::option::of((bits(), bits()).prop_map(|(a, b)| RsaRange {
        min: a.min(b),
        max: a.max(b),
    }))
}

fn curves() -> impl Strategy<Value = BTreeSet<KeyType>> {
    let curves = vec![KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Ed25519];
    proptest::collection::btree_set(select(curves), 0..5)
}

fn any_or<T: Clone + std::fmt::Debug + 'static>(values: Vec<T>) -> impl Strategy<Value = AnyOr<T>> {
    let some = subsequence(values.clone(), 0..=values.len()).prop_shuffle();
    prop_oneof![1 => Just(AnyOr::Any), 3 => some.prop_map(AnyOr::Only)]
}

const ADDRESSES: [&str; 6] = [
    "*",
    "https://a.example/x/directory",
    "https://a.example/*/directory",
    "https://*.example/x/directory",
    "https://*.example/*/directory",
    "https://a.example:8443/x/directory",
];

/// Addresses that some of those match, and one that none does.
const DIRECTORIES: [&str; 4] = [
    "https://a.example/x/directory",
    "https://b.example/y/directory",
    "https://a.example:8443/x/directory",
    "https://a.example/directory",
];

fn endpoints(addresses: &'static [&'static str]) -> impl Strategy<Value = Endpoint> {
    let roots = any_or(policy(RELEASE).aws_roots().get(..3).unwrap().to_vec());
    let address = select(addresses).prop_map(|text| text.parse::<Address>().unwrap());
    (address, roots).prop_map(|(address, roots)| Endpoint::new(address, roots))
}

fn policies() -> impl Strategy<Value = Policy> {
    let roots = policy(RELEASE).aws_roots().to_vec();
    let keys = || any_or((0..4).map(key).collect());
    let own = (any::<bool>(), names(), sizes(), curves());
    let aws = (
        select(vec![
            None,
            Some(NsmTrust::Root([0x0a; 32])),
            Some(NsmTrust::Root([0xf1; 32])),
            Some(NsmTrust::Unsigned),
        ]),
        any_or(REGIONS.map(region).to_vec()),
        subsequence(roots, 0..=5).prop_shuffle(),
        (keys(), keys(), any::<bool>(), any::<bool>()),
    );
    let others = (
        proptest::collection::vec(endpoints(&ADDRESSES), 0..4),
        proptest::option::of(endpoints(&["*", ADDRESSES[1], ADDRESSES[5]])),
    );
    (own, aws, others).prop_map(
        |((imports, names, rsa, curves), (attestation, aws_regions, aws_roots, keys), (acme, dns))| {
            let (sealing_keys, bundle_keys, foreign_bundles, any_clock_source) = keys;
            let rules = Rules {
                imports,
                names,
                rsa,
                curves,
                attestation,
                aws_regions,
                aws_roots,
                sealing_keys,
                bundle_keys,
                foreign_bundles,
                any_clock_source,
                acme,
                dns,
            };
            let tree = rules.to_tree();
            Policy::new(rules, tree)
        },
    )
}

/// Whether an entry has this address and this root, named or left open.
fn covers(policy: &Policy, url: &str, root: &Vec<u8>) -> bool {
    let with = |address: &Address| {
        let one = Policy::new(
            Rules {
                acme: vec![Endpoint::new(address.clone(), AnyOr::Only(vec![root.clone()]))],
                ..policy.rules.clone()
            },
            tree::Table::new(),
        );
        *address == Address::Any || acme_roots(&one, url).is_ok()
    };
    let mut entries = policy.rules.acme.iter();
    entries.any(|entry| entry.roots.covers(root) && with(&entry.address))
}

const REGIONS: [&str; 4] = ["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1"];

proptest! {
    /// threat_39: what the parent adds can only take away; and nothing that both allow is lost.
    #[test]
    fn threat_39_merged_is_within_the_image(image in policies(), parent in policies(), text in "[ab][ab-]{0,7}", bits in 256u16..=1024) {
        let merged = image.intersect(&parent);
        let name = name(&text);
        for usage in Usage::ALL.iter().copied() {
            let both = image.allows(&name, usage).is_ok() && parent.allows(&name, usage).is_ok();
            prop_assert_eq!(merged.allows(&name, usage).is_ok(), both, "{} {:?}", text, usage);
        }
        let rsa = KeyType::Rsa(RsaBits::try_from(bits.saturating_mul(8)).unwrap());
        for key_type in [rsa, KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Ed25519] {
            let both = image.allows_key(key_type).is_ok() && parent.allows_key(key_type).is_ok();
            prop_assert_eq!(merged.allows_key(key_type).is_ok(), both);
        }
        let both = image.allows_imports().is_ok() && parent.allows_imports().is_ok();
        prop_assert_eq!(merged.allows_imports().is_ok(), both);
    }

    /// The same of what concerns AWS. A key is covered by the list that names it and by the list that is left open.
    #[test]
    fn threat_39_merged_trusts_no_more_than_the_image(image in policies(), parent in policies()) {
        let merged = image.intersect(&parent);
        let same = image.attestation().filter(|_| image.attestation() == parent.attestation());
        prop_assert_eq!(merged.attestation(), same);
        let both_roots = image.aws_roots().iter().filter(|root| parent.aws_roots().contains(root));
        prop_assert_eq!(merged.aws_roots().iter().collect::<Vec<_>>(), both_roots.collect::<Vec<_>>());
        for text in REGIONS {
            let both = image.allows_region(&region(text)).is_ok() && parent.allows_region(&region(text)).is_ok();
            prop_assert_eq!(merged.allows_region(&region(text)).is_ok(), both, "{}", text);
        }
        for key in (0..5).map(key) {
            let (sealing, bundles) = (|p: &Policy| p.rules.sealing_keys.covers(&key), |p: &Policy| p.rules.bundle_keys.covers(&key));
            prop_assert_eq!(sealing(&merged), sealing(&image) && sealing(&parent));
            prop_assert_eq!(bundles(&merged), bundles(&image) && bundles(&parent));
            // What is in force never goes beyond what the lists cover.
            prop_assert!(!merged.sealing_keys().contains(&key) || sealing(&merged));
            prop_assert!(merged.bundle_key(&key).is_err() || bundles(&merged));
        }
        let both = image.allows_foreign_bundles().is_ok() && parent.allows_foreign_bundles().is_ok();
        prop_assert_eq!(merged.allows_foreign_bundles().is_ok(), both);
    }

    /// threat_31, threat_39: no CA and no root of one but where both policies have it: named by one of them, and not refused by the other.
    #[test]
    fn threat_39_merged_reaches_no_other_ca_than_the_image(image in policies(), parent in policies()) {
        let merged = image.intersect(&parent);
        for url in DIRECTORIES {
            let named = acme_roots(&merged, url).unwrap_or_default();
            for root in policy(RELEASE).aws_roots() {
                let both = covers(&image, url, root) && covers(&parent, url, root);
                prop_assert_eq!(covers(&merged, url, root), both, "{}", url);
                prop_assert!(!named.contains(root) || both, "{}", url);
            }
            for root in acme_roots(&image, url).unwrap_or_default() {
                prop_assert_eq!(named.contains(&root), covers(&parent, url, &root), "what the image names stays: {}", url);
            }
        }
        match (&image.rules.dns, &parent.rules.dns, merged.resolver()) {
            (Some(image), Some(parent), Ok(merged)) => for entry in [image, parent] {
                prop_assert!(entry.address == Address::Any || entry.address.single() == Some(merged.url.clone()));
                prop_assert!(merged.roots.iter().all(|root| entry.roots.covers(root)));
            },
            (_, _, refused) => prop_assert_eq!(refused, Err(ControlError::ResolverRefused)),
        }
    }

    /// threat_16: a parent may require the clock that an image does not, and never the reverse.
    #[test]
    fn threat_16_a_parent_cannot_let_another_clock_pass(image in policies(), parent in policies()) {
        let both = image.allows_any_clock_source() && parent.allows_any_clock_source();
        prop_assert_eq!(image.intersect(&parent).allows_any_clock_source(), both);
    }

    /// threat_33: the parent's policy does not choose which of the image's keys seals by writing them in another order.
    #[test]
    fn threat_33_the_images_order_of_sealing_keys_stands(image in policies(), parent in policies()) {
        let merged = image.intersect(&parent);
        if let AnyOr::Only(keys) = &image.rules.sealing_keys {
            let kept: Vec<&KeyArn> = keys.iter().filter(|key| merged.sealing_keys().contains(key)).collect();
            prop_assert_eq!(merged.sealing_keys().iter().collect::<Vec<_>>(), kept);
        }
    }

    /// threat_29: whoever has the merged policy's text computes the PCR16 of the enclave, and knows what it may do.
    #[test]
    fn threat_29_a_merged_policy_reads_as_it_was_measured(image in policies(), parent in policies()) {
        let merged = image.intersect(&parent);
        let read = policy(&merged.to_toml());
        prop_assert_eq!(read.sha384(), merged.sha384());
        prop_assert_eq!(read.pcr16(), merged.pcr16());
        prop_assert_eq!(read, merged);
    }
}
