use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey};
use proptest::prelude::*;

use super::ber::{END_OF_CONTENTS, INDEFINITE};
use super::seal::{indefinite, tlv};
use super::*;

const IN_PIECES: &[u8] = include_bytes!("../../tests/vectors/ciphertext-for-recipient-1.ber");
const PRIMITIVE: &[u8] = include_bytes!("../../tests/vectors/ciphertext-for-recipient-2.ber");

/// One key for all tests of this file: making one takes a while.
static KEY: LazyLock<(OaepPrivateDecryptingKey, Vec<u8>)> = LazyLock::new(|| {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let spki: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let spki = spki.as_ref().to_vec();
    (OaepPrivateDecryptingKey::new(key).unwrap(), spki)
});

/// A message whose parts a test changes one by one.
struct Draft {
    content_type: Vec<u8>,
    version: Vec<u8>,
    recipients: Vec<u8>,
    data_type: Vec<u8>,
    algorithm: Vec<u8>,
    content: Vec<u8>,
    attributes: Vec<u8>,
}

type Change = Box<dyn Fn(&mut Draft)>;

impl Draft {
    fn new() -> Self {
        Self {
            content_type: tlv(OBJECT_IDENTIFIER, &[ENVELOPED_DATA]),
            version: tlv(INTEGER, &[&[2]]),
            recipients: tlv(SET, &[&recipient(|_| ())]),
            data_type: tlv(OBJECT_IDENTIFIER, &[DATA]),
            algorithm: algorithm(AES_256_CBC, &[7; 16]),
            content: tlv(IMPLICIT_0, &[&[9; 32]]),
            attributes: Vec::new(),
        }
    }

    /// With the outer layers' lengths given or not.
    fn encode(&self, layer: fn(u8, &[u8]) -> Vec<u8>) -> Vec<u8> {
        let info = [&*self.data_type, &self.algorithm, &self.content].concat();
        let info = layer(SEQUENCE, &info);
        let data = [&*self.version, &self.recipients, &info, &self.attributes].concat();
        let explicit = layer(CONSTRUCTED_0, &layer(SEQUENCE, &data));
        layer(SEQUENCE, &[&*self.content_type, &explicit].concat())
    }
}

fn definite(tag: u8, content: &[u8]) -> Vec<u8> {
    tlv(tag, &[content])
}

/// A KeyTransRecipientInfo: version, key identifier, algorithm, wrapped key.
fn recipient(change: impl FnOnce(&mut [Vec<u8>; 4])) -> Vec<u8> {
    let mut parts = [
        tlv(INTEGER, &[&[2]]),
        tlv(IMPLICIT_0, &[&[1; 32]]),
        OAEP_SHA256.to_vec(),
        tlv(OCTET_STRING, &[&[3; 256]]),
    ];
    change(&mut parts);
    tlv(SEQUENCE, &[&parts.concat()])
}

fn algorithm(oid: &[u8], iv: &[u8]) -> Vec<u8> {
    let parts = [tlv(OBJECT_IDENTIFIER, &[oid]), tlv(OCTET_STRING, &[iv])];
    tlv(SEQUENCE, &[&parts.concat()])
}

#[test]
fn threat_36_what_kms_sends_is_read_in_both_forms() {
    let envelope = Envelope::parse(IN_PIECES).unwrap();
    let wrapped_key = include_bytes!("../../tests/vectors/ciphertext-for-recipient-1.wrapped-key");
    assert_eq!(envelope.wrapped_key(), wrapped_key);
    let content = include_bytes!("../../tests/vectors/ciphertext-for-recipient-1.content");
    assert_eq!(envelope.content(), content);
    assert_eq!(envelope.iv, IN_PIECES[415..431]);
    let content = include_bytes!("../../tests/vectors/ciphertext-for-recipient-2.content");
    assert_eq!(Envelope::parse(PRIMITIVE).unwrap().content(), content);
}

#[test]
fn what_this_crate_writes_has_the_form_of_kms() {
    for (form, sample, length) in [
        (ContentForm::Pieces(1_000), IN_PIECES, 32),
        (ContentForm::Primitive, PRIMITIVE, 5),
    ] {
        let mut made = seal(&KEY.1, &vec![0; length], form).unwrap();
        assert_eq!(made.len(), sample.len());
        // Key identifier, wrapped key, IV and content.
        let content = sample.len() - if length == 32 { 58 } else { 24 };
        for different in [33..65, 131..387, 415..431, content..sample.len() - 8] {
            made[different.clone()].copy_from_slice(&sample[different]);
        }
        assert_eq!(made, sample);
    }
}

#[test]
fn outer_layers_may_have_lengths() {
    let draft = Draft::new();
    let envelope = Envelope::parse(&draft.encode(indefinite)).unwrap();
    assert_eq!(Envelope::parse(&draft.encode(definite)), Ok(envelope));
}

