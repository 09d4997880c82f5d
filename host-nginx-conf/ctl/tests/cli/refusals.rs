//! What the service or the program refuses, and what it says then.

use std::collections::HashSet;
use std::fs;

use enclave_wire::control::ControlError;

use crate::stack::Stack;

#[test]
fn every_error_of_the_service_is_one_sentence_of_its_own() {
    let (stack, fake) = Stack::serving("sentences");
    let mut sentences = HashSet::new();
    for error in ControlError::ALL {
        fake.world().refuse.insert("Create", *error);
        let args = [
            "create", "www", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--json",
        ];
        let said = stack.fails(1, &args);
        assert!(
            said.starts_with("enclave-tlsctl: ") && said.matches('\n').count() == 1,
            "{error:?}: {said}"
        );
        assert!(sentences.insert(said), "{error:?}");
    }
}

#[test]
fn a_private_key_in_another_form_is_refused_with_the_command_that_converts_it() {
    let (stack, fake) = Stack::serving("forms");
    for (label, expected) in [
        ("RSA PRIVATE KEY", "openssl pkcs8 -topk8 -nocrypt"),
        ("EC PRIVATE KEY", "openssl pkcs8 -topk8 -nocrypt"),
        ("ENCRYPTED PRIVATE KEY", "openssl pkcs8 -in"),
        ("OPENSSH PRIVATE KEY", "ssh-keygen -p -m PKCS8"),
        ("CERTIFICATE", "--chain"),
    ] {
        let file = stack.pem("key.pem", label, b"key");
        let error = stack.fails(1, &["import", "www", &file, "--usage", "tls", "--client", "nginx"]);
        assert!(error.contains("key.pem: ") && error.contains(expected), "{error}");
    }
    let key = stack.pem("key.pem", "PRIVATE KEY", b"key");
    let error = stack.fails(
        1,
        &[
            "import", "www", &key, "--usage", "tls", "--client", "nginx", "--chain", &key,
        ],
    );
    assert!(
        error.contains("holds a private key; a chain holds certificates only"),
        "{error}"
    );
    fs::write(stack.dir.join("der"), [0x30, 1, 0]).unwrap();
    let error = stack.fails(1, &["import", "www", "der", "--usage", "tls", "--client", "nginx"]);
    assert!(error.contains("openssl pkey -inform DER"), "{error}");
    assert!(
        stack
            .fails(1, &["install", "www", "missing.pem"])
            .contains("missing.pem: No such file")
    );
    assert!(
        fake.world()
            .asked
            .iter()
            .all(|name| !["Import", "InstallChain"].contains(name))
    );
}

#[test]
fn an_import_whose_chain_is_refused_says_that_the_key_is_there() {
    let (stack, fake) = Stack::serving("half");
    fake.world().refuse.insert("InstallChain", ControlError::ChainOrder);
    let key = stack.pem("key.pem", "PRIVATE KEY", b"key");
    let chain = stack.pem("chain.pem", "CERTIFICATE", b"leaf");
    let error = stack.fails(
        1,
        &[
            "import", "www", &key, "--usage", "tls", "--client", "nginx", "--chain", &chain,
        ],
    );
    let id = fake.world().keys[0].id.to_string();
    assert!(
        error.contains(&format!("imported as {id}")) && error.contains("leaf first"),
        "{error}"
    );
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    let stack = Stack::new("usage");
    for args in [
        &["frobnicate"][..],
        &["create", "www"],
        &["create", "-", "--type", "p-256", "--usage", "tls", "--client", "nginx"],
        &["csr", "../key"],
        &["narrow", "www", "--usage", "decrypt"],
    ] {
        assert!(stack.fails(2, args).contains("--help"), "{args:?}");
    }
    assert!(
        stack
            .ok(&["--help"])
            .contains("KEY is a name, if it means exactly one key")
    );
    assert!(stack.ok(&["import", "--help"]).contains("--keep"));
}

#[test]
fn what_is_no_certificate_has_no_history() {
    let (stack, _fake) = Stack::serving("no-history");
    let said = stack.fails(1, &["history", "nope"]);
    assert!(said.contains("no certificate nope"), "{said}");
}
