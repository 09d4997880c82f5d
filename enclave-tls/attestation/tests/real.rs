//! Documents that real enclaves made.

use enclave_attestation::{AWS_ROOT_SHA256, ChainError, Expectations, Mismatch, SignedDocument, VerifyError};

const PRODUCTION: &[u8] = include_bytes!("vectors/production-2025-01-06.cose");
const PRODUCTION_AT: u64 = 1_736_179_625;

fn verify(bytes: &[u8], at: u64) -> Result<enclave_attestation::Verified, VerifyError> {
    SignedDocument::decode(bytes)?.verify(&AWS_ROOT_SHA256, at)
}

#[test]
fn the_production_document_verifies_at_its_own_time() {
    let verified = verify(PRODUCTION, PRODUCTION_AT).unwrap();
    let document = verified.document();
    assert_eq!(document.timestamp_ms, 1_736_179_625_472);
    assert_eq!(document.public_key.as_ref().map(Vec::len), Some(294));
    assert_eq!(
        document.pcrs.get(&0).and_then(|pcr| pcr.first_chunk()),
        Some(&[0x8b, 0xb1, 0x59, 0xf2])
    );
    assert_eq!(document.pcrs.len(), 16);
    assert_eq!(Expectations::default().check(&verified, 1_736_179_625_472), Ok(()));
}

#[test]
fn encoding_it_again_gives_the_same_payload() {
    let document = SignedDocument::decode(PRODUCTION).unwrap().unverified().clone();
    let payload = document.encode();
    assert!(PRODUCTION.windows(payload.len()).any(|window| window == payload));
}

#[test]
fn tagged_it_verifies_as_well() {
    let tagged = [&[0xd2], PRODUCTION].concat();
    assert!(verify(&tagged, PRODUCTION_AT).is_ok());
    let other_tag = [&[0xd1], PRODUCTION].concat();
    assert_eq!(verify(&other_tag, PRODUCTION_AT), Err(VerifyError::Cose));
}

#[test]
fn threat_20_outside_its_time_it_is_refused() {
    let hours = 3_600;
    assert_eq!(
        verify(PRODUCTION, PRODUCTION_AT + 4 * hours),
        Err(VerifyError::Chain(ChainError::Expired))
    );
    assert_eq!(
        verify(PRODUCTION, PRODUCTION_AT - 4 * hours),
        Err(VerifyError::Chain(ChainError::NotYetValid))
    );
}

#[test]
fn threat_25_a_real_debug_document_is_refused() {
    let verified = verify(include_bytes!("vectors/debug-2024-09-09.cose"), 1_725_911_352).unwrap();
    assert_eq!(
        Expectations::default().check(&verified, 1_725_911_352_400),
        Err(Mismatch::Debug)
    );
}

#[test]
fn a_bad_signature_is_refused() {
    let bytes = include_bytes!("vectors/bad-signature-2024-07-23.cose");
    assert_eq!(verify(bytes, 1_721_770_180), Err(VerifyError::Signature));
}

#[test]
fn every_single_bit_flip_is_refused() {
    let accepted = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || {
                let mut bytes = PRODUCTION.to_vec();
                let mut accepted = Vec::new();
                for bit in (half..bytes.len() * 8).step_by(2) {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    if verify(&bytes, PRODUCTION_AT).is_ok() {
                        accepted.push(bit);
                    }
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                accepted
            })
        });
        halves.map(|half| half.join().unwrap()).concat()
    });
    assert_eq!(accepted, Vec::<usize>::new());
}
