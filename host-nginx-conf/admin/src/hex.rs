//! Hexadecimal, lower case only, without a copy that would have to be wiped.

/// Reads exactly `2 * N` lower-case digits.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = octet(pair)?;
    }
    Some(bytes)
}

/// Reads any number of bytes, for what is no secret.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(octet).collect()
}

fn octet(pair: &[u8]) -> Option<u8> {
    let [high, low] = *pair else { return None };
    Some(nibble(high)? << 4 | nibble(low)?)
}

/// Writes lower-case digits.
pub fn encode(bytes: &[u8]) -> String {
    // One allocation of the final size, so that a caller who wipes the string has wiped all of it.
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        text.extend([byte >> 4, byte & 15].map(|n| char::from_digit(u32::from(n), 16).unwrap_or('?')));
    }
    text
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_one_form() {
        assert_eq!(decode::<3>("00ff1a"), Some([0, 255, 26]));
        assert_eq!(encode(&[0, 255, 26]), "00ff1a");
        for bad in ["00FF1A", "00ff1", "00ff1a0", "00ff1g", " 0ff1a", ""] {
            assert_eq!(decode::<3>(bad), None, "{bad:?}");
        }
        assert_eq!(bytes("00ff1a"), Some(vec![0, 255, 26]));
        for bad in ["00FF", "00f", "0g", " 0"] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }
}
