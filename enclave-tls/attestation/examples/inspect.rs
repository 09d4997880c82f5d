//! Verifies an attestation document in a file against AWS's root, at the document's own time, and prints what it says.
//!
//! ```sh
//! cargo run -p enclave-attestation --example inspect -- document.cose
//! ```

use std::error::Error;

use enclave_attestation::{AWS_ROOT_SHA256, Expectations, SignedDocument};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("say which file: inspect FILE")?;
    let signed = SignedDocument::decode(&std::fs::read(path)?)?;
    let made_ms = signed.unverified().timestamp_ms;
    // Whoever decides something by a document takes the present instead: this shows old ones too.
    let verified = signed.verify(&AWS_ROOT_SHA256, made_ms / 1_000)?;
    let document = verified.document();
    println!(
        "signed under AWS's root; made at {made_ms} ms by {}",
        document.module_id
    );
    for (index, pcr) in document.pcrs.iter().filter(|(_, pcr)| **pcr != [0; 48]) {
        let digits: String = pcr.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("PCR{index} {digits}");
    }
    Expectations::default().check(&verified, made_ms)?;
    Ok(())
}
