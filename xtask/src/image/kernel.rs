//! The kernel: as it lies in `packaging/eif`, and built again from Debian's source.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::sha256;
use crate::paths::Paths;
use crate::process;
use crate::progress;
use crate::setup::{self, Archive, Instead};

/// What `packaging/eif/kernel.json` says about the kernel beside it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    /// As it calls itself.
    pub(crate) version: String,
    /// Debian's package of the source.
    pub(crate) source: Source,
    /// SHA-256 of `kernel.config`.
    pub(crate) config_sha256: String,
    /// SHA-256 of the whole configuration that comes of it.
    pub(crate) full_config_sha256: String,
    /// The first lines of what `gcc --version` and `ld --version` say.
    pub(crate) compiler: String,
    pub(crate) linker: String,
    /// SHA-256 of `bzImage`.
    pub(crate) sha256: String,
}

/// A Debian package, by version and content.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    package: String,
    version: String,
    sha256: String,
}

/// What to do with a kernel built again.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Put it into packaging/eif in place of the one that is there
    #[arg(long)]
    pin: bool,
    /// Where to build, by default a new directory; it stays where it is named here
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// How many jobs at once
    #[arg(long, default_value_t = 2)]
    jobs: u32,
}

/// `cargo xtask kernel`.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<ExitCode> {
    let same = again(paths, options.work.as_deref(), options.jobs, options.pin)?;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds it again, prints what differs from the one in the repository, and tells whether nothing does.
pub(crate) fn again(paths: &Paths, work: Option<&Path>, jobs: u32, pin: bool) -> Result<bool> {
    let temporary = env::temp_dir().join(format!("enclave-tls-kernel-{}", std::process::id()));
    let built = build(paths, work.unwrap_or(&temporary), jobs);
    let same = built.and_then(|built| {
        if pin {
            built.pin(paths)?;
        }
        Ok(built.compare(&Kernel::pinned(paths)?))
    });
    drop(fs::remove_dir_all(&temporary));
    same
}

/// Whether Debian still has the source, or the cache.
pub(crate) fn source(paths: &Paths) -> Result<PathBuf> {
    setup::download(paths, &SOURCE, Instead::Nothing)
}

impl Kernel {
    /// The one that lies in the repository, compared with what is written about it.
    pub(crate) fn pinned(paths: &Paths) -> Result<Self> {
        let dir = directory(paths);
        let description = dir.join("kernel.json");
        let text = fs::read(&description).with_context(|| format!("cannot read {}", description.display()))?;
        let kernel: Self = serde_json::from_slice(&text).with_context(|| description.display().to_string())?;
        for (file, wanted) in [(IMAGE, &kernel.sha256), (CONFIG, &kernel.config_sha256)] {
            let found = sha256(&fs::read(dir.join(file)).with_context(|| format!("no {file}"))?);
            ensure!(
                found == *wanted,
                "packaging/eif/{file} is {found}, not {wanted} as kernel.json says: `cargo xtask kernel --pin` makes both anew"
            );
        }
        Ok(kernel)
    }

    pub(crate) fn path(paths: &Paths) -> PathBuf {
        directory(paths).join(IMAGE)
    }
}

/// A kernel that was just built.
pub(crate) struct Built {
    pub(crate) description: Kernel,
    pub(crate) image: PathBuf,
}

impl Built {
    /// Prints what differs from another.
    fn compare(&self, pinned: &Kernel) -> bool {
        let new = &self.description;
        for (what, new, old) in [
            ("version", &new.version, &pinned.version),
            ("source", &new.source.sha256, &pinned.source.sha256),
            ("configuration", &new.full_config_sha256, &pinned.full_config_sha256),
            ("compiler", &new.compiler, &pinned.compiler),
            ("linker", &new.linker, &pinned.linker),
            ("bzImage", &new.sha256, &pinned.sha256),
        ] {
            match new == old {
                true => println!("  {what}: the same: {new}"),
                false => println!("  {what}: {new} here, {old} in packaging/eif"),
            }
        }
        new == pinned
    }

    /// Puts it, and what is to be said about it, into the repository.
    pub(crate) fn pin(&self, paths: &Paths) -> Result<()> {
        let dir = directory(paths);
        fs::copy(&self.image, dir.join(IMAGE))?;
        let mut json = serde_json::to_string_pretty(&self.description)?;
        json.push('\n');
        Ok(fs::write(dir.join("kernel.json"), json)?)
    }
}

