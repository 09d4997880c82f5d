//! Registers that an image is measured into.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The registers that an image fixes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Measurements {
    /// All of the image.
    #[serde(rename = "PCR0")]
    pub pcr0: Pcr,
    /// Kernel, command line and first ramdisk.
    #[serde(rename = "PCR1")]
    pub pcr1: Pcr,
    /// The ramdisks after the first.
    #[serde(rename = "PCR2")]
    pub pcr2: Pcr,
    /// The certificate of whoever signed it.
    #[serde(rename = "PCR8", default, skip_serializing_if = "Option::is_none")]
    pub pcr8: Option<Pcr>,
}

impl Measurements {
    /// Each with its number; PCR8 of an image that nobody signed is zero in the enclave and absent in the file, which is the same.
    pub fn registers(&self) -> [(u8, Pcr); 4] {
        let Self { pcr0, pcr1, pcr2, pcr8 } = self;
        [(0, *pcr0), (1, *pcr1), (2, *pcr2), (8, pcr8.unwrap_or(Pcr::ZERO))]
    }
}

/// One register: a SHA-384.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcr([u8; 48]);

impl Pcr {
    /// Never extended; and what PCR0 to 2 are in debug mode, whatever runs there.
    pub const ZERO: Self = Self([0; 48]);

    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl FromStr for Pcr {
    type Err = BadPcr;

    fn from_str(text: &str) -> Result<Self, BadPcr> {
        let mut bytes = [0; 48];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadPcr)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Pcr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Pcr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Not a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPcr;

impl fmt::Display for BadPcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a register is 96 hexadecimal digits")
    }
}

impl std::error::Error for BadPcr {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_read_as_it_is_written() {
        let text = "0a".repeat(48);
        let pcr: Pcr = text.parse().unwrap();
        assert_eq!(pcr.to_string(), text);
        assert!(!pcr.is_zero() && Pcr::ZERO.is_zero());
        for bad in ["", "0a", &"0".repeat(95), &"0g".repeat(48), &"00".repeat(49)] {
            assert_eq!(bad.parse::<Pcr>(), Err(BadPcr), "{bad}");
        }
    }

    #[test]
    fn an_unsigned_image_has_a_zero_register_of_signers() {
        let json = format!(r#"{{"PCR0": "{0}", "PCR1": "{0}", "PCR2": "{0}"}}"#, "0b".repeat(48));
        let measured: Measurements = serde_json::from_str(&json).unwrap();
        assert_eq!(measured.pcr8, None);
        assert_eq!(measured.registers()[3], (8, Pcr::ZERO));
        assert!(!serde_json::to_string(&measured).unwrap().contains("PCR8"));
    }
}
