//! Documents of a stand-in PKI, in each of which one rule is broken.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the unexpected")]

mod pki;

use enclave_attestation::{
    AttestedKey, ChainError, Document, DocumentError, Expectations, Mismatch, Purpose, SignedDocument, Statement,
    StatementError, Verified, VerifyError, decode_unsigned,
};
use pki::{AT, DIGITAL_SIGNATURE, KEY_CERT_SIGN, Pki, document};
use proptest::prelude::*;

fn verify(pki: &Pki, bytes: &[u8]) -> Result<Verified, VerifyError> {
    SignedDocument::decode(bytes)?.verify(&pki.root_sha256(), AT)
}

fn chain_error(breaks: impl FnOnce(&mut Pki)) -> ChainError {
    let mut pki = Pki::new();
    breaks(&mut pki);
    match verify(&pki, &pki.sign(document())) {
        Err(VerifyError::Chain(error)) => error,
        other => panic!("not refused by its chain: {other:?}"),
    }
}

#[test]
fn a_whole_one_is_accepted() {
    let pki = Pki::new();
    let verified = verify(&pki, &pki.sign(document())).unwrap();
    assert_eq!(verified.document().nonce, Some(vec![9; 20]));
}

#[test]
fn threat_19_another_root() {
    let (pki, other) = (Pki::new(), Pki::new());
    let signed = SignedDocument::decode(&pki.sign(document())).unwrap();
    assert_eq!(
        signed.verify(&other.root_sha256(), AT),
        Err(VerifyError::Chain(ChainError::Root))
    );
}

#[test]
fn threat_20_order_and_gaps() {
    let pki = Pki::new();
    let refused = |certificates: &[usize]| {
        let all = pki.certificates();
        let cabundle = certificates.iter().map(|place| all[*place].clone()).collect();
        let signed = pki.sign_as_it_is(&Document {
            certificate: all[3].clone(),
            cabundle,
            ..document()
        });
        assert_eq!(
            verify(&pki, &signed),
            Err(VerifyError::Chain(ChainError::Order)),
            "{certificates:?}"
        );
    };
    refused(&[0, 2, 1]);
    refused(&[0, 1]);
    refused(&[0, 2]);
    refused(&[0, 1, 1, 2]);
}

#[test]
fn threat_20_each_rule_of_the_chain() {
    assert_eq!(chain_error(|pki| pki.signer[2] = 2), ChainError::Signature);
    for place in 0..4 {
        assert_eq!(
            chain_error(|pki| pki.says[place].not_after = "250110000000Z"),
            ChainError::Expired
        );
        assert_eq!(
            chain_error(|pki| pki.says[place].not_before = "250120000000Z"),
            ChainError::NotYetValid
        );
        assert_eq!(
            chain_error(|pki| pki.says[place].strange_critical_extension = true),
            ChainError::CriticalExtension
        );
    }
    for place in 0..3 {
        assert_eq!(
            chain_error(|pki| (pki.says[place].ca, pki.says[place].path_length) = (false, None)),
            ChainError::NotCa
        );
        assert_eq!(
            chain_error(|pki| pki.says[place].key_usage = DIGITAL_SIGNATURE),
            ChainError::NotCa
        );
    }
    assert_eq!(
        chain_error(|pki| pki.says[1].path_length = Some(0)),
        ChainError::PathLength
    );
    assert_eq!(chain_error(|pki| pki.says[3].ca = true), ChainError::NotCa);
    assert_eq!(
        chain_error(|pki| pki.says[3].key_usage = KEY_CERT_SIGN),
        ChainError::KeyUsage
    );
}

