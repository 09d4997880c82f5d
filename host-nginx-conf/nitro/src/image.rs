//! What an image is measured as, by the JSON file beside it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Measurements;

/// The measurements of an image, out of the file that was written with it: `enclave-tls.json` beside `enclave-tls.eif`.
pub fn image_measurements(image: &Path) -> Result<Measurements, ImageError> {
    let path = image.with_extension("json");
    let unreadable = |source| ImageError::Unreadable {
        path: path.clone(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(&path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(ImageError::TooLong { path });
    }
    let described: Described = serde_json::from_slice(&bytes).map_err(|reason| ImageError::NotMeasurements {
        path: path.clone(),
        reason: reason.to_string(),
    })?;
    Ok(described.measurements)
}

/// Why an image's measurements are not known.
#[derive(Debug)]
pub enum ImageError {
    Unreadable { path: PathBuf, source: io::Error },
    TooLong { path: PathBuf },
    NotMeasurements { path: PathBuf, reason: String },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, source } => write!(f, "cannot read {}: {source}", path.display())?,
            Self::TooLong { path } => write!(f, "{} is longer than {MAX_FILE} bytes", path.display())?,
            Self::NotMeasurements { path, reason } => {
                write!(f, "{} holds no measurements: {reason}", path.display())?;
            }
        }
        f.write_str("; install image and measurements together, as the package does: [enclave] image names the .eif, its .json lies beside it")
    }
}

impl std::error::Error for ImageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            Self::TooLong { .. } | Self::NotMeasurements { .. } => None,
        }
    }
}

/// The one part of that file which says what will run.
#[derive(Deserialize)]
struct Described {
    #[serde(rename = "Measurements")]
    measurements: Measurements,
}

/// The file is 2 KB.
const MAX_FILE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_file_beside_the_image_is_read() {
        let dir = crate::test_dir("image");
        let image = dir.join("enclave-tls.eif");
        assert!(matches!(image_measurements(&image), Err(ImageError::Unreadable { .. })));
        let pcr = "0c".repeat(48);
        let json = format!(
            r#"{{"Measurements": {{"PCR0": "{pcr}", "PCR1": "{pcr}", "PCR2": "{pcr}"}}, "sha256": {{}}, "bytes": 1}}"#
        );
        fs::write(dir.join("enclave-tls.json"), json).unwrap();
        assert_eq!(image_measurements(&image).unwrap().pcr0.to_string(), pcr);
        fs::write(dir.join("enclave-tls.json"), "{}").unwrap();
        let error = image_measurements(&image).unwrap_err();
        assert!(error.to_string().contains("missing field `Measurements`"), "{error}");
        fs::write(dir.join("enclave-tls.json"), " ".repeat(70_000)).unwrap();
        assert!(matches!(image_measurements(&image), Err(ImageError::TooLong { .. })));
        fs::remove_dir_all(dir).unwrap();
    }
}