#[test]
fn threat_36_each_rule_is_refused_by_its_own_error() {
    let two = [recipient(|_| ()), recipient(|_| ())].concat();
    let one = |change: fn(&mut [Vec<u8>; 4])| tlv(SET, &[&recipient(change)]);
    let sha1 = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07";
    let with: [(&str, Change, CmsError); 22] = [
        ("signed data", Box::new(|d| d.content_type[10] = 2), CmsError::Algorithm),
        ("version 0", Box::new(|d| d.version[2] = 0), CmsError::Form),
        (
            "version 2 in two bytes",
            Box::new(|d| d.version = vec![2, 2, 0, 2]),
            CmsError::Form,
        ),
        ("originator", Box::new(|d| d.version.extend([0xa0, 0])), CmsError::Form),
        (
            "no recipient",
            Box::new(|d| d.recipients = tlv(SET, &[])),
            CmsError::Form,
        ),
        (
            "two recipients",
            Box::new(move |d| d.recipients = tlv(SET, &[&two])),
            CmsError::Form,
        ),
        (
            "recipients without a length",
            Box::new(|d| d.recipients = indefinite(SET, &recipient(|_| ()))),
            CmsError::Form,
        ),
        ("key agreement", Box::new(|d| d.recipients[4] = 0xa1), CmsError::Form),
        (
            "recipient version 0",
            Box::new(move |d| d.recipients = one(|p| p[0][2] = 0)),
            CmsError::Form,
        ),
        (
            "issuer and serial number",
            Box::new(move |d| d.recipients = one(|p| p[1] = tlv(SEQUENCE, &[&[0; 32]]))),
            CmsError::Form,
        ),
        (
            "key identifier of 20 bytes",
            Box::new(move |d| d.recipients = one(|p| p[1] = tlv(IMPLICIT_0, &[&[1; 20]]))),
            CmsError::Length,
        ),
        (
            "PKCS#1 v1.5",
            Box::new(move |d| d.recipients = one(|p| p[2][12] = 1)),
            CmsError::Algorithm,
        ),
        (
            "MGF1 with SHA-512",
            Box::new(move |d| d.recipients = one(|p| p[2][59] = 3)),
            CmsError::Algorithm,
        ),
        (
            "OAEP with SHA-1, by default",
            Box::new(move |d| d.recipients = tlv(SET, &[&recipient(|p| p[2] = sha1.to_vec())])),
            CmsError::Algorithm,
        ),
        (
            "wrapped key of 255 bytes",
            Box::new(move |d| d.recipients = one(|p| p[3] = tlv(OCTET_STRING, &[&[3; 255]]))),
            CmsError::Length,
        ),
        (
            "enveloped in enveloped",
            Box::new(|d| d.data_type[10] = 3),
            CmsError::Algorithm,
        ),
        ("AES-128-CBC", Box::new(|d| d.algorithm[12] = 2), CmsError::Algorithm),
        (
            "IV of 12 bytes",
            Box::new(|d| d.algorithm = algorithm(AES_256_CBC, &[7; 12])),
            CmsError::Length,
        ),
        ("no content", Box::new(|d| d.content.clear()), CmsError::Form),
        (
            "empty content",
            Box::new(|d| d.content = indefinite(CONSTRUCTED_0, &[])),
            CmsError::Length,
        ),
        (
            "half a block",
            Box::new(|d| d.content = tlv(IMPLICIT_0, &[&[9; 24]])),
            CmsError::Length,
        ),
        (
            "unprotected attributes",
            Box::new(|d| d.attributes = vec![0xa1, 0]),
            CmsError::Form,
        ),
    ];
    for (name, change, error) in with {
        let mut draft = Draft::new();
        change(&mut draft);
        for layer in [indefinite, definite] {
            assert_eq!(Envelope::parse(&draft.encode(layer)), Err(error), "{name}");
        }
    }
}

#[test]
fn threat_36_content_in_pieces() {
    let content = |pieces: &[Vec<u8>]| {
        let mut draft = Draft::new();
        draft.content = indefinite(CONSTRUCTED_0, &pieces.concat());
        let parsed = Envelope::parse(&draft.encode(indefinite));
        draft.content = definite(CONSTRUCTED_0, &pieces.concat());
        assert_eq!(Envelope::parse(&draft.encode(indefinite)), parsed);
        parsed.map(|envelope| envelope.content().to_vec())
    };
    let piece = |length: usize, byte: u8| tlv(OCTET_STRING, &[&vec![byte; length]]);
    let joined = [[1; 16].as_slice(), &[2; 3], &[3; 13]].concat();
    assert_eq!(content(&[piece(16, 1), piece(3, 2), piece(13, 3)]), Ok(joined));
    assert_eq!(content(&vec![piece(1, 5); 4_112]), Ok(vec![5; 4_112]));
    assert_eq!(content(&[piece(4_112, 5), piece(16, 5)]), Err(CmsError::Length));
    assert_eq!(content(&[piece(16, 1), piece(1, 2)]), Err(CmsError::Length));
    assert_eq!(content(&[definite(0x24, &piece(16, 1))]), Err(CmsError::Form));
    assert_eq!(content(&[indefinite(0x24, &piece(16, 1))]), Err(CmsError::Form));
    assert_eq!(content(&[tlv(INTEGER, &[&[1; 16]])]), Err(CmsError::Form));
    assert_eq!(
        content(&[[OCTET_STRING, INDEFINITE].to_vec(), piece(16, 1), vec![0, 0]]),
        Err(CmsError::Form)
    );
}

