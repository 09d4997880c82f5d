//! What of a sealed state is encrypted: for each generation its names, its clients, its chain and its key.

use std::sync::Arc;

use enclave_wire::control::Listed;
use enclave_wire::{Chain, Decode as _, Encode as _, Reader, Writer};
use zeroize::Zeroizing;

use super::{Generation, MAX_GENERATIONS, SealedError, Summary};
use crate::keystore::SigningKey;

/// Writes the generations, in the order of the header. The bytes carry their keys.
pub(super) fn write(generations: &[Generation]) -> Result<Zeroizing<Vec<u8>>, SealedError> {
    // What a writer held is wiped when it grows and when it is dropped.
    let mut writer = Writer::with_capacity(TYPICAL);
    let count = u16::try_from(generations.len()).map_err(|_| SealedError::TooManyGenerations)?;
    count.encode(&mut writer);
    for generation in generations {
        generation.dns_names.encode(&mut writer);
        generation.clients.encode(&mut writer);
        generation.chain.encode(&mut writer);
        let pkcs8 = generation.key.to_pkcs8().map_err(|_| SealedError::Library)?;
        if pkcs8.len() > MAX_PKCS8 {
            return Err(SealedError::TooLarge);
        }
        writer.bytes16(&pkcs8);
    }
    Ok(Zeroizing::new(writer.into_bytes()))
}

/// Reads the generations that the header sums up.
pub(super) fn read(plaintext: &[u8], summaries: &[Summary]) -> Result<Vec<Generation>, SealedError> {
    let mut reader = Reader::new(plaintext);
    let count = u16::decode(&mut reader).map_err(|_| SealedError::Inconsistent)?;
    if usize::from(count) != summaries.len() || summaries.len() > MAX_GENERATIONS {
        return Err(SealedError::Inconsistent);
    }
    let generations = summaries
        .iter()
        .map(|summary| generation(&mut reader, summary))
        .collect::<Result<_, _>>()?;
    reader.finish().map_err(|_| SealedError::Inconsistent)?;
    Ok(generations)
}

fn generation(reader: &mut Reader<'_>, summary: &Summary) -> Result<Generation, SealedError> {
    // What fails here is authentic: no error says more of it.
    let form = |_| SealedError::Inconsistent;
    let dns_names = Listed::decode(reader).map_err(form)?;
    let clients = Listed::decode(reader).map_err(form)?;
    let chain = Chain::decode(reader).map_err(form)?;
    let pkcs8 = reader.bytes16(MAX_PKCS8).map_err(form)?;
    let key = SigningKey::from_pkcs8(pkcs8).map_err(|_| SealedError::Inconsistent)?;
    if key.id() != summary.key {
        return Err(SealedError::Inconsistent);
    }
    Ok(Generation {
        generation: summary.generation,
        state: summary.state,
        usage: summary.usage,
        origin: summary.origin,
        dns_names,
        clients,
        chain: Arc::new(chain),
        key: Arc::new(key),
    })
}

/// As for an import: RSA-8192 has some 4.7 KB.
const MAX_PKCS8: usize = 8_192;
/// Two generations of an RSA-2048 key with chains of two certificates.
const TYPICAL: usize = 16_384;
