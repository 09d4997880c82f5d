//! Each command, as text and as JSON.

use std::fs;
use std::os::unix::fs::MetadataExt;

use enclave_wire::credential::{PREFIX, Secret};
use sha2::{Digest, Sha256};

use crate::stack::Stack;

#[test]
fn create_prints_the_id_and_list_shows_the_key() {
    let (stack, _fake) = Stack::serving("create");
    assert_eq!(stack.ok(&["list"]), "The service holds no keys.\n");
    let id = stack.create("www", "tls");
    assert_eq!(id.len(), 64);
    stack.create("engine", "digest");
    stack.create("third", "tls-client");
    let text = stack.ok(&["list"]);
    assert!(
        text.starts_with("NAME    GEN  TYPE   USAGE            STATE  ORIGIN  AT RESTART"),
        "{text}"
    );
    assert!(
        text.contains("engine  1    P-256  digest (weaker)  live   born    lost"),
        "{text}"
    );
    assert!(text.contains("third"), "the second page too: {text}");
    assert!(
        text.contains("Born keys that are not sealed are in the running service alone"),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "no colours");
}

#[test]
fn json_has_the_shape_that_programs_rely_on() {
    let (stack, _fake) = Stack::serving("json");
    let args = [
        "create",
        "www",
        "--type",
        "RSA-2048",
        "--usage",
        "digest",
        "--client",
        "nginx",
        "--dns-name",
        "a.b,c.d",
    ];
    let created = stack.json(&args);
    for (field, value) in [
        ("name", "www".into()),
        ("type", "RSA-2048".into()),
        ("usage", "digest".into()),
        ("weaker", true.into()),
        ("generation", 1.into()),
        ("state", "live".into()),
        ("origin", "born".into()),
        ("dns_names", vec!["a.b", "c.d"].into()),
        ("clients", vec!["nginx"].into()),
        ("not_after", serde_json::Value::Null),
    ] {
        assert_eq!(created[field], value, "{field}");
    }
    let list = stack.json(&["list"]);
    assert_eq!(list["keys"][0]["id"], created["id"]);
    assert_eq!(list["keys"][0]["kept"], false);
    assert_eq!(
        (&list["lost"], &list["not_replayed"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );
    assert_eq!(
        (&list["waiting"], &list["keys"][0]["sealed"]),
        (&serde_json::json!([]), &serde_json::Value::Null)
    );
    assert_eq!(stack.json(&["supersede", "www"])["state"], "superseded");
    assert_eq!(stack.json(&["narrow", "www", "--usage", "tls"])["usage"], "tls");
    assert_eq!(stack.json(&["retire", "www"])["retired"], true);
}

#[test]
fn csr_is_pem_on_standard_output_or_in_a_file() {
    let (stack, fake) = Stack::serving("csr");
    let id = stack.create("www", "tls");
    let text = stack.ok(&["csr", "www"]);
    assert!(text.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"), "{text}");
    assert_eq!(stack.ok(&["csr", &id[..8], "--out", "www.csr"]), "");
    assert_eq!(fs::read_to_string(stack.dir.join("www.csr")).unwrap(), text);
    assert_eq!(stack.json(&["csr", "www"])["csr"], text);
    let (label, der) = pem_rfc7468::decode_vec(text.as_bytes()).unwrap();
    assert_eq!(
        (label, der),
        ("CERTIFICATE REQUEST", fake.world().keys[0].id.0.to_vec())
    );
    assert!(
        stack
            .fails(1, &["csr", "www", "--out", "/dev/stdout"])
            .contains("no regular file")
    );
}

#[test]
fn a_credential_is_for_its_group_and_its_verifier_is_in_the_service() {
    let (stack, fake) = Stack::serving("credential");
    let path = stack.dir.join("www.credential");
    let group = fs::metadata(&stack.dir).unwrap().gid();
    stack.ok(&[
        "credential",
        "www",
        "--out",
        "www.credential",
        "--group",
        &group.to_string(),
    ]);
    assert_eq!(Stack::mode(&path), 0o640);
    assert_eq!(fs::metadata(&path).unwrap().gid(), group);
    let file = fs::read(&path).unwrap();
    assert!(file.starts_with(PREFIX.as_bytes()));
    let secret = Secret::parse(&file).unwrap();
    {
        let world = fake.world();
        let (client, id, verifier) = world.credentials.last().unwrap();
        assert_eq!(client, "www");
        assert_eq!(id[..], Sha256::digest(secret.id_input())[..16]);
        assert_eq!(verifier[..], Sha256::digest(secret.verifier_input())[..]);
    }
    let before = fake.world().credentials.len();
    let error = stack.fails(1, &["credential", "www", "--out", "www.credential"]);
    assert!(error.contains("--force"), "{error}");
    assert_eq!(
        (fs::read(&path).unwrap(), fake.world().credentials.len()),
        (file.clone(), before)
    );
    let json = stack.json(&["credential", "www", "--out", "www.credential", "--force"]);
    assert_eq!((&json["client"], &json["kept"]), (&"www".into(), &true.into()));
    assert_ne!(fs::read(&path).unwrap(), file);
    assert!(
        stack
            .fails(1, &["credential", "www", "--out", "x", "--group", "no-such-group"])
            .contains("/etc/group")
    );
}

#[test]
fn a_credential_that_the_service_refuses_leaves_the_old_one_in_place() {
    let (stack, fake) = Stack::serving("credential-refused");
    let before = fs::read(stack.dir.join("nginx.credential")).unwrap();
    fake.world()
        .refuse
        .insert("InstallCredential", enclave_wire::control::ControlError::LimitReached);
    stack.fails(1, &["credential", "nginx", "--out", "nginx.credential", "--force"]);
    assert_eq!(fs::read(stack.dir.join("nginx.credential")).unwrap(), before);
    let names: Vec<_> = fs::read_dir(&stack.dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        names.iter().all(|name| !name.to_string_lossy().starts_with(".tmp")),
        "{names:?}"
    );
}

#[test]
fn import_takes_a_chain_along_and_install_replaces_it() {
    let (stack, fake) = Stack::serving("import");
    let chain = stack.pem("chain.pem", "CERTIFICATE", b"leaf");
    let id = stack.import("www", b"key", &["--chain", &chain]);
    let world = fake.world();
    assert_eq!(world.keys[0].id.0[..], Sha256::digest(b"key")[..]);
    assert_eq!(world.chains[&world.keys[0].id].certificates()[0].as_bytes(), b"leaf");
    drop(world);
    assert!(stack.ok(&["list"]).contains("2026-01-01T00:00:00Z"));
    let two = fs::read_to_string(stack.dir.join(&chain)).unwrap().repeat(2);
    fs::write(stack.dir.join("two.pem"), two).unwrap();
    assert_eq!(
        stack.json(&["install", &id, "two.pem"])["not_after"],
        "2026-01-01T00:00:00Z"
    );
    let world = fake.world();
    assert_eq!(world.chains[&world.keys[0].id].certificates().len(), 2);
}

#[test]
fn a_key_is_retired_by_name_and_several_of_a_name_are_told_apart() {
    let (stack, fake) = Stack::serving("retire");
    let first = stack.create("www", "tls");
    let second = stack.create("www", "tls");
    let error = stack.fails(1, &["retire", "www"]);
    assert!(
        error.contains(&first) && error.contains(&second) && error.contains("generation 2"),
        "{error}"
    );
    stack.ok(&["retire", &first[..12]]);
    assert_eq!(fake.world().keys.len(), 1);
    assert!(stack.ok(&["retire", "www", "--yes"]).contains(&second));
    assert!(fake.world().keys.is_empty());
    assert!(stack.fails(1, &["retire", "www"]).contains("no key www"));
}

#[test]
fn stats_count_by_key_and_mechanism() {
    let (stack, _fake) = Stack::serving("stats");
    let id = stack.create("www", "tls");
    let text = stack.ok(&["stats"]);
    assert!(text.contains("authentication failures  4\n"), "{text}");
    assert!(
        text.contains(&format!("www   EcdsaSha256  7       1        0       {id}")),
        "{text}"
    );
    let json = stack.json(&["stats"]);
    assert_eq!(
        (&json["phase"], &json["keys"][0]["signed"]),
        (&"serving".into(), &7.into())
    );
}
