//! Measures what verifying a real document costs, beside the five ECDSA verifications on P-384 that are in it. Prints JSON: medians of
//! the processor time, in microseconds. `cargo xtask bench` runs it.

use std::error::Error;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use enclave_attestation::{AWS_ROOT_SHA256, SignedDocument};
use rustix::time::{ClockId, clock_gettime};

fn main() -> Result<(), Box<dyn Error>> {
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?;
    let message = [7; 1_024];
    let signature = key.sign(&SystemRandom::new(), &message)?;
    let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.public_key().as_ref());
    let raw = || -> Result<(), Box<dyn Error>> {
        for _ in 0..VERIFICATIONS {
            public.verify(&message, signature.as_ref())?;
        }
        Ok(())
    };
    let whole = || -> Result<(), Box<dyn Error>> {
        let signed = SignedDocument::decode(DOCUMENT)?;
        let at = signed.unverified().timestamp_ms / 1_000;
        signed.verify(&AWS_ROOT_SHA256, at)?;
        Ok(())
    };
    let (mut raws, mut wholes) = (Vec::new(), Vec::new());
    // In turns, so that what else the machine does is shared.
    for _ in 0..ROUNDS {
        raws.push(microseconds(&raw)?);
        wholes.push(microseconds(&whole)?);
    }
    let (raw, whole) = (median(raws), median(wholes));
    println!(
        "{{\"document_us\": {whole}, \"five_verifications_us\": {raw}, \"above_us\": {}}}",
        whole.saturating_sub(raw)
    );
    Ok(())
}

/// Processor time of this thread.
fn microseconds(work: &impl Fn() -> Result<(), Box<dyn Error>>) -> Result<u64, Box<dyn Error>> {
    let before = clock_gettime(ClockId::ThreadCPUTime);
    work()?;
    let spent = clock_gettime(ClockId::ThreadCPUTime) - before;
    Ok(u64::try_from(spent.tv_sec * 1_000_000 + spent.tv_nsec / 1_000)?)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

const DOCUMENT: &[u8] = include_bytes!("../tests/vectors/production-2025-01-06.cose");
/// Four certificates below the root, and the document.
const VERIFICATIONS: usize = 5;
const ROUNDS: usize = 201;
