//! A measured image and policy.

use std::str::FromStr;

use enclave_tls_admin::hex;

/// What KMS compares: PCR0, the image, and PCR16, the policy in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Measured {
    /// 96 lower-case digits, as KMS has them.
    pub(crate) pcr0: String,
    pub(crate) pcr16: String,
}

impl FromStr for Measured {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pcr0, pcr16) = text
            .split_once(':')
            .ok_or("give PCR0:PCR16, each in 96 hexadecimal digits")?;
        Ok(Self {
            pcr0: register(pcr0)?,
            pcr16: register(pcr16)?,
        })
    }
}

/// A register that means something: all zero is a debug enclave's PCR0, or a PCR16 that no policy was measured into.
pub(crate) fn register(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    match hex::decode::<48>(&text) {
        None => Err("a PCR is 96 hexadecimal digits"),
        Some([0, rest @ ..]) if rest == [0; 47] => {
            Err("it is all zero: PCR0 of an enclave in debug mode, or a PCR16 that no policy was measured into")
        }
        Some(_) => Ok(text),
    }
}

/// PCR0 to 2 of an enclave in debug mode.
pub(crate) const ZEROS: &str =
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_two_registers_that_mean_something() {
        let (a, b) = ("Ab".repeat(48), "01".repeat(48));
        let pair: Measured = format!("{a}:{b}").parse().unwrap();
        assert_eq!(pair.pcr0, a.to_lowercase());
        for bad in [
            a.clone(),
            format!("{a}:"),
            format!("{ZEROS}:{b}"),
            format!("{a}:{ZEROS}"),
            format!("{a}:{b}0"),
        ] {
            assert!(bad.parse::<Measured>().is_err(), "{bad}");
        }
    }
}
