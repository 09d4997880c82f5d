//! An enclave: an NSM stand-in, and a recipient key.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use emulator_nsm::{Options, StandIn, system_clock};
use enclave_attestation::{Bound, Document, Nsm};

use super::scratch::Scratch;

pub(crate) const IMAGE: [u8; 48] = [0xab; 48];

pub(crate) struct Enclave {
    scratch: Scratch,
    key: PrivateDecryptingKey,
}

impl Enclave {
    pub(crate) fn new() -> Self {
        Self {
            scratch: Scratch::new(),
            key: PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    pub(crate) fn root_sha256(&self) -> [u8; 32] {
        StandIn::start(self.options(IMAGE, 0)).unwrap().pki().root_sha256()
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let spki: PublicKeyX509Der<'_> = self.key.public_key().as_der().unwrap();
        spki.as_ref().to_vec()
    }

    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        let key: Pkcs8V1Der<'_> = self.key.as_der().unwrap();
        key.as_ref().to_vec()
    }

    /// A document as KMS wants it.
    pub(crate) fn document(&self) -> Vec<u8> {
        self.document_of(IMAGE, 0, Some(&self.spki()))
    }

    /// Of an image, by a clock that is so many milliseconds off, with this public key.
    pub(crate) fn document_of(&self, image: [u8; 48], offset_ms: i64, public_key: Option<&[u8]>) -> Vec<u8> {
        let nsm = StandIn::start(self.options(image, offset_ms)).unwrap();
        let bound = Bound {
            public_key,
            ..Bound::default()
        };
        nsm.attest(&bound).unwrap()
    }

    /// Of a module whose clock leapt ahead after it had its certificate.
    pub(crate) fn document_from_the_future(&self) -> Vec<u8> {
        let (clock, leap) = (system_clock(), Arc::new(AtomicU64::new(0)));
        let leapt = Arc::clone(&leap);
        let mut options = self.options(IMAGE, 0);
        options.clock = Arc::new(move || clock().saturating_add(leapt.load(Ordering::Relaxed)));
        let nsm = StandIn::start(options).unwrap();
        leap.store(120_000, Ordering::Relaxed);
        let spki = self.spki();
        let bound = Bound {
            public_key: Some(&spki),
            ..Bound::default()
        };
        nsm.attest(&bound).unwrap()
    }

    /// As QEMU's emulated NSM makes it.
    pub(crate) fn unsigned(&self) -> Vec<u8> {
        let payload = Document {
            module_id: "i-234-enc5678".to_owned(),
            timestamp_ms: system_clock()(),
            pcrs: (0..16).map(|index| (index, IMAGE)).collect(),
            certificate: vec![0; 64],
            cabundle: vec![vec![0; 64]],
            public_key: Some(self.spki()),
            user_data: None,
            nonce: None,
        }
        .encode();
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [0x84, 0x43, 0xa1, 0x01, 0x20, 0xa0, 0x59];
        [&head[..], &length, &payload, &[0x58, 64], &[0; 64]].concat()
    }

    /// Opens a `CiphertextForRecipient` with OpenSSL, which knows nothing of the emulator's encoder.
    pub(crate) fn open(&self, message: &[u8]) -> Option<Vec<u8>> {
        let [key, file] = ["recipient.der", "message.ber"].map(|name| self.scratch.path().join(name));
        std::fs::write(&key, self.pkcs8()).unwrap();
        std::fs::write(&file, message).unwrap();
        let mut command = Command::new("openssl");
        command
            .args([
                "cms", "-decrypt", "-binary", "-inform", "DER", "-keyform", "DER", "-inkey",
            ])
            .arg(key);
        let output = command.arg("-in").arg(file).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    fn options(&self, image: [u8; 48], offset_ms: i64) -> Options {
        let clock = system_clock();
        Options {
            dir: self.scratch.path().to_owned(),
            pcrs: BTreeMap::from([(0, image), (1, image), (2, image)]),
            clock: Arc::new(move || clock().saturating_add_signed(offset_ms)),
        }
    }
}
