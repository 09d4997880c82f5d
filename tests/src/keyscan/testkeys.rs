//! Keys of the unit tests, made by `openssl` for each run, and noise to hide them in.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use der::Decode;
use pkcs8::PrivateKeyInfoRef;

use super::private::RsaPrivateKey;

pub(super) struct Rsa {
    pub(super) modulus: Vec<u8>,
    pub(super) p: Vec<u8>,
    pub(super) q: Vec<u8>,
}

pub(super) fn rsa_2048() -> Rsa {
    let (_, der) = pem_rfc7468::decode_vec(rsa_2048_pem().as_bytes()).unwrap();
    let info = PrivateKeyInfoRef::from_der(&der).unwrap();
    let key = RsaPrivateKey::from_der(info.private_key.as_bytes()).unwrap();
    let bytes = |number: der::asn1::UintRef<'_>| number.as_bytes().to_vec();
    Rsa {
        modulus: bytes(key.modulus),
        p: bytes(key.prime1),
        q: bytes(key.prime2),
    }
}

/// The scalar of an EC key.
pub(super) fn scalar(pem: &str) -> Vec<u8> {
    let (_, der) = pem_rfc7468::decode_vec(pem.as_bytes()).unwrap();
    let info = PrivateKeyInfoRef::from_der(&der).unwrap();
    let key = sec1::EcPrivateKey::from_der(info.private_key.as_bytes()).unwrap();
    key.private_key.to_vec()
}

pub(super) fn rsa_2048_pem() -> &'static str {
    static PEM: LazyLock<String> = LazyLock::new(|| generate(&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]));
    &PEM
}

pub(super) fn p256_pem() -> &'static str {
    static PEM: LazyLock<String> = LazyLock::new(|| generate(&["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]));
    &PEM
}

pub(super) fn p384_pem() -> &'static str {
    static PEM: LazyLock<String> = LazyLock::new(|| generate(&["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]));
    &PEM
}

pub(super) fn p521_pem() -> &'static str {
    static PEM: LazyLock<String> = LazyLock::new(|| generate(&["EC", "-pkeyopt", "ec_paramgen_curve:P-521"]));
    &PEM
}

pub(super) fn ed25519_pem() -> &'static str {
    static PEM: LazyLock<String> = LazyLock::new(|| generate(&["ED25519"]));
    &PEM
}

pub(super) fn public_pem(private: &str) -> String {
    openssl(&["pkey", "-pubout"], private)
}

/// The same key as PKCS#1 or SEC1.
pub(super) fn traditional_pem(private: &str) -> String {
    openssl(&["pkey", "-traditional"], private)
}

fn generate(arguments: &[&str]) -> String {
    openssl(&[&["genpkey", "-algorithm"], arguments].concat(), "")
}

fn openssl(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("openssl");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Bytes without a pattern, the same in each run (xorshift).
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    })
    .take(len)
    .collect()
}
