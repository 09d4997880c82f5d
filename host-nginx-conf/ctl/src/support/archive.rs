//! The pieces as a tar archive, packed by gzip.

use std::io;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::contents::Piece;

/// The same pieces at the same time are the same bytes.
pub(super) fn pack(pieces: &[Piece], now: i64) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for Piece { name, text } in pieces {
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(text.len()).map_err(io::Error::other)?);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now).unwrap_or(0));
        builder.append_data(&mut header, format!("{DIRECTORY}/{name}"), text.as_bytes())?;
    }
    builder.into_inner()?.finish()
}

/// So that whoever unpacks it has them together.
const DIRECTORY: &str = "enclave-tls-support";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let piece = Piece {
            name: "clients/nginx/pkcs11.toml".to_owned(),
            text: "endpoints\n".to_owned(),
        };
        let packed = pack(&[piece], 0).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut entries = archive.entries().unwrap();
        let mut entry = entries.next().unwrap().unwrap();
        assert_eq!(
            entry.path().unwrap().to_str(),
            Some("enclave-tls-support/clients/nginx/pkcs11.toml")
        );
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), entry.header().mode().unwrap()), ("endpoints\n", 0o600));
        assert!(entries.next().is_none());
    }
}