/// The untagged COSE_Sign1 of `payload` with these headers, signed over the headers that it shows.
fn cose(pki: &Pki, protected: &[u8], unprotected: &[u8], payload: &[u8]) -> Vec<u8> {
    let bstr = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[0x59], &len[..], bytes].concat()
    };
    let head = |bytes: &[u8]| [&[0x40 | u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let signed = [
        b"\x84\x6aSignature1".as_slice(),
        &head(protected),
        &[0x40],
        &bstr(payload),
    ]
    .concat();
    let signature = pki.sign_bytes(&signed).unwrap();
    [
        &[0x84],
        &head(protected)[..],
        unprotected,
        &bstr(payload),
        &[0x58, 96],
        &signature,
    ]
    .concat()
}

fn whole_payload(pki: &Pki) -> Vec<u8> {
    SignedDocument::decode(&pki.sign(document()))
        .unwrap()
        .unverified()
        .encode()
}

#[test]
fn threat_21_headers() {
    let pki = Pki::new();
    let payload = whole_payload(&pki);
    let es384 = [0xa1, 0x01, 0x38, 0x22];
    assert!(verify(&pki, &cose(&pki, &es384, &[0xa0], &payload)).is_ok());
    let algorithm_es256 = [0xa1, 0x01, 0x26];
    let no_algorithm = [0xa0];
    let one_more_header = [0xa2, 0x01, 0x38, 0x22, 0x04, 0x40];
    for protected in [&algorithm_es256[..], &no_algorithm, &one_more_header, &[]] {
        assert_eq!(
            verify(&pki, &cose(&pki, protected, &[0xa0], &payload)),
            Err(VerifyError::Header)
        );
    }
    assert_eq!(
        verify(&pki, &cose(&pki, &es384, &[0xa1, 0x04, 0x40], &payload)),
        Err(VerifyError::Header)
    );
    let five_elements = {
        let mut bytes = cose(&pki, &es384, &[0xa0], &payload);
        bytes[0] = 0x85;
        bytes.push(0xf6);
        bytes
    };
    assert_eq!(verify(&pki, &five_elements), Err(VerifyError::Cose));
    let trailing = [cose(&pki, &es384, &[0xa0], &payload), vec![0]].concat();
    assert_eq!(verify(&pki, &trailing), Err(VerifyError::Cose));
}

/// An emulated machine's NSM signs nothing. What it says can be read, but by no way that leads to [`Verified`].
#[test]
fn threat_21_an_unsigned_document_is_read_but_never_verified() {
    let pki = Pki::new();
    let payload = whole_payload(&pki);
    let no_algorithm = [0xa1, 0x01, 0x20];
    let unsigned = cose(&pki, &no_algorithm, &[0xa0], &payload);
    assert_eq!(decode_unsigned(&unsigned).unwrap().encode(), payload);
    assert_eq!(SignedDocument::decode(&unsigned), Err(VerifyError::Header));
    let signed = pki.sign(document());
    assert_eq!(decode_unsigned(&signed).unwrap().nonce, Some(vec![9; 20]));
    let refused = |bytes: &[u8]| decode_unsigned(bytes).err();
    assert_eq!(refused(&[unsigned.as_slice(), &[0]].concat()), Some(VerifyError::Cose));
    assert_eq!(refused(&unsigned[..unsigned.len() - 1]), Some(VerifyError::Cose));
    let unprotected = cose(&pki, &no_algorithm, &[0xa1, 0x04, 0x40], &payload);
    assert_eq!(refused(&unprotected), Some(VerifyError::Header));
    let misnamed = replace(&payload, b"\x69module_id", b"\x69module_iD");
    assert_eq!(
        refused(&cose(&pki, &no_algorithm, &[0xa0], &misnamed)),
        Some(VerifyError::Document(DocumentError::UnknownField))
    );
}

fn replace(payload: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = payload.windows(from.len()).position(|window| window == from).unwrap();
    [&payload[..at], to, &payload[at + from.len()..]].concat()
}

#[test]
fn threats_22_and_24_forms_of_the_payload() {
    let payload = whole_payload(&Pki::new());
    assert!(Document::decode(&payload).is_ok());
    let cases: &[(&str, &[u8], &[u8], DocumentError)] = &[
        (
            "ten fields, pcrs twice",
            b"\xa9\x69module_id",
            b"\xaa\x64pcrs\xa1\x00\x58\x30000000000000000000000000000000000000000000000000\x69module_id",
            DocumentError::Duplicate,
        ),
        (
            "an indefinite map",
            b"\xa9\x69module_id",
            b"\xbf\x69module_id",
            DocumentError::Cbor,
        ),
        (
            "a length in more bytes than it needs",
            b"\x69module_id",
            b"\x78\x09module_id",
            DocumentError::NotShortest,
        ),
        (
            "an unknown field",
            b"\x69module_id",
            b"\x69module_iD",
            DocumentError::UnknownField,
        ),
        ("another digest", b"SHA384", b"SHA256", DocumentError::Digest),
        (
            "a field less",
            b"\xa9\x69module_id",
            b"\xa8\x69module_id",
            DocumentError::Trailing,
        ),
        (
            "PCR 32 in place of 15",
            b"\x0f\x58\x30\x10",
            b"\x18\x20\x58\x30\x10",
            DocumentError::PcrIndex,
        ),
        (
            "PCR 14 twice",
            b"\x0f\x58\x30\x10",
            b"\x0e\x58\x30\x10",
            DocumentError::Duplicate,
        ),
        (
            "a PCR of 47 bytes",
            b"\x0f\x58\x30\x10",
            b"\x0f\x58\x2f",
            DocumentError::PcrLength,
        ),
        ("no PCR", b"\x64pcrs\xb0", b"\x64pcrs\xa0", DocumentError::PcrCount),
        ("33 PCRs", b"\x64pcrs\xb0", b"\x64pcrs\xb8\x21", DocumentError::PcrCount),
        (
            "an empty bundle",
            b"\x68cabundle\x83",
            b"\x68cabundle\x80",
            DocumentError::Certificate,
        ),
        (
            "a nonce that is text",
            b"\x65nonce\x54",
            b"\x65nonce\x74",
            DocumentError::Cbor,
        ),
        (
            "an empty public key",
            b"public_key\xf6",
            b"public_key\x40",
            DocumentError::OptionalField,
        ),
    ];
    for (what, from, to, error) in cases {
        assert_eq!(
            Document::decode(&replace(&payload, from, to)).err(),
            Some(*error),
            "{what}"
        );
    }
    let long = Document {
        user_data: Some(vec![0; 1_025]),
        ..document()
    };
    let long = Document {
        certificate: vec![1],
        cabundle: vec![vec![1]],
        ..long
    };
    assert_eq!(
        Document::decode(&long.encode()).err(),
        Some(DocumentError::OptionalField)
    );
    assert_eq!(
        Document::decode(&[payload.as_slice(), &[0]].concat()).err(),
        Some(DocumentError::Trailing)
    );
    let zero = Document {
        timestamp_ms: 0,
        ..long
    };
    assert_eq!(Document::decode(&zero.encode()).err(), Some(DocumentError::Timestamp));
}

#[test]
fn threat_23_both_forms_of_a_signature_give_one_document() {
    let order = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2,
        0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73u8,
    ];
    let pki = Pki::new();
    let first = pki.sign(document());
    let mut second = first.clone();
    let s = second.len() - 48;
    let mut borrow = 0i16;
    for i in (0..48).rev() {
        let difference = i16::from(order[i]) - i16::from(second[s + i]) - borrow;
        borrow = i16::from(difference < 0);
        second[s + i] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    assert_ne!(first, second);
    assert_eq!(verify(&pki, &first).unwrap(), verify(&pki, &second).unwrap());
}

#[test]
fn threat_26_each_register_alone() {
    let pki = Pki::new();
    let expected = Expectations {
        pcrs: document().pcrs,
        ..Expectations::default()
    };
    for index in [0, 1, 2, 3, 4, 8] {
        let mut changed = document();
        changed.pcrs.insert(index, [0xee; 48]);
        let verified = verify(&pki, &pki.sign(changed)).unwrap();
        assert_eq!(expected.check(&verified, AT * 1_000), Err(Mismatch::Pcr(index)));
    }
    let verified = verify(&pki, &pki.sign(document())).unwrap();
    assert_eq!(expected.check(&verified, AT * 1_000), Ok(()));
    let absent = Expectations {
        pcrs: [(16, [1; 48])].into(),
        ..Expectations::default()
    };
    assert_eq!(absent.check(&verified, AT * 1_000), Err(Mismatch::Pcr(16)));
}

#[test]
fn threat_27_nonce_and_age() {
    let pki = Pki::new();
    let verified = verify(&pki, &pki.sign(document())).unwrap();
    let expected = Expectations {
        nonce: Some(vec![9; 20]),
        max_age_ms: Some(5_000),
        ..Expectations::default()
    };
    let now = AT * 1_000;
    assert_eq!(expected.check(&verified, now + 5_000), Ok(()));
    assert_eq!(expected.check(&verified, now + 5_001), Err(Mismatch::TooOld));
    assert_eq!(expected.check(&verified, now - 60_001), Err(Mismatch::FromTheFuture));
    let other = Expectations {
        nonce: Some(vec![8; 20]),
        ..expected
    };
    assert_eq!(other.check(&verified, now), Err(Mismatch::Nonce));
    let without = verify(
        &pki,
        &pki.sign(Document {
            nonce: None,
            ..document()
        }),
    )
    .unwrap();
    assert_eq!(other.check(&without, now), Err(Mismatch::Nonce));
}

fn statement(purpose: Purpose) -> Statement {
    let key = AttestedKey {
        spki_sha256: [1; 32],
        origin: "born".to_owned(),
        usage: "tls".to_owned(),
        generation: 3,
    };
    let sealed_to = vec!["arn:aws:kms:eu-central-1:111122223333:key/1".to_owned()];
    Statement {
        purpose,
        nonce: vec![5; 32],
        keys: vec![key],
        sealed_to,
        boot_id: [2; 16],
        policy_sha384: [3; 48],
        clock_source: None,
    }
}

#[test]
fn threat_16_a_clock_that_is_not_kvm_clock_is_flagged_in_one_way() {
    let plain = statement(Purpose::Keys);
    let flagged = Statement {
        clock_source: Some("tsc".to_owned()),
        ..plain.clone()
    };
    assert_ne!(plain.encode(), flagged.encode());
    assert_eq!(Statement::decode(&flagged.encode()), Ok(flagged.clone()));
    // Seven fields have no place for it, and eight need it.
    let mut cut = flagged.encode();
    cut[0] -= 1;
    assert_eq!(Statement::decode(&cut), Err(StatementError::Form));
    let mut grown = plain.encode();
    grown[0] += 1;
    assert_eq!(Statement::decode(&grown), Err(StatementError::Form));
    let said = Statement {
        clock_source: Some("kvm-clock".to_owned()),
        ..plain
    };
    assert_eq!(Statement::decode(&said.encode()), Err(StatementError::Form));
}

#[test]
fn threat_28_a_statement_is_bound_to_its_document_purpose_and_nonce() {
    let pki = Pki::new();
    let bind = |statement: &Statement| {
        let user_data = Some(statement.user_data().to_vec());
        verify(
            &pki,
            &pki.sign(Document {
                user_data,
                ..document()
            }),
        )
        .unwrap()
    };
    let keys = statement(Purpose::Keys);
    let verified = bind(&keys);
    let check = |verified: &Verified, statement: &Statement, nonce: &[u8]| {
        Statement::bound_to(verified, &statement.encode(), Purpose::Keys, nonce)
    };
    assert_eq!(check(&verified, &keys, &[5; 32]), Ok(keys.clone()));
    assert_eq!(check(&verified, &keys, &[6; 32]), Err(StatementError::Nonce));
    let spliced = Statement {
        keys: vec![AttestedKey {
            spki_sha256: [9; 32],
            ..keys.keys[0].clone()
        }],
        ..keys.clone()
    };
    assert_eq!(check(&verified, &spliced, &[5; 32]), Err(StatementError::NotBound));
    let recipient = statement(Purpose::KmsRecipient);
    assert_eq!(
        check(&bind(&recipient), &recipient, &[5; 32]),
        Err(StatementError::Purpose)
    );
    let nothing = verify(
        &pki,
        &pki.sign(Document {
            user_data: None,
            ..document()
        }),
    )
    .unwrap();
    assert_eq!(check(&nothing, &keys, &[5; 32]), Err(StatementError::NotBound));
}

proptest! {
    #[test]
    fn statements_have_one_form(nonce: Vec<u8>, origin in "[a-z]{0,30}", generation: u32, arns in prop::collection::vec("[ -~]{0,40}", 0..3)) {
        let mut value = statement(Purpose::Keys);
        (value.nonce, value.sealed_to) = (nonce, arns);
        (value.keys[0].origin, value.keys[0].generation) = (origin, generation);
        let bytes = value.encode();
        prop_assert_eq!(Statement::decode(&bytes), Ok(value));
    }

    #[test]
    fn fuzz_statements(at: prop::sample::Index, byte: u8) {
        let mut bytes = statement(Purpose::Keys).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(statement) = Statement::decode(&bytes) {
            prop_assert_eq!(statement.encode(), bytes);
        }
    }

    #[test]
    fn fuzz_documents(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = include_bytes!("vectors/production-2025-01-06.cose").to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(signed) = SignedDocument::decode(&bytes) {
            let document = signed.unverified().clone();
            prop_assert_eq!(Document::decode(&document.encode()), Ok(document));
        }
    }
}
