//! `nsm.toml`: what a lab's stand-in measures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use enclave_attestation::Pcr;
use serde::Deserialize;

use crate::stand_in::{Clock, Options, system_clock};

impl Options {
    /// Reads `nsm.toml` in a directory. PCR0 to 2 must be given, unless the file says `debug = true`, which makes them zero.
    pub fn from_file(dir: &Path) -> Result<Self, FileError> {
        let path = dir.join("nsm.toml");
        let text = std::fs::read_to_string(&path).map_err(|error| FileError {
            path: path.clone(),
            why: error.to_string(),
        })?;
        Self::parse(dir, &text).map_err(|why| FileError { path, why })
    }

    fn parse(dir: &Path, text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let image = [("pcr0", &file.pcr0), ("pcr1", &file.pcr1), ("pcr2", &file.pcr2)];
        for (name, given) in image {
            match (file.debug, given.is_some()) {
                (false, false) => return Err(format!("{name} is missing, and this is no debug enclave")),
                (true, true) => return Err(format!("{name} is zero in a debug enclave")),
                (true, false) | (false, true) => (),
            }
        }
        let all = [file.pcr0, file.pcr1, file.pcr2, file.pcr3, file.pcr4, file.pcr8];
        let mut pcrs = BTreeMap::new();
        for (index, digits) in [0, 1, 2, 3, 4, 8].into_iter().zip(all) {
            if let Some(digits) = digits {
                pcrs.insert(index, pcr(&digits).map_err(|why| format!("pcr{index}: {why}"))?);
            }
        }
        Ok(Self {
            dir: file.pki.map_or_else(|| dir.to_owned(), |pki| dir.join(pki)),
            pcrs,
            clock: ahead(file.ahead_s),
        })
    }
}

/// The form of the file. A key that is not known is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    pcr0: Option<String>,
    pcr1: Option<String>,
    pcr2: Option<String>,
    pcr3: Option<String>,
    pcr4: Option<String>,
    pcr8: Option<String>,
    #[serde(default)]
    debug: bool,
    /// The PKI's directory, where it is not the file's own: enclaves of several images under one root.
    pki: Option<PathBuf>,
    /// How far the module's clock is ahead of the machine's, in seconds.
    #[serde(default)]
    ahead_s: u64,
}

fn ahead(seconds: u64) -> Clock {
    let (machine, ahead_ms) = (system_clock(), seconds.saturating_mul(1_000));
    Arc::new(move || machine().saturating_add(ahead_ms))
}

fn pcr(digits: &str) -> Result<Pcr, &'static str> {
    let mut pcr = [0; 48];
    hex::decode_to_slice(digits, &mut pcr).map_err(|_| "not 96 hexadecimal digits")?;
    Ok(pcr)
}

/// Why `nsm.toml` was refused.
#[derive(Debug)]
pub struct FileError {
    path: PathBuf,
    why: String,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(Path::new("/lab/nsm"), text)
    }

    fn image() -> String {
        let line = |index| format!("pcr{index} = \"{}\"\n", format!("a{index}").repeat(48));
        [0, 1, 2].map(line).concat()
    }

    #[test]
    fn what_it_says_is_measured() {
        let options = parse(&format!(
            "{}pcr8 = \"{}\"\npki = \"../pki\"\n",
            image(),
            "0F".repeat(48)
        ))
        .unwrap();
        let expected = [(0, [0xa0; 48]), (1, [0xa1; 48]), (2, [0xa2; 48]), (8, [0x0f; 48])];
        assert_eq!(options.pcrs, BTreeMap::from(expected));
        assert_eq!(options.dir, Path::new("/lab/nsm/../pki"));
        assert_eq!(parse(&image()).unwrap().dir, Path::new("/lab/nsm"));
        assert_eq!(parse("debug = true").unwrap().pcrs, BTreeMap::new());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            (String::new(), "pcr0 is missing"),
            (image().replace("pcr2", "pcr4"), "pcr2 is missing"),
            (format!("{}debug = true", image()), "pcr0 is zero in a debug enclave"),
            (image().replacen("a0", "a", 1), "pcr0: not 96 hexadecimal digits"),
            (image().replacen("a0", "zz", 1), "pcr0: not 96 hexadecimal digits"),
            (format!("{}pcr16 = \"\"", image()), "unknown field `pcr16`"),
        ] {
            let error = parse(&text).err().unwrap();
            assert!(error.contains(says), "{error}");
        }
    }
}
