//! Credentials, objects, and the files beside them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use enclave_tls_apply::{ClientError, Fault, ObjectsFile};
use enclave_wire::credential::Secret;
use sha2::{Digest, Sha256};

use crate::fake::World;

#[test]
fn a_credential_is_for_its_group_alone_and_named_by_its_id() {
    let mut world = World::with_script("");
    let client = world.start();
    client
        .credential("web".parse().unwrap(), Secret::from_random([0; 32]))
        .unwrap();
    client
        .credential("web".parse().unwrap(), Secret::from_random([9; 32]))
        .unwrap();
    let file = world.at("base/clients/web/credential");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(
        (metadata.mode() & 0o7777, metadata.gid()),
        (0o640, rustix::process::getegid().as_raw())
    );
    assert_eq!(fs::read(&file).unwrap(), Secret::from_random([9; 32]).to_file());
    let state = client.state().unwrap();
    let shown = state.clients.first().unwrap();
    let expected: [u8; 32] = Sha256::digest(Secret::from_random([9; 32]).id_input()).into();
    assert_eq!(shown.credential.unwrap().0, expected[..16]);
    assert_eq!(shown.objects, None);
    assert!(!world.read("log").contains("0909"));
    assert!(fs::metadata(world.at("base/.apply")).unwrap().mode() & 0o077 == 0);
}

#[test]
fn the_module_and_openssl_find_what_they_need() {
    let mut world = World::with_script("");
    let client = world.start();
    client
        .objects("web".parse().unwrap(), ObjectsFile::new(b"public".to_vec()).unwrap())
        .unwrap();
    assert_eq!(world.read("base/clients/web/objects"), "public");
    let config = world.read("base/clients/web/pkcs11.toml");
    assert!(
        config.ends_with("endpoints = [\"vsock:16:4430\"]\ncredential = \"credential\"\nobjects = \"objects\"\n"),
        "{config}"
    );
    let argument = format!("config={}/base/clients/web/pkcs11.toml\n", world.text());
    for (file, key) in [("provider.cnf", "pkcs11-module-init-args"), ("engine.cnf", "INIT_ARGS")] {
        let text = world.read(&format!("base/clients/web/{file}"));
        assert!(text.contains(&format!("{key} = {argument}")), "{text}");
    }
    for file in ["objects", "pkcs11.toml", "provider.cnf", "engine.cnf"] {
        let mode = fs::metadata(world.at("base/clients/web").join(file)).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o644, "{file}");
    }
    let digest: [u8; 32] = Sha256::digest(b"public").into();
    assert_eq!(client.state().unwrap().clients.first().unwrap().objects, Some(digest));
}

#[test]
fn only_clients_of_the_configuration_file_get_anything() {
    let mut world = World::with_script("");
    let client = world.start();
    for refused in [
        client.credential("other".parse().unwrap(), Secret::from_random([1; 32])),
        client.objects("other".parse().unwrap(), ObjectsFile::new(Vec::new()).unwrap()),
    ] {
        let Err(ClientError::Refused(refusal)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(refusal.fault, Fault::Configuration);
        assert!(refusal.message.contains("has no client other"), "{refusal}");
    }
    assert!(!world.at("base/clients").exists());
}

#[test]
fn a_group_that_is_not_there_is_said() {
    let mut world = World::with_script("[clients.nobody]\ngroup = \"no-such-group\"\n");
    let client = world.start();
    let refused = client.credential("nobody".parse().unwrap(), Secret::from_random([1; 32]));
    let Err(ClientError::Refused(refusal)) = refused else {
        panic!("{refused:?}")
    };
    assert!(refusal.message.contains("no-such-group"), "{refusal}");
}