#[test]
fn threat_36_lengths_are_the_shortest_and_nothing_follows() {
    let longer = |at: usize, head: &[u8]| {
        let mut message = IN_PIECES.to_vec();
        message.splice(at..at + 1, head.iter().copied());
        Envelope::parse(&message)
    };
    // The version's length, the recipient's, and the wrapped key's.
    assert_eq!(longer(18, &[0x81, 1]), Err(CmsError::Form));
    assert_eq!(longer(18, &[0x82, 0, 1]), Err(CmsError::Form));
    assert_eq!(longer(21, &[0x83, 0]), Err(CmsError::Form));
    assert_eq!(longer(21, &[0x88, 0, 0, 0, 0, 0, 0]), Err(CmsError::Form));
    assert_eq!(longer(18, &[0xff]), Err(CmsError::Form));
    let message = [IN_PIECES, &[0]].concat();
    assert_eq!(Envelope::parse(&message), Err(CmsError::Form));
    let message = [IN_PIECES, &END_OF_CONTENTS].concat();
    assert_eq!(Envelope::parse(&message), Err(CmsError::Form));
    assert_eq!(Envelope::parse(&[SEQUENCE; MAX_MESSAGE + 1]), Err(CmsError::TooLong));
    assert_eq!(
        Envelope::parse(&[SEQUENCE, INDEFINITE].repeat(MAX_MESSAGE / 2)),
        Err(CmsError::Form)
    );
    for length in 0..IN_PIECES.len() {
        assert_eq!(Envelope::parse(&IN_PIECES[..length]), Err(CmsError::Form), "{length}");
    }
}

#[test]
fn threat_36_every_flipped_bit_is_refused_or_seen() {
    let original = Envelope::parse(IN_PIECES).unwrap();
    // Where any bytes may stand: key identifier, wrapped key, IV, content.
    let free = [33..65, 131..387, 415..431, 435..483];
    for bit in 0..IN_PIECES.len() * 8 {
        let mut message = IN_PIECES.to_vec();
        message[bit / 8] ^= 1 << (bit % 8);
        let parsed = Envelope::parse(&message);
        let may_stand = free.iter().any(|range| range.contains(&(bit / 8)));
        assert_eq!(parsed.is_ok(), may_stand, "bit {bit}");
        if may_stand && !free[0].contains(&(bit / 8)) {
            assert_ne!(parsed.as_ref(), Ok(&original), "bit {bit}");
        }
    }
}

#[test]
fn threat_36_what_does_not_decrypt_is_one_error() {
    let sealed = |plaintext: &[u8]| Envelope::parse(&seal(&KEY.1, plaintext, ContentForm::Primitive).unwrap()).unwrap();
    let opened = |envelope: Envelope| envelope.open(&KEY.0).map(|plaintext| plaintext.to_vec());
    let mut envelope = sealed(b"0123456789abcdef");
    envelope.wrapped_key[0] ^= 1;
    assert_eq!(opened(envelope), Err(CmsError::Decrypt));
    // The padding, by way of the block before it.
    for byte in 0..16 {
        let mut envelope = sealed(b"0123456789abcdef");
        envelope.content[byte] ^= 0x20;
        assert_eq!(opened(envelope), Err(CmsError::Decrypt), "{byte}");
    }
    let mut envelope = sealed(b"0123456789abcdef");
    envelope.iv[0] ^= 1;
    assert_eq!(opened(envelope).as_deref(), Ok(b"1123456789abcdef".as_slice()));
    let mut short = Envelope::parse(IN_PIECES).unwrap();
    let key = PublicEncryptingKey::from_der(&KEY.1).unwrap();
    let key = OaepPublicEncryptingKey::new(key).unwrap();
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &[0; 16], &mut short.wrapped_key, None)
        .unwrap();
    assert_eq!(opened(short), Err(CmsError::Decrypt));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn threat_36_what_is_sealed_opens(plaintext in proptest::collection::vec(any::<u8>(), 1..=4_096), pieces in proptest::option::of(1usize..5_000)) {
        let form = pieces.map_or(ContentForm::Primitive, ContentForm::Pieces);
        let sealed = seal(&KEY.1, &plaintext, form).unwrap();
        let opened = Envelope::parse(&sealed).unwrap().open(&KEY.0).unwrap();
        prop_assert_eq!(opened.as_slice(), plaintext.as_slice());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn threat_36_no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Envelope::parse(&bytes);
    }

    #[test]
    fn threat_36_no_change_panics(start in 0..IN_PIECES.len(), taken in 0usize..12, bytes in proptest::collection::vec(any::<u8>(), 0..12), primitive: bool) {
        let mut message = if primitive { PRIMITIVE } else { IN_PIECES }.to_vec();
        let start = start.min(message.len());
        let end = start.saturating_add(taken).min(message.len());
        message.splice(start..end, bytes);
        if let Ok(envelope) = Envelope::parse(&message) {
            prop_assert!(envelope.open(&KEY.0).is_err());
        }
    }
}
