//! Single calls of a real PKCS#11 client, and the exact CK_RV of each.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use der::Decode;
use e2e::lab::client::{Client, Told};
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab};
use x509_cert::spki::SubjectPublicKeyInfoRef;

pub(super) const TESTS: &[Test] = e2e::tests![
    asking_for_the_length_keeps_the_operation,
    a_buffer_too_small_keeps_the_operation,
    one_operation_at_a_time,
    several_parts_give_the_same_signature_as_one,
    inputs_that_a_mechanism_cannot_take,
    threat_41_no_raw_rsa,
    attributes_that_do_not_apply,
    random_numbers_differ,
];

fn asking_for_the_length_keeps_the_operation(lab: &Lab) -> Result<()> {
    let key = lab.key_of("P-256", "digest", "born")?;
    let told = with_key(lab, key, "sign_init 1041; sign DIGEST 0; sign DIGEST; sign DIGEST")?;
    told.expect(&opened("sign_init 0; sign 0; sign 0; sign 91"))?; // CKR_OPERATION_NOT_INITIALIZED
    let lengths: Vec<_> = told
        .values("sign")
        .into_iter()
        .filter_map(|words| words.first().copied())
        .collect();
    ensure!(lengths.starts_with(&["64", "64"]), "{lengths:?}");
    Ok(())
}

fn a_buffer_too_small_keeps_the_operation(lab: &Lab) -> Result<()> {
    let key = lab.key_of("P-256", "digest", "born")?;
    let told = with_key(lab, key, "sign_init 1041; sign DIGEST 63; sign DIGEST 64")?;
    told.expect(&opened("sign_init 0; sign 150; sign 0"))?; // CKR_BUFFER_TOO_SMALL
    ensure!(
        told.values("sign").iter().all(|words| words.first() == Some(&"64")),
        "the length was not told: {told:?}"
    );
    let told = with_key(
        lab,
        key,
        "sign_init 1044; update 6d; final 63; final 0; final 64; final 64",
    )?;
    told.expect(&opened("sign_init 0; update 0; final 150; final 0; final 0; final 91"))
}

fn one_operation_at_a_time(lab: &Lab) -> Result<()> {
    let key = lab.key_of("P-256", "digest", "born")?;
    let told = with_key(lab, key, "sign DIGEST; sign_init 1041; sign_init 1041; sign DIGEST")?;
    // CKR_OPERATION_NOT_INITIALIZED, then CKR_OPERATION_ACTIVE; and the first operation is still there.
    told.expect(&opened("sign 91; sign_init 0; sign_init 90; sign 0"))
}

/// PKCS#1 v1.5 is deterministic, so the two signatures must be equal.
fn several_parts_give_the_same_signature_as_one(lab: &Lab) -> Result<()> {
    let rsa = lab.key_of("RSA-2048", "digest", "born")?;
    let told = with_key(
        lab,
        rsa,
        "sign_init 40; sign 616263; sign_init 40; update 61; update -; update 6263; final",
    )?;
    told.expect(&opened(
        "sign_init 0; sign 0; sign_init 0; update 0; update 0; update 0; final 0",
    ))?;
    let (one, parts) = (told.signatures("sign")?, told.signatures("final")?);
    ensure!(one == parts && one.len() == 1, "{one:?} {parts:?}");
    verify(
        rsa,
        &RSA_PKCS1_2048_8192_SHA256,
        b"abc",
        one.first().context("no signature")?,
    )?;

    let p256 = lab.key_of("P-256", "digest", "born")?;
    let told = with_key(lab, p256, "sign_init 1044; update 61; update 6263; final")?;
    let signatures = told.signatures("final")?;
    verify(
        p256,
        &ECDSA_P256_SHA256_FIXED,
        b"abc",
        signatures.first().context("no signature")?,
    )
}

