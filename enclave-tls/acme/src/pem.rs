//! Chains of certificates as PEM (RFC 8555, section 9.1).

use pem_rfc7468::decode_vec;

/// Reads a chain: 1 to [`MAX_CERTIFICATES`] certificates, and nothing else but line ends between them.
pub(crate) fn certificates(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = std::str::from_utf8(pem).ok()?.trim_ascii();
    let mut certificates = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(END)?.checked_add(END.len())?;
        let (block, after) = rest.split_at_checked(end)?;
        if certificates.len() == MAX_CERTIFICATES || !block.starts_with(BEGIN) {
            return None;
        }
        let (label, der) = decode_vec(block.as_bytes()).ok()?;
        if label != LABEL {
            return None;
        }
        certificates.push(der);
        rest = after.trim_ascii_start();
    }
    (!certificates.is_empty()).then_some(certificates)
}

const LABEL: &str = "CERTIFICATE";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Let's Encrypt's longest chain has four.
const MAX_CERTIFICATES: usize = 10;

#[cfg(test)]
mod tests {
    use pem_rfc7468::{LineEnding, encode_string};
    use proptest::prelude::*;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        encode_string(label, LineEnding::LF, der).unwrap()
    }

    #[test]
    fn chains_of_one_to_ten() {
        for count in 1..=MAX_CERTIFICATES {
            let ders: Vec<Vec<u8>> = (1..=count).map(|n| vec![0x30; n * 40]).collect();
            for between in ["", "\n", "\r\n\r\n"] {
                let chain: String = ders.iter().map(|der| pem(LABEL, der) + between).collect();
                assert_eq!(certificates(chain.as_bytes()), Some(ders.clone()));
            }
        }
        let crlf = encode_string(LABEL, LineEnding::CRLF, &[1; 100]).unwrap();
        assert_eq!(certificates(crlf.as_bytes()), Some(vec![vec![1; 100]]));
    }

    #[test]
    fn what_is_no_chain() {
        let one = pem(LABEL, &[1; 100]);
        for wrong in [
            String::new(),
            "\n".to_owned(),
            "text".to_owned(),
            format!("subject=CN=a\n{one}"),
            format!("{one}text\n{one}"),
            format!("{one}text"),
            pem("PRIVATE KEY", &[1; 100]),
            format!("{}{one}", pem("PRIVATE KEY", &[1; 100])),
            format!("{one}{}", pem("X509 CRL", &[1; 100])),
            one.replace("END CERTIFICATE", "END CERTIFICATES"),
            one.replace("AQEB", "AQ!B"),
            one.repeat(MAX_CERTIFICATES + 1),
            format!("{one}-----BEGIN CERTIFICATE-----"),
        ] {
            assert_eq!(certificates(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(certificates(b"\xff\xfe"), None);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in any::<Vec<u8>>(), begin in any::<bool>()) {
            let begin: &[u8] = if begin { BEGIN.as_bytes() } else { b"" };
            let _ = certificates(&[begin, &body, END.as_bytes()].concat());
        }
    }
}
