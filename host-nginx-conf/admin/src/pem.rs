//! Private keys, chains and requests as PEM (RFC 7468). Text around the blocks is passed over, as OpenSSL does.

use enclave_wire::Chain;
use enclave_wire::control::Pkcs8;
use enclave_wire::identity::Certificate;
use pem_rfc7468::{Decoder, LineEnding};
use zeroize::Zeroizing;

/// Why a file is not what it should be. The text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PemError {
    /// No line begins a block.
    NoBlock,
    /// A block has no end, or another's.
    Unterminated,
    /// A block's base64 is not valid.
    Encoding,
    /// DER instead of PEM.
    Der,
    /// More than one block in a file of one key.
    SeveralBlocks,
    /// A private key in the form of one algorithm.
    Traditional,
    /// A private key behind a pass phrase.
    Encrypted,
    /// The same in the form of one algorithm.
    EncryptedTraditional,
    /// A private key of OpenSSH.
    OpenSsh,
    /// A certificate in place of a private key.
    CertificateForKey,
    /// A private key in place of a chain.
    KeyInChain,
    /// Another kind of block.
    OtherLabel,
    /// More than the protocol carries.
    TooLong,
}

impl std::fmt::Display for PemError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoBlock => "there is no PEM block in it",
            Self::Unterminated => "a PEM block in it does not end",
            Self::Encoding => "a PEM block in it is damaged: its base64 is not valid",
            Self::Der => {
                "it is DER, not PEM; convert it: (umask 077; openssl pkey -inform DER -in OLD -out NEW.pem), or openssl x509 \
                 -inform DER for a certificate"
            }
            Self::SeveralBlocks => {
                "it has more than one PEM block; leave the private key alone in it, and give certificates with --chain"
            }
            Self::Traditional => {
                "its private key is not in PKCS#8; convert it: (umask 077; openssl pkcs8 -topk8 -nocrypt -in OLD.pem -out NEW.pem)"
            }
            Self::Encrypted => {
                "its private key has a pass phrase; remove it: (umask 077; openssl pkcs8 -in OLD.pem -out NEW.pem)"
            }
            Self::EncryptedTraditional => {
                "its private key has a pass phrase; remove it: (umask 077; openssl pkey -in OLD.pem -out NEW.pem)"
            }
            Self::OpenSsh => "it is a key of OpenSSH; convert a copy of it: ssh-keygen -p -m PKCS8 -N '' -f COPY",
            Self::CertificateForKey => "it holds a certificate, not a private key; give certificates with --chain",
            Self::KeyInChain => "it holds a private key; a chain holds certificates only, leaf first",
            Self::OtherLabel => "it holds neither a certificate nor a private key",
            Self::TooLong => "it holds more than the service takes: 8 certificates of 8 KiB and 48 KiB in all, a key of 8 KiB",
        })
    }
}

/// Reads a file of exactly one private key in PKCS#8.
pub fn private_key(file: &[u8]) -> Result<Pkcs8, PemError> {
    let mut blocks = blocks(file)?;
    if let Some(refused) = blocks.iter().find_map(|block| match block.label {
        b"PRIVATE KEY" | b"CERTIFICATE" => None,
        other => Some(foreign_key(other)),
    }) {
        return Err(refused);
    }
    let block = blocks.pop().ok_or(PemError::NoBlock)?;
    match (block.label, blocks.is_empty()) {
        (b"CERTIFICATE", true) => Err(PemError::CertificateForKey),
        (_, false) => Err(PemError::SeveralBlocks),
        (_, true) => {
            let mut der = block.decode()?;
            Pkcs8::try_from(std::mem::take(&mut *der)).map_err(|_| PemError::TooLong)
        }
    }
}

/// The form of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    Pkcs8,
    Pkcs1,
    Sec1,
}

/// A private key and the block that it stands in, from the first dash to the last.
pub struct PrivateKey<'a> {
    pub form: KeyForm,
    pub text: &'a [u8],
    pub der: Zeroizing<Vec<u8>>,
}

/// Reads a file of exactly one private key, in any form that bundles have. OpenSSL's curve parameters beside it are passed over.
pub fn any_private_key(file: &[u8]) -> Result<PrivateKey<'_>, PemError> {
    let mut found = None;
    for block in blocks(file)? {
        let form = match block.label {
            b"PRIVATE KEY" => KeyForm::Pkcs8,
            b"RSA PRIVATE KEY" => KeyForm::Pkcs1,
            b"EC PRIVATE KEY" => KeyForm::Sec1,
            b"EC PARAMETERS" => continue,
            b"CERTIFICATE" => return Err(PemError::CertificateForKey),
            b"DSA PRIVATE KEY" => return Err(PemError::OtherLabel),
            other => return Err(foreign_key(other)),
        };
        if position(block.text, b"Proc-Type:").is_some() {
            return Err(PemError::EncryptedTraditional);
        }
        let key = PrivateKey {
            form,
            text: block.text,
            der: block.decode()?,
        };
        if found.replace(key).is_some() {
            return Err(PemError::SeveralBlocks);
        }
    }
    found.ok_or(PemError::NoBlock)
}

