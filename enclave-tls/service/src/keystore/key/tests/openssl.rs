//! The `openssl` command: a verifier that shares no code with the library that signs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test's own, gone at its end.
pub(in crate::keystore) struct Scratch(PathBuf);

impl Scratch {
    pub(in crate::keystore) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "enclave-tls-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(in crate::keystore) fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `openssl` writes to its standard output, where it succeeds.
pub(in crate::keystore) fn run(arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed");
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The public key of a private key, as a SubjectPublicKeyInfo.
pub(in crate::keystore) fn public_key(pkcs8: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    let key = scratch.file("key", pkcs8);
    run(&["pkey", "-inform", "DER", "-in", &key, "-pubout", "-outform", "DER"]).unwrap()
}

/// Whether `signature` is of `input`: a digest, or what `options` make of it.
pub(in crate::keystore) fn verifies(
    spki: &[u8],
    options: &[&str],
    input: &[u8],
    signature: &[u8],
) -> Result<(), String> {
    let scratch = Scratch::new();
    let (key, input, signature) = (
        scratch.file("key", spki),
        scratch.file("input", input),
        scratch.file("signature", signature),
    );
    let fixed = [
        "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", &key, "-in", &input, "-sigfile", &signature,
    ];
    run(&[&fixed[..], options].concat()).map(drop)
}
