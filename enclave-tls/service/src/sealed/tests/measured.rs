//! How long a restart takes to open its names. Nothing is asserted of the time:
//! `cargo test --release -p enclave-tls --lib measured -- --ignored --nocapture`.

use std::time::Instant;

use enclave_wire::control::Freshness;

use super::*;
use crate::keystore::KeyStore;

#[test]
#[ignore = "a measurement"]
fn opening_a_thousand_names() {
    for key_type in ["P-256", "P-384", "Ed25519", "RSA-2048", "RSA-3072", "RSA-4096"] {
        // A few keys stand for all: opening remembers nothing of them.
        let keys: Vec<_> = (0..8)
            .map(|_| Arc::new(SigningKey::generate(key_type.parse().unwrap()).unwrap()))
            .collect();
        let data_key = data_key("lab", 1);
        let blobs: Vec<Vec<u8>> = (0..1_000)
            .map(|number| {
                let sealed = state(&format!("web-{number}"), vec![generation(1, &keys[number % 8])]);
                sealed.seal(&data_key, &POLICY).unwrap()
            })
            .collect();
        let begin = Instant::now();
        for blob in &blobs {
            let state = Envelope::parse(blob).unwrap().open(&data_key).unwrap();
            // In a store of its own, since the store takes a key once.
            let restored = KeyStore::default().restore(state, Freshness::Unproven, |_| Ok(()));
            assert_eq!(restored.unwrap().keys.len(), 1);
        }
        println!("{key_type}: {:?} a name", begin.elapsed() / 1_000);
    }
}
