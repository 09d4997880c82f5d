//! What the instance's role may do: `policy lint --iam` of files, and `check --online` by a strict IAM.

use serde_json::{Value, json};

use crate::directory::Directory;

const ZONE: &str = "arn:aws:route53:::hostedzone/Z1";

fn allow(action: &str, resource: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]})
}

/// threat_54: root on the parent has the role's credentials, and the role must not get it a certificate.
#[test]
fn threat_54_rights_that_make_certificates_are_named_in_files() {
    let directory = Directory::new("role-files");
    directory.write("good.json", allow("s3:GetObject", "arn:aws:s3:::bundles/*").to_string());
    let said = directory.ok(&["policy", "lint", "--iam", "good.json"]);
    assert!(
        said.starts_with("These policies let the role get no certificate of its own."),
        "{said}"
    );
    // As `aws iam get-role-policy` and `aws iam get-policy-version` print them.
    let inline = json!({"RoleName": "web", "PolicyName": "dns", "PolicyDocument": allow("route53:Change*", ZONE)});
    let managed = json!({"PolicyVersion": {"Document": allow("acm:*", "*"), "VersionId": "v1"}});
    directory.write("inline.json", inline.to_string());
    directory.write("managed.json", managed.to_string());
    let lint = [
        "policy",
        "lint",
        "--iam",
        "inline.json",
        "managed.json",
        "--iam",
        "good.json",
    ];
    let output = directory.run(&[&lint[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(names, ["acme-endpoint", "zone-writing", "certificate-export"]);
    assert_eq!(
        report["findings"][1]["about"],
        json!([format!(
            "inline.json, statement 1: route53:ChangeResourceRecordSets on {ZONE}"
        )])
    );
    let text = String::from_utf8(directory.run(&lint).stdout).unwrap();
    assert!(
        text.contains("error zone-writing: ") && text.contains("\n  advice: "),
        "{text}"
    );
    let error = directory.fails(1, &lint);
    assert!(error.contains("3 to correct"), "{error}");
    // A Deny of one policy takes from the Allow of another.
    let deny = json!({"Statement": {"Effect": "Deny", "Action": ["acm:*", "route53:*"], "Resource": "*"}});
    directory.write("deny.json", deny.to_string());
    assert_eq!(directory.json(&[&lint[..], &["deny.json"]].concat())["clean"], true);
    // What is about a key needs one.
    directory.fails(2, &["policy", "lint", "--iam", "good.json", "--grants", "x"]);
    directory.fails(2, &["policy", "lint"]);
}

#[test]
fn what_policy_generate_writes_for_the_role_is_clean() {
    let directory = Directory::new("role-generated");
    let pair = format!("{}:{}", "a1".repeat(48), "c3".repeat(48));
    let (role, admin) = (
        "arn:aws:iam::111122223333:role/web",
        "arn:aws:iam::111122223333:role/admin",
    );
    let generated = directory.ok(&[
        "policy",
        "generate",
        "--key-arn",
        crate::enclave::SEALING_KEY,
        "--role",
        role,
        "--admin",
        admin,
        "--measured",
        &pair,
    ]);
    directory.write("generated.json", generated);
    assert_eq!(
        directory.json(&["policy", "lint", "--iam", "generated.json"])["clean"],
        true
    );
}

#[cfg(feature = "aws")]
mod online {
    use emulator_iam::{Account, Asker, Emulator, Role};

    use super::*;
    use crate::check::Machine;

    const ALL: [&str; 7] = [
        "GetRole",
        "ListRolePolicies",
        "GetRolePolicy",
        "ListAttachedRolePolicies",
        "GetPolicy",
        "GetPolicyVersion",
        "SimulatePrincipalPolicy",
    ];

    /// The levels and words of what `check --online` says of a role, asked by somebody who may ask so much.
    fn said(name: &str, role: Role, may: &[&str]) -> (Vec<(String, String)>, Vec<String>) {
        let account = Account {
            id: "111122223333".to_owned(),
            askers: vec![Asker {
                access_key_id: "AKIATESTADMIN".to_owned(),
                secret_access_key: "a secret".to_owned(),
                session_token: None,
                arn: "arn:aws:iam::111122223333:user/admin".to_owned(),
                may: may.iter().map(|one| (*one).to_owned()).collect(),
            }],
            roles: vec![Role {
                name: "web".to_owned(),
                path: "/team/".to_owned(),
                ..role
            }],
        };
        let emulator = Emulator::start(account).unwrap();
        let machine = Machine::new(name);
        machine.configure(&["www"], "[aws]\n");
        let endpoint = format!("http://{}", emulator.address());
        let findings = machine.findings_with(
            &["--online", "--role", "web", "--socket", "/nonexistent"],
            &[
                ("AWS_ENDPOINT_URL_IAM", &endpoint),
                ("AWS_ACCESS_KEY_ID", "AKIATESTADMIN"),
                ("AWS_SECRET_ACCESS_KEY", "a secret"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9"),
                ("AWS_CONFIG_FILE", "/nonexistent"),
                ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
            ],
        );
        let of_role = findings.iter().filter(|one| one["area"] == "role");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let said = of_role.map(|one| (text(&one["level"]), text(&one["found"]))).collect();
        (said, emulator.asked())
    }

    fn with(inline: Value) -> Role {
        Role {
            inline: [("of the role".to_owned(), inline)].into(),
            ..Role::default()
        }
    }

    #[test]
    fn a_role_that_can_get_no_certificate_is_said_to_be_well() {
        let (said, asked) = said("role-well", with(allow("s3:GetObject", "*")), &ALL);
        let [(level, found)] = &said[..] else {
            panic!("{said:#?}")
        };
        assert_eq!(level, "ok");
        assert!(
            found.starts_with("arn:aws:iam::111122223333:role/team/web can get no certificate"),
            "{found}"
        );
        // Each danger is asked about in pages.
        assert!(
            asked.iter().filter(|one| *one == "SimulatePrincipalPolicy").count() > 7,
            "{asked:?}"
        );
    }

    #[test]
    fn threat_54_a_right_on_one_zone_and_one_of_an_attached_policy_are_found() {
        let role = Role {
            attached: [(
                "arn:aws:iam::111122223333:policy/Acme".to_owned(),
                allow("acm:*Acme*", "*"),
            )]
            .into(),
            ..with(allow("route53:ChangeResourceRecordSets", ZONE))
        };
        let (said, _) = said("role-zone", role, &ALL);
        let [(acme, first), (zone, second)] = &said[..] else {
            panic!("{said:#?}")
        };
        assert_eq!((acme.as_str(), zone.as_str()), ("error", "error"));
        assert!(
            first.starts_with("acme-endpoint: ") && first.contains("acm:CreateAcmeEndpoint on *"),
            "{first}"
        );
        assert!(second.starts_with("zone-writing: "), "{second}");
        assert!(
            second.contains(&format!("route53:ChangeResourceRecordSets on {ZONE}")),
            "{second}"
        );
    }

    /// Files do not show it, IAM does.
    #[test]
    fn what_a_boundary_takes_away_is_no_finding() {
        let role = Role {
            boundary: Some(allow("s3:*", "*")),
            ..with(allow("route53:ChangeResourceRecordSets", ZONE))
        };
        let (said, _) = said("role-boundary", role, &ALL);
        assert_eq!(said.len(), 1, "{said:#?}");
        assert_eq!(said[0].0, "ok", "{said:#?}");
    }

    #[test]
    fn who_may_not_ask_hears_unknown_and_never_that_all_is_well() {
        let zone = || with(allow("route53:ChangeResourceRecordSets", ZONE));
        let good = || with(allow("s3:GetObject", "*"));
        let (only_simulate, all_but_simulate) = (["GetRole", "SimulatePrincipalPolicy"], &ALL[..6]);
        for (name, role, may) in [
            ("role-nothing", zone(), &[][..]),
            ("role-name", good(), &["GetRole"]),
            ("role-simulate", zone(), &only_simulate),
            ("role-policies", good(), all_but_simulate),
        ] {
            let (said, _) = said(name, role, may);
            assert!(
                !said.is_empty() && said.iter().all(|(level, _)| level == "warning"),
                "{name}: {said:#?}"
            );
            assert!(
                said.iter().all(|(_, found)| found.starts_with("unknown: ")),
                "{name}: {said:#?}"
            );
        }
        // What its policies say is said all the same.
        let (said, _) = said("role-both", zone(), all_but_simulate);
        let levels: Vec<_> = said.iter().map(|(level, _)| level.as_str()).collect();
        assert_eq!(levels, ["warning", "error"], "{said:#?}");
        assert!(
            said[0].1.contains("AccessDenied") || said[0].1.contains("not authorized"),
            "{said:#?}"
        );
    }

    #[test]
    fn what_depends_on_a_condition_is_unknown() {
        let conditional = json!({"Statement": [{
            "Effect": "Allow", "Action": "route53:ChangeResourceRecordSets", "Resource": ZONE,
            "Condition": {"ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsRecordTypes": ["TXT"]}}
        }]});
        let (said, _) = said("role-condition", with(conditional), &ALL);
        let [(level, found)] = &said[..] else {
            panic!("{said:#?}")
        };
        assert_eq!(level, "warning");
        assert!(
            found.starts_with("unknown: what depends on more than is known: route53:ChangeResourceRecordSets on"),
            "{found}"
        );
        assert!(found.contains("route53:ChangeResourceRecordSetsRecordTypes"), "{found}");
    }
}
