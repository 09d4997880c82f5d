//! What an enclave measures of its policy.

use crate::directory::Directory;
use crate::enclave::POLICY;

#[test]
fn pcr16_is_what_the_policy_in_force_measures() {
    let directory = Directory::new("pcr16");
    directory.write("policy.toml", POLICY);
    let policy = enclave_policy::Policy::parse(POLICY.as_bytes()).unwrap();
    let pcr16 = crate::enclave::hex(&policy.pcr16());
    assert_eq!(directory.ok(&["policy", "pcr16", "policy.toml"]), format!("{pcr16}\n"));
    let json = directory.json(&["policy", "pcr16", "policy.toml"]);
    assert_eq!(json["pcr16"], pcr16);
    assert_eq!(json["policy_sha384"], crate::enclave::hex(&policy.sha384()));
}

#[test]
fn a_merged_policy_measures_as_the_two_that_it_came_from() {
    let directory = Directory::new("merge");
    directory.write("image.toml", POLICY.replace("imports = false", "imports = true"));
    directory.write("parent.toml", POLICY.replace("pattern = \"*\"", "pattern = \"www-*\""));
    let of_two = ["--image-policy", "image.toml", "parent.toml"];
    let merged = directory.ok(&[&["policy", "merge"], &of_two[..]].concat());
    directory.write("merged.toml", &merged);
    assert!(
        merged.contains("imports = false") && merged.contains("www-*"),
        "{merged}"
    );
    assert_eq!(
        directory.ok(&["policy", "pcr16", "merged.toml"]),
        directory.ok(&[&["policy", "pcr16"], &of_two[..]].concat())
    );
    assert_ne!(
        directory.ok(&["policy", "pcr16", "merged.toml"]),
        directory.ok(&["policy", "pcr16", "parent.toml"])
    );
}

#[test]
fn what_is_no_policy_is_refused_with_its_line() {
    let directory = Directory::new("no-policy");
    directory.write("policy.toml", POLICY.replace("imports", "import"));
    let error = directory.fails(1, &["policy", "pcr16", "policy.toml"]);
    assert!(error.contains("policy.toml: line 3"), "{error}");
}