/// Builds it in `work`, which is made, and takes 2 GB there.
pub(crate) fn build(paths: &Paths, work: &Path, jobs: u32) -> Result<Built> {
    setup::install(paths, &PACKAGES)?;
    let deb = source(paths)?;
    let tree = work.join("linux");
    progress::step("unpacking the kernel's source", || unpack(&deb, work, &tree))?;
    let config = directory(paths).join(CONFIG);
    progress::step("building the kernel", || {
        configure(&tree, &config)?;
        process::run(make(&tree).arg(format!("-j{jobs}")).arg("bzImage"))
    })?;
    let image = tree.join("arch/x86/boot/bzImage");
    let first_line = |program: &str| -> Result<String> {
        let said = process::capture(Command::new(program).arg("--version"))?;
        Ok(said.lines().next().unwrap_or_default().to_owned())
    };
    let version = process::capture(make(&tree).arg("kernelrelease"))?;
    let description = Kernel {
        version: version.trim().to_owned(),
        source: Source {
            package: SOURCE.package.into(),
            version: SOURCE.version.into(),
            sha256: SOURCE.sha256.into(),
        },
        config_sha256: sha256(&fs::read(&config)?),
        full_config_sha256: sha256(&fs::read(tree.join(".config"))?),
        compiler: first_line("gcc")?,
        linker: first_line("ld")?,
        sha256: sha256(&fs::read(&image)?),
    };
    Ok(Built { description, image })
}

fn unpack(deb: &Path, work: &Path, tree: &Path) -> Result<()> {
    fs::create_dir_all(tree)?;
    process::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(work.join("deb")))?;
    let tar = work.join("deb/usr/src").join(format!("{}.tar.xz", SOURCE.package));
    let mut command = Command::new("tar");
    command
        .args(["--strip-components=1", "-xJf"])
        .arg(tar)
        .arg("-C")
        .arg(tree);
    process::run(&mut command)?;
    Ok(fs::remove_dir_all(work.join("deb"))?)
}

/// Everything off but what the configuration names; each of its lines must have been taken as it stands.
fn configure(tree: &Path, config: &Path) -> Result<()> {
    process::run(
        make(tree)
            .arg(format!("KCONFIG_ALLCONFIG={}", config.display()))
            .arg("allnoconfig"),
    )?;
    let taken = fs::read_to_string(tree.join(".config"))?;
    let wanted = fs::read_to_string(config)?;
    let lost = not_taken(&wanted, &taken);
    ensure!(lost.is_empty(), "the kernel does not take: {}", lost.join(", "));
    Ok(())
}

/// Lines of a configuration that another does not have. An option that is off may be absent.
fn not_taken<'a>(wanted: &'a str, taken: &str) -> Vec<&'a str> {
    let is_taken = |line: &str| match line.strip_prefix("# CONFIG_") {
        None => taken.lines().any(|other| other == line),
        Some(off) => {
            let name = off.split(' ').next().unwrap_or_default();
            !taken.lines().any(|other| other.starts_with(&format!("CONFIG_{name}=")))
        }
    };
    let lines = wanted
        .lines()
        .filter(|line| line.starts_with("CONFIG_") || line.starts_with("# CONFIG_"));
    lines.filter(|line| !is_taken(line)).collect()
}

/// `make` with nothing of the caller's environment: user, host, time and version of the build are fixed, and relative names
/// are all that the compiler sees of the tree.
fn make(tree: &Path) -> Command {
    let mut command = Command::new("make");
    command.current_dir(tree).env_clear().arg("--silent").envs([
        ("PATH", "/usr/bin:/bin"),
        ("LC_ALL", "C"),
        ("TZ", "UTC"),
        ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
        ("KBUILD_BUILD_USER", "enclave-tls"),
        ("KBUILD_BUILD_HOST", "enclave-tls"),
        ("KBUILD_BUILD_VERSION", "1"),
        ("LOCALVERSION", ""),
    ]);
    command.env("HOME", tree);
    command
}

fn directory(paths: &Paths) -> PathBuf {
    paths.workspace().join("packaging/eif")
}

const IMAGE: &str = "bzImage";
const CONFIG: &str = "kernel.config";

/// Debian drops a version when the next comes; then the kernel in the repository remains, and snapshot.debian.org.
const SOURCE: Archive = Archive {
    package: "linux-source-6.12",
    version: "6.12.117-1~deb12u1",
    sha256: "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703",
};

const PACKAGES: [&str; 9] = [
    "bc",
    "bison",
    "build-essential",
    "flex",
    "gcc",
    "libelf-dev", // objtool
    "libssl-dev", // a tool of its build
    "make",
    "xz-utils",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_is_not_taken_is_named() {
        let wanted = "# why\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\n";
        let taken = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_D=y\n";
        assert_eq!(not_taken(wanted, taken), ["CONFIG_B=y", "# CONFIG_D is not set"]);
    }
}
