//! Independent agreement: what `openssl cms` encrypts is decrypted, and what this crate writes as KMS does `openssl cms` decrypts.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::rsa::{OaepPrivateDecryptingKey, PrivateDecryptingKey};
use enclave_kms::cms::{CmsError, ContentForm, Envelope, seal};

#[test]
fn threat_36_what_openssl_encrypts_is_decrypted() {
    let openssl = OpenSsl::new("encrypts");
    let streamed = ["-stream", "-indef"];
    for length in [1, 16, 31, 32, 1_000, 4_096] {
        let plaintext: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        // With lengths throughout, and with indefinite ones and the content in pieces.
        for extra in [&[][..], &streamed[..]] {
            let message = openssl.encrypt(&plaintext, &["-aes256"], extra);
            let opened = Envelope::parse(&message).unwrap().open(&openssl.key).unwrap();
            assert_eq!(*opened, plaintext, "{length} {extra:?}");
        }
    }
}

#[test]
fn threat_36_what_openssl_encrypts_otherwise_is_refused() {
    let openssl = OpenSsl::new("otherwise");
    for (arguments, error) in [
        (&["-aes128"][..], CmsError::Algorithm),
        (&["-aes-256-gcm"], CmsError::Algorithm),
        (&["-aes256", "-keyopt", "rsa_oaep_md:sha512"], CmsError::Algorithm),
        (&["-aes256", "-keyopt", "rsa_mgf1_md:sha1"], CmsError::Algorithm),
        (&["-aes256", "-keyopt", "rsa_oaep_label:00"], CmsError::Algorithm),
        (
            &[
                "-aes256",
                "-secretkey",
                "00112233445566778899aabbccddeeff",
                "-secretkeyid",
                "00",
            ],
            CmsError::Form,
        ),
    ] {
        let message = openssl.encrypt(b"secret", arguments, &[]);
        assert_eq!(Envelope::parse(&message), Err(error), "{arguments:?}");
    }
}

#[test]
fn openssl_decrypts_what_is_written_as_kms_does() {
    let openssl = OpenSsl::new("decrypts");
    for form in [
        ContentForm::Primitive,
        ContentForm::Pieces(16),
        ContentForm::Pieces(1_000),
    ] {
        let plaintext = vec![7; 4_096];
        let sealed = seal(&openssl.spki, &plaintext, form).unwrap();
        assert_eq!(openssl.decrypt(&sealed), plaintext, "{form:?}");
    }
}

/// A key, its certificate with a key identifier of 32 bytes, and a directory for them.
struct OpenSsl {
    directory: PathBuf,
    key: OaepPrivateDecryptingKey,
    spki: Vec<u8>,
}

impl OpenSsl {
    fn new(test: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cms-{test}"));
        std::fs::create_dir_all(&directory).unwrap();
        let identifier = format!("subjectKeyIdentifier={}", ["AB"; 32].join(":"));
        let run = |arguments: &[&str]| run(&directory, arguments);
        run(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            "key.pem",
        ]);
        run(&[
            "req",
            "-x509",
            "-new",
            "-key",
            "key.pem",
            "-subj",
            "/CN=x",
            "-addext",
            &identifier,
            "-out",
            "leaf.pem",
        ]);
        run(&[
            "pkcs8", "-topk8", "-nocrypt", "-in", "key.pem", "-outform", "DER", "-out", "key.der",
        ]);
        run(&[
            "pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "spki.der",
        ]);
        let key = PrivateDecryptingKey::from_pkcs8(&std::fs::read(directory.join("key.der")).unwrap()).unwrap();
        Self {
            key: OaepPrivateDecryptingKey::new(key).unwrap(),
            spki: std::fs::read(directory.join("spki.der")).unwrap(),
            directory,
        }
    }

    fn encrypt(&self, plaintext: &[u8], arguments: &[&str], extra: &[&str]) -> Vec<u8> {
        std::fs::write(self.directory.join("plain"), plaintext).unwrap();
        let oaep = [
            "-keyid",
            "-keyopt",
            "rsa_padding_mode:oaep",
            "-keyopt",
            "rsa_oaep_md:sha256",
        ];
        let (cipher, others) = arguments.split_first().unwrap();
        let recipient = [
            &["cms", "-encrypt", "-binary", cipher, "-recip", "leaf.pem"][..],
            &oaep,
            others,
            extra,
        ];
        let files = ["-in", "plain", "-outform", "DER", "-out", "message"];
        run(&self.directory, &[&recipient.concat()[..], &files].concat());
        std::fs::read(self.directory.join("message")).unwrap()
    }

    fn decrypt(&self, message: &[u8]) -> Vec<u8> {
        std::fs::write(self.directory.join("message"), message).unwrap();
        let files = ["-inform", "DER", "-in", "message", "-out", "plain"];
        let arguments = ["cms", "-decrypt", "-binary", "-inkey", "key.pem"];
        run(&self.directory, &[&arguments[..], &files].concat());
        std::fs::read(self.directory.join("plain")).unwrap()
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn run(directory: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {errors}");
}