/// Reads a file of certificates.
pub fn chain(file: &[u8]) -> Result<Chain, PemError> {
    let certificates = blocks(file)?
        .iter()
        .map(|block| match block.label {
            b"CERTIFICATE" => {
                let mut der = block.decode()?;
                Certificate::try_from(std::mem::take(&mut *der)).map_err(|_| PemError::TooLong)
            }
            other if other.ends_with(b"PRIVATE KEY") => Err(PemError::KeyInChain),
            _ => Err(PemError::OtherLabel),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Chain::try_from(certificates).map_err(|_| PemError::TooLong)
}

/// Writes one block. The text is wiped when it is dropped, since it may be a private key.
pub fn encode(label: &str, der: &[u8]) -> Result<Zeroizing<String>, PemError> {
    pem_rfc7468::encode_string(label, LineEnding::LF, der)
        .map(Zeroizing::new)
        .map_err(|_| PemError::Encoding)
}

/// Writes a chain, one block after the other.
pub fn encode_chain(chain: &Chain) -> Result<String, PemError> {
    chain
        .certificates()
        .iter()
        .map(|certificate| encode("CERTIFICATE", certificate.as_bytes()).map(|text| text.to_string()))
        .collect()
}

/// One block of a file, from its first dash to its last.
struct Block<'a> {
    label: &'a [u8],
    text: &'a [u8],
}

impl Block<'_> {
    fn decode(&self) -> Result<Zeroizing<Vec<u8>>, PemError> {
        // A key's lines are 64 characters long nearly always; what this learns in other than constant time is their length.
        let mut decoder = Decoder::new_detect_wrap(self.text).map_err(|_| PemError::Encoding)?;
        let mut der = Zeroizing::new(vec![0; decoder.remaining_len()]);
        decoder.decode(&mut der).map_err(|_| PemError::Encoding)?;
        Ok(der)
    }
}

fn blocks(file: &[u8]) -> Result<Vec<Block<'_>>, PemError> {
    let mut found = Vec::new();
    let mut rest = file;
    while let Some(at) = position(rest, BEGIN) {
        let text = rest.get(at..).unwrap_or_default();
        let after = text.get(BEGIN.len()..).unwrap_or_default();
        let label = after
            .get(..position(after, DASHES).ok_or(PemError::Unterminated)?)
            .unwrap_or_default();
        let end = [b"-----END ", label, DASHES].concat();
        let end = position(text, &end)
            .ok_or(PemError::Unterminated)?
            .saturating_add(end.len());
        let (text, after) = text.split_at_checked(end).ok_or(PemError::Unterminated)?;
        found.push(Block { label, text });
        rest = after;
    }
    match (found.is_empty(), file.first()) {
        (true, Some(0x30)) => Err(PemError::Der), // a DER SEQUENCE, with which keys and certificates begin
        (true, _) => Err(PemError::NoBlock),
        (false, _) => Ok(found),
    }
}

fn foreign_key(label: &[u8]) -> PemError {
    match label {
        b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" | b"EC PARAMETERS" | b"DSA PRIVATE KEY" => PemError::Traditional,
        b"ENCRYPTED PRIVATE KEY" => PemError::Encrypted,
        b"OPENSSH PRIVATE KEY" => PemError::OpenSsh,
        _ => PemError::OtherLabel,
    }
}

