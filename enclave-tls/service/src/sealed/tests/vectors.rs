//! The format, against a writer and a reader that share no code with this one: `tests/vectors/sealed/sealed.py`.

use std::process::Command;

use aws_lc_rs::digest;
use enclave_policy::aws::KeyArn;

use super::*;

const GOLDEN: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/sealed/lab-web.sealed"
));
/// The same state under KMS keys of two regions: version 2.
const TWO_REGIONS: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/vectors/sealed/two-regions.sealed"
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

/// What the KMS keys of the two regions give.
fn golden_keks() -> [(KeyArn, [u8; 32]); 2] {
    ["eu-central-1", "us-east-1"].map(|region| {
        let kek = digest::digest(&digest::SHA256, region.as_bytes());
        let arn = ARN.replace("us-east-1", region).parse().unwrap();
        (arn, kek.as_ref().try_into().unwrap())
    })
}

#[test]
fn what_python_sealed_under_two_keys_is_opened_by_each() {
    let one = Envelope::parse(GOLDEN).unwrap().open(&golden_key()).unwrap();
    for (arn, kek) in golden_keks() {
        let envelope = Envelope::parse(TWO_REGIONS).unwrap();
        let data_key = DataKey::of(envelope.header(), &arn, &kek).unwrap();
        assert_eq!(data_key.secret.as_slice(), golden_key().secret.as_slice());
        let two = envelope.open(&data_key).unwrap();
        assert_eq!((&two.name, two.number), (&one.name, one.number));
        let ids = |state: &State| state.generations.iter().map(|its| its.key.id()).collect::<Vec<_>>();
        assert_eq!(ids(&two), ids(&one));
    }
}

/// The first version's bytes are what they were: the same salt gives the same blob.
#[test]
fn version_1_is_written_as_ever() {
    let envelope = Envelope::parse(GOLDEN).unwrap();
    let state = envelope.open(&golden_key()).unwrap();
    let header = Header::new(&state, &golden_key(), &envelope.header.policy_sha384).unwrap();
    let mut again = header.to_bytes();
    again.extend_from_slice(&envelope.salt);
    let mut contents = contents::write(&state.generations).unwrap();
    again.extend_from_slice(&u32::try_from(contents.len() + cipher::TAG).unwrap().to_be_bytes());
    let cipher = cipher_of(&golden_key(), &header.name, &envelope.salt).unwrap();
    let tag = cipher.seal(&again, &mut contents).unwrap();
    assert_eq!([again.as_slice(), &contents, &tag].concat(), GOLDEN);
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
    let open = |blob: &[u8], secret: &[u8], arn: Option<&KeyArn>| {
        let path = std::env::temp_dir().join(format!("enclave-tls-sealed-{}", std::process::id()));
        std::fs::write(&path, blob).unwrap();
        let mut command = Command::new(&python);
        command.args([SCRIPT, "open"]).arg(&path).arg(hex::encode(secret));
        let output = command.args(arn.map(ToString::to_string)).output();
        std::fs::remove_file(&path).unwrap();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let state = Envelope::parse(GOLDEN).unwrap().open(&golden_key()).unwrap();
    let policy = Envelope::parse(GOLDEN).unwrap().header.policy_sha384;
    let again = state.seal(&golden_key(), &policy).unwrap();
    assert_ne!(again, GOLDEN, "a salt of its own");
    let [golden, again] = [GOLDEN, &again].map(|blob| open(blob, golden_key().secret.as_slice(), None));
    assert!(golden.contains(r#""name": "lab-web""#), "{golden}");
    assert_eq!(golden, again, "with every byte of the keys");

    let [(one, kek), (two, other_kek)] = golden_keks();
    let wrapped = |region: &str| region.repeat(12).into_bytes();
    let secret = golden_key().secret;
    let data_key = DataKey::under(name("lab"), &secret, two.clone(), &other_kek, wrapped("us-east-1")).unwrap();
    let data_key = data_key.also_under(one.clone(), &kek, wrapped("eu-central-1")).unwrap();
    let ours = state.seal(&data_key, &policy).unwrap();
    assert_eq!(ours.len(), TWO_REGIONS.len());
    let golden = open(TWO_REGIONS, &kek, Some(&one));
    for (arn, kek) in [(&one, &kek), (&two, &other_kek)] {
        assert_eq!(open(&ours, kek, Some(arn)), golden, "{arn}");
    }
}
