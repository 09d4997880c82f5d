//! The attestation documents of the emulated machine: COSE_Sign1 that nobody signed, read for what is in it. Nothing here verifies one.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use minicbor::Decoder;
use minicbor::data::Type;

/// What a document says.
#[derive(Debug)]
pub(crate) struct Document {
    /// In hexadecimal, by index.
    pub(crate) pcrs: BTreeMap<u8, String>,
    pub(crate) user_data: Option<Vec<u8>>,
    pub(crate) nonce: Option<Vec<u8>>,
}

impl Document {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let mut cose = Decoder::new(bytes);
        ensure!(cose.array()? == Some(4), "no COSE_Sign1");
        cose.bytes()?;
        cose.skip()?;
        let mut payload = Decoder::new(cose.bytes()?);
        let mut document = Self {
            pcrs: BTreeMap::new(),
            user_data: None,
            nonce: None,
        };
        for _ in 0..payload.map()?.context("a map without its length")? {
            match payload.str()? {
                "pcrs" => document.pcrs = registers(&mut payload)?,
                "user_data" => document.user_data = bytes_or_null(&mut payload)?,
                "nonce" => document.nonce = bytes_or_null(&mut payload)?,
                _ => payload.skip()?,
            }
        }
        Ok(document)
    }

    /// A register, in hexadecimal.
    pub(crate) fn pcr(&self, index: u8) -> Result<&str> {
        let found = self.pcrs.get(&index).map(String::as_str);
        found.with_context(|| format!("the document has no PCR{index}"))
    }
}

fn registers(payload: &mut Decoder<'_>) -> Result<BTreeMap<u8, String>> {
    let count = payload.map()?.context("registers without their number")?;
    (0..count)
        .map(|_| Ok((payload.u8()?, hex::encode(payload.bytes()?))))
        .collect()
}

fn bytes_or_null(payload: &mut Decoder<'_>) -> Result<Option<Vec<u8>>> {
    if payload.datatype()? == Type::Bytes {
        return Ok(Some(payload.bytes()?.to_vec()));
    }
    payload.skip()?;
    Ok(None)
}
