//! AWS credentials: given to the service when it comes, again before they end, and when it asks.

use std::fs;
use std::path::Path;

use enclave_wire::control::ControlError;

use crate::config::Config;
use crate::fake::{AwsCredentials, Fake};
use crate::stack::Stack;

const STATIC: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDSTATIC"),
    ("AWS_SECRET_ACCESS_KEY", "canary-secret-of-static-credentials"),
    ("AWS_SESSION_TOKEN", "canary-token-of-static-credentials"),
];

/// A profile whose credentials come from a script: each time with another id, and good for some seconds.
fn profile(stack: &Stack, seconds: u32) -> [(&'static str, String); 2] {
    let script = stack.dir.join("credentials.sh");
    let text = format!(
        "n=$(cat {0}/count 2>/dev/null || echo 0); n=$((n + 1)); echo $n > {0}/count\n\
         end=$(date -u -d '+{seconds} seconds' +%Y-%m-%dT%H:%M:%SZ)\n\
         echo \"{{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"AKID$n\\\",\\\"SecretAccessKey\\\":\\\"s$n\\\",\
         \\\"SessionToken\\\":\\\"t$n\\\",\\\"Expiration\\\":\\\"$end\\\"}}\"\n",
        stack.dir.display()
    );
    fs::write(&script, text).unwrap();
    let config = stack.dir.join("aws-config");
    fs::write(
        &config,
        format!("[default]\ncredential_process = sh {}\n", script.display()),
    )
    .unwrap();
    let path = |path: &Path| path.display().to_string();
    [
        ("AWS_CONFIG_FILE", path(&config)),
        ("AWS_SHARED_CREDENTIALS_FILE", path(&stack.dir.join("none"))),
    ]
}

/// Starts an agent that lends credentials, where there are any, and an enclave that shall ask KMS by another host's name.
fn lend(stack: &mut Stack, environment: &[(&str, &str)]) {
    let config = Config {
        more: "[aws]\nkms_host = \"kms-fips.us-east-1.amazonaws.com\"\n\n\
               [egress]\nallow = [\"kms-fips.us-east-1.amazonaws.com:443\"]\n"
            .to_owned(),
        ..stack.config()
    };
    stack.start_agent_with(&config, environment);
}

#[test]
fn the_service_has_credentials_before_its_states_are_restored_and_the_same_once_only() {
    let mut stack = Stack::new("aws-first");
    lend(&mut stack, &STATIC);
    let mut fake = Fake::start(&stack.control());
    fake.wait_until_serving();
    assert_eq!(fake.world().asked, ["Policy", "InstallAws", "Ready"]);
    stack.credential("nginx");
    stack.ok(&[
        "create", "www", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ]);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    assert_eq!(
        fake.world().asked,
        ["Policy", "InstallAws", "InstallCredential", "Restore", "Ready"]
    );
    let [id, secret, token] = STATIC.map(|(_, value)| value.to_owned());
    let given = AwsCredentials {
        id,
        secret,
        token: Some(token),
        expires: None,
        kms_host: Some("kms-fips.us-east-1.amazonaws.com".to_owned()),
    };
    assert_eq!(fake.world().aws, [given]);

    fake.world().wants_credentials = true;
    fake.wait_until("it has asked for others", |world| !world.wants_credentials);
    let pongs = fake.world().pongs;
    fake.wait_until("some seconds pass", |world| world.pongs > pongs + 12);
    assert_eq!(fake.world().aws.len(), 1, "there are no others: the same are no news");
    let status = stack.ok(&["status"]);
    assert!(status.contains("AWS credentials  installed 2 times\n"), "{status}");
    assert!(!stack.log().contains("canary"), "{}", stack.log());
}

#[test]
fn credentials_are_given_again_before_they_end() {
    let mut stack = Stack::new("aws-again");
    let environment = profile(&stack, 22);
    lend(
        &mut stack,
        &environment.each_ref().map(|(name, value)| (*name, value.as_str())),
    );
    let fake = Fake::start(&stack.control());
    fake.wait_until_serving();
    fake.wait_until("three sets", |world| world.aws.len() >= 3);
    let world = fake.world();
    let ids: Vec<_> = world.aws.iter().map(|set| set.id.as_str()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each is newer: {ids:?}");
    assert!(world.aws.iter().all(|set| set.token.is_some() && set.expires.is_some()));
    assert!(world.aws.is_sorted_by_key(|set| set.expires));
}

#[test]
fn where_there_are_none_the_service_opens_that_is_said_once_and_states_follow_when_there_are() {
    let mut stack = Stack::new("aws-none");
    lend(&mut stack, &STATIC);
    let mut fake = Fake::start(&stack.control());
    fake.wait_until_serving();
    stack.credential("nginx");
    stack.ok(&[
        "create", "www", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ]);
    stack.stop_agent();

    let environment = profile(&stack, 3_600);
    let script = stack.dir.join("credentials.sh");
    fs::rename(&script, stack.dir.join("later.sh")).unwrap();
    fake.world().refuse.insert("Restore", ControlError::CredentialsMissing);
    lend(
        &mut stack,
        &environment.each_ref().map(|(name, value)| (*name, value.as_str())),
    );
    fake.restart(&stack.control());
    fake.wait_until_serving();
    assert!(fake.world().aws.is_empty());
    stack.wait_for_log("tried again until there are some");
    let status = stack.json(&["status"]);
    assert_eq!(status["aws"]["credentials"], false);
    assert!(
        status["aws"]["failure"]
            .as_str()
            .unwrap()
            .contains("no AWS credentials"),
        "{status}"
    );

    fake.wait_until("another attempt", |world| {
        world.asked.iter().filter(|name| **name == "Restore").count() >= 3
    });
    assert_eq!(
        stack.log().matches("no AWS credentials were found").count(),
        1,
        "{}",
        stack.log()
    );
    fake.world().refuse.clear();
    fs::rename(stack.dir.join("later.sh"), &script).unwrap();
    fake.wait_until("credentials, and what they open", |world| {
        world.aws.len() == 1 && world.keys.len() == 1
    });
    stack.wait_for_log("AWS credentials are found again");
}

#[test]
fn a_service_that_needs_credentials_of_an_agent_without_is_answered_and_that_is_said_once() {
    let (stack, fake) = Stack::serving("aws-off");
    for _ in 0..2 {
        fake.world().wants_credentials = true;
        fake.wait_until("it was asked", |world| !world.wants_credentials);
    }
    let pongs = fake.world().pongs;
    fake.wait_until("the connection goes on", |world| world.pongs > pongs);
    assert_eq!(
        stack.log().matches("add a section [aws] to the configuration").count(),
        1,
        "{}",
        stack.log()
    );
}
