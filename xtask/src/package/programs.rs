//! What cargo and the image's builder make for packages, stripped; and which C library it needs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build::{self, SHIPPED};
use crate::image;
use crate::paths::Paths;
use crate::process;

/// Built programs.
pub(super) struct Programs {
    release: PathBuf,
    module: PathBuf,
    image: PathBuf,
    /// What the newest symbol that any of them takes from the C library came with.
    pub(super) glibc: Glibc,
}

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glibc(u32, u32);

impl Programs {
    pub(super) fn build(paths: &Paths, image: Option<&Path>) -> Result<Self> {
        eprintln!("  building agent, helper, command and module (release)");
        SHIPPED.build(paths)?;
        build::module(paths)?;
        let release = paths.target().join("release");
        let module = paths.target().join("module/libenclave_tls_pkcs11.so");
        let all = SHIPPED
            .packages()
            .iter()
            .map(|name| release.join(name))
            .chain([module.clone()]);
        let glibc = all.map(|file| Glibc::needed_by(&file)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            glibc: glibc.into_iter().max().context("nothing was built")?,
            release,
            module,
            image: match image {
                Some(file) => file.to_owned(),
                None => build_image(paths)?,
            },
        })
    }

    /// Puts a program, without its symbols, at `to`.
    pub(super) fn program(&self, name: &str, to: &Path) -> Result<()> {
        ensure!(SHIPPED.packages().contains(&name), "no program {name} is built");
        let mut strip = Command::new("strip");
        process::run(strip.arg("-o").arg(to).arg(self.release.join(name)))
    }

    /// The module, which its profile strips.
    pub(super) fn module(&self) -> &Path {
        &self.module
    }

    pub(super) fn image(&self) -> &Path {
        &self.image
    }

    pub(super) fn measurements(&self) -> PathBuf {
        self.image.with_extension("json")
    }
}

impl Glibc {
    fn needed_by(file: &Path) -> Result<Self> {
        let mut readelf = Command::new("readelf");
        let said = process::capture(readelf.args(["--version-info", "--wide"]).arg(file))?;
        Self::newest_in(&said).with_context(|| format!("{} needs no glibc", file.display()))
    }

    fn newest_in(said: &str) -> Option<Self> {
        let versions = said.split("GLIBC_").skip(1).filter_map(|after| {
            let end = after
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(after.len());
            let mut numbers = after.get(..end)?.split('.');
            Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        });
        versions.max()
    }

    /// What that means, for whoever makes packages.
    pub(super) fn told(self) -> String {
        let verdict = if self <= AMAZON_LINUX_2023 {
            "as Amazon Linux 2023 has"
        } else {
            "newer than Amazon Linux 2023 has: there rpm refuses this package"
        };
        format!("They need glibc {self}, {verdict}.")
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A release's image.
fn build_image(paths: &Paths) -> Result<PathBuf> {
    let file = paths.target().join("enclave-tls.eif");
    let inputs = image::Inputs::collect(paths, image::INIT, None)?;
    image::write(paths, &inputs, &file)?;
    Ok(file)
}

const AMAZON_LINUX_2023: Glibc = Glibc(2, 34);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_counts_as_numbers_do() {
        let said =
            "  0x0010: Name: GLIBC_2.9  Flags: none\n Name: GLIBC_2.34\n Name: GLIBC_2.2.5 Name: GCC_3.0 GLIBC_PRIVATE";
        assert_eq!(Glibc::newest_in(said), Some(Glibc(2, 34)));
        assert_eq!(Glibc::newest_in("There is no version information"), None);
    }
}
