//! The command line of `verify`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use enclave_attestation::{PCR_COUNT, Pcr};
use enclave_policy::aws::KeyArn;
use enclave_wire::Usage;
use rustls::pki_types::ServerName;

use enclave_tls_admin::hex;

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// The attestation document, from `attest`
    #[arg(long, value_name = "FILE")]
    pub(crate) document: PathBuf,
    /// The statement beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) statement: PathBuf,
    /// What you drew by chance and had attested: proves that the document was made since
    #[arg(long, value_name = "HEX")]
    pub(crate) nonce: Option<Nonce>,
    /// How old the document may be, as 90s, 15m, 3h or 30d; without --nonce its freshness is bounded by this, not proven
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) max_age: Option<Duration>,
    /// What a PCR must be; repeat it for more
    #[arg(long = "pcr", value_name = "N=HEX", value_parser = pcr)]
    pub(crate) pcrs: Vec<(u8, Pcr)>,
    /// PCR0, 1 and 2 from what nitro-cli printed when it built the image
    #[arg(long, value_name = "FILE")]
    pub(crate) measurements: Option<PathBuf>,
    /// The policy that must be in force: gives PCR16 and the KMS keys that state may be sealed to
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The image's policy, where --policy is what the parent gives and the image's narrows
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) image_policy: Option<PathBuf>,
    /// A KMS key that state is sealed to, where no --policy says; repeat it for all
    #[arg(long = "sealed-to", value_name = "ARN", conflicts_with = "policy")]
    pub(crate) sealed_to: Vec<KeyArn>,
    /// Trust this root instead of AWS's: for a lab
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub(crate) root_sha256: Option<[u8; 32]>,
    /// Every key (with a host: every key that it presents) must have this usage
    #[arg(long, value_name = "USAGE", value_parser = usage)]
    pub(crate) require_usage: Option<Usage>,
    /// Connect to this server, and require that the keys of its certificates are in the statement
    #[arg(value_name = "https://HOST[:PORT]")]
    pub(crate) host: Option<Host>,
    /// Connect to this address instead of that of HOST
    #[arg(long, value_name = "IP:PORT", requires = "host")]
    pub(crate) connect: Option<SocketAddr>,
}

/// What the verifier chose.
#[derive(Clone)]
pub(crate) struct Nonce(pub(crate) Vec<u8>);

impl FromStr for Nonce {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.len().checked_div(2).unwrap_or_default();
        if !NONCE_BYTES.contains(&bytes) {
            return Err("a nonce has 16 to 64 bytes, of which nobody can guess one: openssl rand -hex 32");
        }
        hex::bytes(&text.to_ascii_lowercase())
            .map(Self)
            .ok_or("a nonce is hexadecimal")
    }
}

/// A server.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) name: ServerName<'static>,
    pub(crate) port: u16,
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a host is https://HOST or https://HOST:PORT";
        let rest = text.strip_prefix("https://").ok_or(FORM)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').map(|v6| v6.split_once(']')) {
            Some(Some((v6, ""))) => (v6, None),
            Some(Some((v6, port))) => (v6, Some(port.strip_prefix(':').ok_or(FORM)?)),
            Some(None) => return Err(FORM),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        Ok(Self {
            name: ServerName::try_from(host.to_owned()).map_err(|_| FORM)?,
            port: port.map_or(Ok(443), str::parse).map_err(|_| FORM)?,
        })
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name.to_str(), self.port)
    }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    const FORM: &str = "a duration is a number and s, m, h or d: 3h";
    let (digits, unit) = text
        .char_indices()
        .next_back()
        .and_then(|(at, unit)| Some((text.get(..at)?, unit)))
        .ok_or(FORM)?;
    let unit: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(FORM),
    };
    let number: u64 = digits.parse().map_err(|_| FORM)?;
    number.checked_mul(unit).map(Duration::from_secs).ok_or(FORM)
}

fn pcr(text: &str) -> Result<(u8, Pcr), &'static str> {
    const FORM: &str = "give N=HEX: a PCR from 0 to 31 and its 96 hexadecimal digits";
    let (index, value) = text.split_once('=').ok_or(FORM)?;
    let index = index.parse().ok().filter(|index| *index < PCR_COUNT).ok_or(FORM)?;
    let value = hex::decode(&value.to_ascii_lowercase()).ok_or(FORM)?;
    Ok((index, value))
}

fn sha256(text: &str) -> Result<[u8; 32], &'static str> {
    hex::decode(&text.to_ascii_lowercase()).ok_or("a SHA-256 has 64 hexadecimal digits")
}

fn usage(text: &str) -> Result<Usage, &'static str> {
    text.parse().map_err(|_| "a usage is tls, tls-client or digest")
}

/// The most that `attest` takes; fewer than 16 could be guessed and attested ahead.
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

const HELP: &str = "Give at least --nonce (or --max-age), --measurements (or --pcr 0=HEX) and --policy (or --pcr 16=HEX).\n\
Exit status: 0 proven, 1 not proven, 2 wrong usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (text, shown) in [
            ("https://www.example", "www.example:443"),
            ("https://www.example/", "www.example:443"),
            ("https://www.example:8443", "www.example:8443"),
            ("https://192.0.2.1:1", "192.0.2.1:1"),
            ("https://[2001:db8::1]:8443/", "2001:db8::1:8443"),
        ] {
            assert_eq!(text.parse::<Host>().unwrap().to_string(), shown);
        }
        for bad in [
            "www.example",
            "http://www.example",
            "https://",
            "https://www.example/path",
            "https://www.example:",
            "https://www.example:65536",
            "https://user@www.example",
            "https://[2001:db8::1",
            "https://[2001:db8::1]8443",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("3h"), Ok(Duration::from_secs(10_800)));
        for bad in [
            "",
            "3",
            "h",
            "3w",
            "-3h",
            "99999999999999999999d",
            "18446744073709551615d",
            "3é",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_nonce_cannot_be_guessed() {
        assert!("00".repeat(16).parse::<Nonce>().is_ok());
        for bad in [
            "",
            "00",
            &"00".repeat(15),
            &"00".repeat(65),
            &"0g".repeat(16),
            &"0".repeat(33),
        ] {
            assert!(bad.parse::<Nonce>().is_err(), "{bad}");
        }
    }
}
