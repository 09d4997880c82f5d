//! The bundle for whoever helps.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use crate::directory::Directory;

const CREDENTIAL: &str = "enclave-tls-credential-v1:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";

fn unpacked(directory: &Directory, name: &str) -> BTreeMap<String, String> {
    let file = File::open(directory.0.join(name)).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    entries.collect()
}

#[test]
fn threat_39_a_bundle_has_no_secret_and_only_its_owner_reads_it() {
    let directory = Directory::new("support");
    let base = directory.0.join("base");
    let client = base.join("clients/web");
    fs::create_dir_all(&client).unwrap();
    fs::write(client.join("credential"), CREDENTIAL).unwrap();
    fs::write(
        client.join("pkcs11.toml"),
        "endpoints = [\"vsock:16:4430\"]\ncredential = \"credential\"\n",
    )
    .unwrap();
    // Somebody put a credential where none belongs.
    fs::write(client.join("provider.cnf"), CREDENTIAL).unwrap();
    let state = directory.0.join("state/keys");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n").unwrap();
    directory.write(
        "config.toml",
        format!(
            "[enclave]\nimage = \"/nonexistent.eif\"\nnitro_cli = \"/nonexistent\"\n[agent]\nstate = \"{}/state\"\n[clients.web]\ngroup = \"web\"\n",
            directory.0.display()
        ),
    );
    let (config, base) = (directory.0.join("config.toml"), base.display().to_string());
    let config = config.display().to_string();
    let args = [
        "--socket",
        "/nonexistent",
        "support-bundle",
        "--config",
        &config,
        "--base",
        &base,
        "--out",
        "b.tar.gz",
    ];
    let said = directory.ok(&args);
    let mode = fs::metadata(directory.0.join("b.tar.gz")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let files = unpacked(&directory, "b.tar.gz");
    let names: Vec<_> = files
        .keys()
        .map(|name| name.trim_start_matches("enclave-tls-support/"))
        .collect();
    assert_eq!(
        names,
        [
            "certificates.json",
            "check.json",
            "clients/web/engine.cnf",
            "clients/web/pkcs11.toml",
            "clients/web/provider.cnf",
            "config.toml",
            "logs.txt",
            "policy.toml",
            "status.json",
            "versions.txt"
        ]
    );
    for (name, text) in &files {
        assert!(
            !text.contains("00112233") && !text.contains("PRIVATE KEY"),
            "{name}: {text}"
        );
        assert!(
            said.contains(name.trim_start_matches("enclave-tls-support/")),
            "{name} is not listed: {said}"
        );
    }
    assert!(files["enclave-tls-support/config.toml"].contains("/nonexistent.eif"));
    assert!(files["enclave-tls-support/status.json"].contains("cannot reach the agent"));

    let error = directory.fails(1, &args);
    assert!(error.contains("b.tar.gz exists; nothing was written"), "{error}");
}