fn position(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

const BEGIN: &[u8] = b"-----BEGIN ";
const DASHES: &[u8] = b"-----";

#[cfg(test)]
mod tests {
    use super::*;

    fn block(label: &str, der: &[u8]) -> String {
        encode(label, der).unwrap().to_string()
    }

    fn key_error(text: &str) -> Option<PemError> {
        private_key(text.as_bytes()).err()
    }

    #[test]
    fn a_private_key_is_read_as_it_was_written() {
        for length in [1, 47, 48, 49, 121, 1_200, 8_192] {
            let der: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let text = format!("Bag Attributes\n  x: y\n{}\n", block("PRIVATE KEY", &der));
            assert_eq!(private_key(text.as_bytes()).ok().unwrap().as_bytes(), der);
            assert_eq!(
                private_key(text.replace('\n', "\r\n").as_bytes())
                    .ok()
                    .unwrap()
                    .as_bytes(),
                der
            );
        }
    }

    #[test]
    fn other_forms_of_a_private_key_are_refused_with_the_way_out() {
        let certificate = block("CERTIFICATE", b"c");
        let key = block("PRIVATE KEY", b"k");
        for (text, error) in [
            (block("RSA PRIVATE KEY", b"x"), PemError::Traditional),
            (block("EC PRIVATE KEY", b"x"), PemError::Traditional),
            (
                block("EC PARAMETERS", b"x") + &block("EC PRIVATE KEY", b"x"),
                PemError::Traditional,
            ),
            (block("ENCRYPTED PRIVATE KEY", b"x"), PemError::Encrypted),
            (block("OPENSSH PRIVATE KEY", b"x"), PemError::OpenSsh),
            (block("PUBLIC KEY", b"x"), PemError::OtherLabel),
            (certificate.clone(), PemError::CertificateForKey),
            (certificate + &key, PemError::SeveralBlocks),
            (key.clone() + &key, PemError::SeveralBlocks),
            (String::new(), PemError::NoBlock),
            ("0\u{3}abc".to_owned(), PemError::Der),
            (key.replace("END PRIVATE", "END PUBLIC"), PemError::Unterminated),
            (key.replace("aw==", "a=="), PemError::Encoding),
            (block("PRIVATE KEY", &[0; 8193]), PemError::TooLong),
        ] {
            assert_eq!(key_error(&text), Some(error), "{text}");
        }
        assert!(
            PemError::Traditional
                .to_string()
                .contains("openssl pkcs8 -topk8 -nocrypt")
        );
        assert!(PemError::Encrypted.to_string().contains("openssl pkcs8 -in"));
    }

    #[test]
    fn a_key_for_a_bundle_is_in_one_of_three_forms() {
        let parameters = block("EC PARAMETERS", b"curve");
        for (text, form) in [
            (block("PRIVATE KEY", b"k"), KeyForm::Pkcs8),
            (block("RSA PRIVATE KEY", b"k"), KeyForm::Pkcs1),
            (parameters + &block("EC PRIVATE KEY", b"k"), KeyForm::Sec1),
        ] {
            let file = format!("Bag Attributes\n{text}\n");
            let key = any_private_key(file.as_bytes()).ok().unwrap();
            assert_eq!((key.form, key.der.as_slice()), (form, b"k".as_slice()));
            assert!(key.text.starts_with(b"-----BEGIN ") && key.text.ends_with(b" PRIVATE KEY-----"));
        }
        let legacy = block("RSA PRIVATE KEY", b"k").replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n");
        for (text, error) in [
            (legacy, PemError::EncryptedTraditional),
            (block("ENCRYPTED PRIVATE KEY", b"k"), PemError::Encrypted),
            (block("OPENSSH PRIVATE KEY", b"k"), PemError::OpenSsh),
            (block("DSA PRIVATE KEY", b"k"), PemError::OtherLabel),
            (block("CERTIFICATE", b"k"), PemError::CertificateForKey),
            (block("PRIVATE KEY", b"k").repeat(2), PemError::SeveralBlocks),
            (block("EC PARAMETERS", b"k"), PemError::NoBlock),
        ] {
            assert_eq!(any_private_key(text.as_bytes()).err(), Some(error), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(
            noise in proptest::collection::vec(0u8..=255, 0..200),
            pieces in proptest::collection::vec(0usize..8, 0..12),
        ) {
            let known: [&[u8]; 8] =
                [BEGIN, b"PRIVATE KEY", DASHES, b"-----END ", b"CERTIFICATE", b"\n", b"AAAA", noise.as_slice()];
            let file: Vec<u8> = pieces.iter().flat_map(|at| known[*at].to_vec()).collect();
            if let Ok(chain) = chain(&file) {
                let again = encode_chain(&chain).unwrap();
                proptest::prop_assert_eq!(super::chain(again.as_bytes()), Ok(chain));
            }
            drop(private_key(&file));
            drop(any_private_key(&file));
        }
    }

    #[test]
    fn a_chain_is_certificates_only() {
        let two = block("CERTIFICATE", b"leaf") + "text between\n" + &block("CERTIFICATE", b"issuer");
        let read = chain(two.as_bytes()).unwrap();
        assert_eq!(
            read.certificates().iter().map(|c| c.as_bytes()).collect::<Vec<_>>(),
            [b"leaf".as_slice(), b"issuer"]
        );
        assert_eq!(chain(encode_chain(&read).unwrap().as_bytes()), Ok(read));
        assert_eq!(
            chain((two.clone() + &block("EC PRIVATE KEY", b"x")).as_bytes()),
            Err(PemError::KeyInChain)
        );
        assert_eq!(chain(block("X509 CRL", b"x").as_bytes()), Err(PemError::OtherLabel));
        assert_eq!(
            chain(block("CERTIFICATE", b"x").repeat(9).as_bytes()),
            Err(PemError::TooLong)
        );
    }
}
