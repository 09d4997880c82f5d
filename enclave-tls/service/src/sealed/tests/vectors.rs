//! The format, against a writer and a reader that share no code with this one: `tests/vectors/sealed/sealed.py`.

use std::process::Command;

use super::*;

const GOLDEN: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/sealed/lab-web.sealed"
));
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/sealed/sealed.py");

fn golden_key() -> DataKey {
    let counting = |length: u8| (0..length).collect::<Vec<u8>>();
    let secret: [u8; 32] = counting(32).try_into().unwrap();
    DataKey::new(name("lab"), ARN.parse().unwrap(), counting(184), &secret)
}

#[test]
fn what_python_sealed_is_opened() {
    let state = Envelope::parse(GOLDEN).unwrap().open(&golden_key()).unwrap();
    assert_eq!((state.name.as_str(), state.group.as_str()), ("lab-web", "lab"));
    assert_eq!((state.number, state.last_generation), (7, 4));
    let [old, new] = state.generations.as_slice() else {
        panic!("two generations")
    };
    assert_eq!(
        (old.generation, old.state, old.usage, old.origin, old.key.id()),
        (
            2,
            Standing::Superseded,
            Usage::Digest,
            Origin::Imported,
            key!("rsa-2048").id()
        )
    );
    assert!(old.dns_names.items().is_empty() && old.clients.items().is_empty());
    assert!(old.chain.certificates().is_empty());
    assert_eq!(
        (new.generation, new.state, new.usage, new.origin, new.key.id()),
        (3, Standing::Live, Usage::Tls, Origin::Born, key!("p-256").id())
    );
    assert_eq!(
        new.dns_names.items(),
        ["www.example.com", "*.example.com"].map(|n| n.parse().unwrap())
    );
    assert_eq!(new.clients.items(), ["nginx", "haproxy"].map(name));
    let server = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/chains/server.der"));
    assert_eq!(new.chain.certificates()[0].as_bytes(), server);
    assert_eq!(new.chain.certificates().len(), 2);
}

#[test]
fn what_is_sealed_is_opened_by_python() {
    let Some(python) = std::env::var_os("ENCLAVE_TLS_PYTHON") else {
        eprintln!("SKIPPED what_is_sealed_is_opened_by_python: ENCLAVE_TLS_PYTHON names no interpreter");
        return;
    };
    let importable = Command::new(&python).args(["-c", "import cryptography"]).status();
    if !importable.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED what_is_sealed_is_opened_by_python: it has no `cryptography`");
        return;
    }
    let golden = Envelope::parse(GOLDEN).unwrap().open(&golden_key()).unwrap();
    let again = golden
        .seal(&golden_key(), &Envelope::parse(GOLDEN).unwrap().header.policy_sha384)
        .unwrap();
    assert_ne!(again, GOLDEN, "a salt of its own");
    let opened = [GOLDEN, &again].map(|blob| {
        let path = std::env::temp_dir().join(format!("enclave-tls-sealed-{}", std::process::id()));
        std::fs::write(&path, blob).unwrap();
        let mut command = Command::new(&python);
        let output = command
            .args([SCRIPT, "open"])
            .arg(&path)
            .arg(hex::encode(golden_key().secret.as_slice()))
            .output();
        std::fs::remove_file(&path).unwrap();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    });
    let [golden, again] = opened.map(|json| String::from_utf8(json).unwrap());
    assert!(golden.contains(r#""name": "lab-web""#), "{golden}");
    assert_eq!(golden, again, "with every byte of the keys");
}