fn inputs_that_a_mechanism_cannot_take(lab: &Lab) -> Result<()> {
    let (rsa, p256) = (
        lab.key_of("RSA-2048", "digest", "born")?,
        lab.key_of("P-256", "digest", "born")?,
    );
    let range = "sign_init 0; sign 21"; // CKR_DATA_LEN_RANGE
    let signs = "sign_init 0; sign 0";
    for (key, calls, wanted) in [
        (p256, "sign_init 1044; sign zeros:16384", signs),
        (p256, "sign_init 1044; sign zeros:16385", range),
        (p256, "sign_init 1041; sign zeros:64", signs),
        (p256, "sign_init 1041; sign zeros:65", range),
        (rsa, "sign_init d 256; sign zeros:32", signs),
        (rsa, "sign_init d 256; sign zeros:48", range),
        (
            p256,
            "sign_init 1044; update zeros:16384; final",
            "sign_init 0; update 0; final 0",
        ),
    ] {
        with_key(lab, key, calls)?
            .expect(&opened(wanted))
            .with_context(|| calls.to_owned())?;
    }
    Ok(())
}

/// Nor a mechanism for another type of key.
fn threat_41_no_raw_rsa(lab: &Lab) -> Result<()> {
    let rsa = lab.key_of("RSA-2048", "digest", "born")?;
    with_key(lab, rsa, "sign_init 3")?.expect(&opened("sign_init 70"))?; // CKM_RSA_X_509: CKR_MECHANISM_INVALID
    let told = with_key(lab, rsa, "sign_init 1041")?; // CKM_ECDSA
    told.expect_clean()?;
    let result = told.results("sign_init");
    // CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED
    ensure!(result == ["63"] || result == ["68"], "{result:?}");
    Ok(())
}

fn attributes_that_do_not_apply(lab: &Lab) -> Result<()> {
    let key = lab.key_of("P-256", "digest", "born")?;
    // CKA_MODULUS; CKA_VALUE, the private scalar; CKA_ALWAYS_AUTHENTICATE; CKA_EC_PARAMS.
    let told = with_key(lab, key, "attribute 120; attribute 11; attribute 202; attribute 180")?;
    told.expect(&opened("attribute 12; attribute 11; attribute 0; attribute 0"))?; // type invalid; sensitive
    let values = told.values("attribute").concat();
    ensure!(values == ["-1", "-1", "00", "06082a8648ce3d030107"], "{values:?}");
    Ok(())
}

fn random_numbers_differ(lab: &Lab) -> Result<()> {
    let script = "initialize null; open; random; fork 4; initialize null; open; random; random";
    let told = Client::compile()?.run(lab, script)?;
    told.expect_clean()?;
    let drawn: BTreeSet<_> = told
        .values("random")
        .into_iter()
        .chain(told.values("child:random"))
        .collect();
    ensure!(
        drawn.len() == 3,
        "the parent's and the child's numbers repeat: {told:?}"
    );
    Ok(())
}

/// Runs calls in a session in which `key` was found. `DIGEST` stands for 32 bytes.
fn with_key(lab: &Lab, key: &Key, calls: &str) -> Result<Told> {
    let script = format!("initialize null; open; find {}; {calls}", key.id);
    Client::compile()?.run(lab, &script.replace("DIGEST", &"d1".repeat(32)))
}

fn opened(calls: &str) -> String {
    format!("initialize 0; open 0; find 0; {calls}")
}

/// Verifies with the public key in the lab's file.
pub(super) fn verify(
    key: &Key,
    by: &'static dyn VerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    let pem = fs::read(&key.public_key)?;
    let (_, spki) = pem_rfc7468::decode_vec(&pem).map_err(|error| anyhow!("{error}"))?;
    let spki = SubjectPublicKeyInfoRef::from_der(&spki)?;
    let verified = UnparsedPublicKey::new(by, spki.subject_public_key.raw_bytes()).verify(message, signature);
    verified.map_err(|_| anyhow!("{}: a signature does not verify: {}", key.label, hex::encode(signature)))
}
