//! A stand-in for the Nitro PKI: a root, two intermediates and a leaf, any property of which a test may break.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
};
use enclave_attestation::{Document, sign};

/// What a certificate says. `Default` gives an issuer that nothing is wrong with.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) subject: &'static str,
    pub(crate) issuer: &'static str,
    pub(crate) not_before: &'static str,
    pub(crate) not_after: &'static str,
    pub(crate) ca: bool,
    pub(crate) path_length: Option<u8>,
    /// The bits of KeyUsage (RFC 5280, section 4.2.1.3), the first at the top.
    pub(crate) key_usage: u8,
    pub(crate) strange_critical_extension: bool,
}

/// The four certificates, root first, and who signs each (by its place).
pub(crate) struct Pki {
    pub(crate) says: [Says; 4],
    pub(crate) signer: [usize; 4],
    keys: [Vec<u8>; 4],
    /// Made at the first use, and then the same: an ECDSA signature is another each time.
    made: OnceLock<Vec<Vec<u8>>>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let issuer = |subject, issuer, path_length| Says {
            subject,
            issuer,
            not_before: "250101000000Z",
            not_after: "250201000000Z",
            ca: true,
            path_length,
            key_usage: KEY_CERT_SIGN,
            strange_critical_extension: false,
        };
        let leaf = Says {
            ca: false,
            key_usage: DIGITAL_SIGNATURE,
            ..issuer("leaf", "zonal", None)
        };
        let says = [
            issuer("root", "root", None),
            issuer("regional", "root", Some(1)),
            issuer("zonal", "regional", Some(0)),
            leaf,
        ];
        let keys = std::array::from_fn(|_| {
            let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
            key.to_pkcs8v1().unwrap().as_ref().to_vec()
        });
        Self {
            says,
            signer: [0, 0, 1, 2],
            keys,
            made: OnceLock::new(),
        }
    }

    pub(crate) fn certificates(&self) -> Vec<Vec<u8>> {
        self.made
            .get_or_init(|| (0..4).map(|place| self.certificate(place)).collect())
            .clone()
    }

    fn certificate(&self, place: usize) -> Vec<u8> {
        let public = self
            .key(place, &ECDSA_P384_SHA384_ASN1_SIGNING)
            .public_key()
            .as_ref()
            .to_vec();
        let body = to_be_signed(&self.says[place], &public);
        let signer = self.key(self.signer[place], &ECDSA_P384_SHA384_ASN1_SIGNING);
        let signature = signer.sign(&SystemRandom::new(), &body).unwrap();
        der(0x30, &[body, algorithm(), bit_string(signature.as_ref())].concat())
    }

    fn key(&self, place: usize, algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(algorithm, &self.keys[place]).unwrap()
    }

    pub(crate) fn root_sha256(&self) -> [u8; 32] {
        digest(&SHA256, &self.certificates()[0]).as_ref().try_into().unwrap()
    }

    /// Puts this PKI's certificates into `document` and signs it with the leaf's key.
    pub(crate) fn sign(&self, mut document: Document) -> Vec<u8> {
        let mut certificates = self.certificates();
        document.certificate = certificates.pop().unwrap();
        document.cabundle = certificates;
        self.sign_as_it_is(&document)
    }

    pub(crate) fn sign_as_it_is(&self, document: &Document) -> Vec<u8> {
        sign(document, |bytes| self.sign_bytes(bytes)).unwrap()
    }

    pub(crate) fn sign_bytes(&self, bytes: &[u8]) -> Result<[u8; 96], ()> {
        let key = self.key(3, &ECDSA_P384_SHA384_FIXED_SIGNING);
        key.sign(&SystemRandom::new(), bytes)
            .map_err(|_| ())?
            .as_ref()
            .try_into()
            .map_err(|_| ())
    }
}

/// A document that nothing is wrong with, but for its certificates.
pub(crate) fn document() -> Document {
    Document {
        module_id: "i-0123456789abcdef0-enc0123456789abcdef".to_owned(),
        timestamp_ms: AT * 1_000,
        pcrs: (0..16).map(|index| (index, [index + 1; 48])).collect(),
        certificate: Vec::new(),
        cabundle: Vec::new(),
        public_key: None,
        user_data: Some(vec![7; 48]),
        nonce: Some(vec![9; 20]),
    }
}

/// 2025-01-15 00:00:00 UTC.
pub(crate) const AT: u64 = 1_736_899_200;
pub(crate) const KEY_CERT_SIGN: u8 = 0x04;
pub(crate) const DIGITAL_SIGNATURE: u8 = 0x80;

fn to_be_signed(says: &Says, public: &[u8]) -> Vec<u8> {
    let time = |text: &str| der(0x17, text.as_bytes());
    let ec_public_key = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let p384 = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let spki = [der(0x30, &[&ec_public_key[..], &p384].concat()), bit_string(public)].concat();
    der(
        0x30,
        &[
            vec![0xa0, 3, 2, 1, 2],
            vec![2, 1, 1],
            algorithm(),
            name(says.issuer),
            der(0x30, &[time(says.not_before), time(says.not_after)].concat()),
            name(says.subject),
            der(0x30, &spki),
            der(0xa3, &der(0x30, &extensions(says))),
        ]
        .concat(),
    )
}

fn extensions(says: &Says) -> Vec<u8> {
    let mut constraints = if says.ca { vec![1, 1, 0xff] } else { Vec::new() };
    constraints.extend(says.path_length.map(|limit| [2, 1, limit]).into_iter().flatten());
    let mut all = extension(&[0x55, 0x1d, 0x13], &der(0x30, &constraints));
    all.extend(extension(
        &[0x55, 0x1d, 0x0f],
        &[
            3,
            2,
            u8::try_from(says.key_usage.trailing_zeros()).unwrap(),
            says.key_usage,
        ],
    ));
    if says.strange_critical_extension {
        all.extend(extension(&[0x2a, 0x03, 0x04], &[5, 0]));
    }
    all
}

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    der(0x30, &[der(6, oid), vec![1, 1, 0xff], der(4, value)].concat())
}

fn algorithm() -> Vec<u8> {
    der(0x30, &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03])
}

fn name(common_name: &str) -> Vec<u8> {
    let attribute = [der(6, &[0x55, 0x04, 0x03]), der(0x0c, common_name.as_bytes())].concat();
    der(0x30, &der(0x31, &der(0x30, &attribute)))
}

fn bit_string(bytes: &[u8]) -> Vec<u8> {
    der(3, &[&[0], bytes].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match u8::try_from(len) {
        Ok(short @ 0..=127) => out.push(short),
        Ok(one) => out.extend([0x81, one]),
        Err(_) => out.extend([&[0x82][..], &u16::try_from(len).unwrap().to_be_bytes()].concat()),
    }
    out.extend(content);
    out
}
