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
    /// SHA-256 of `kernel.patch`.
    pub(crate) patch_sha256: String,
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
    let recipe = Recipe {
        jobs: options.jobs,
        ..Recipe::pinned(paths)?
    };
    let same = again(paths, options.work.as_deref(), &recipe, options.pin)?;
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds it again, prints what differs from the one in the repository, and tells whether nothing does.
pub(crate) fn again(paths: &Paths, work: Option<&Path>, recipe: &Recipe, pin: bool) -> Result<bool> {
    let temporary = env::temp_dir().join(format!("enclave-tls-kernel-{}", std::process::id()));
    let built = build(paths, work.unwrap_or(&temporary), recipe);
    let same = built.and_then(|built| {
        if pin {
            built.pin(paths)?;
        }
        Ok(built.compare(&Kernel::pinned(paths)?))
    });
    drop(fs::remove_dir_all(&temporary));
    same
}

/// A kernel for tests, as the cache keeps it: ours without one option.
pub(crate) fn without(paths: &Paths, option: &str) -> Result<PathBuf> {
    let mut recipe = Recipe::pinned(paths)?;
    let on = format!("{option}=y\n");
    ensure!(recipe.config.matches(&on).count() == 1, "{CONFIG} has not one {on}");
    recipe.config = recipe.config.replace(&on, &format!("# {option} is not set\n"));
    let patch = fs::read_to_string(directory(paths).join(PATCH))?;
    let root = paths.cache(&format!("kernel {SOURCE:?} {FIXED:?}\n{patch}\n{}", recipe.config));
    let image = root.join(IMAGE);
    setup::once(&root, &image, || {
        let work = root.join("work");
        drop(fs::remove_dir_all(&work)); // what an interrupted run left
        let built = build(paths, &work, &recipe)?;
        fs::rename(built.image, &image)?;
        Ok(fs::remove_dir_all(&work)?)
    })?;
    Ok(image)
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
        for (file, wanted) in [
            (IMAGE, &kernel.sha256),
            (PATCH, &kernel.patch_sha256),
            (CONFIG, &kernel.config_sha256),
        ] {
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

/// How to build one.
pub(crate) struct Recipe {
    pub(crate) config: String,
    pub(crate) jobs: u32,
    /// Variables for the whole build, beside those that are fixed.
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

impl Recipe {
    /// As the repository says.
    pub(crate) fn pinned(paths: &Paths) -> Result<Self> {
        let file = directory(paths).join(CONFIG);
        Ok(Self {
            config: fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?,
            jobs: 2,
            environment: &[],
        })
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
            ("patch", &new.patch_sha256, &pinned.patch_sha256),
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
fn build(paths: &Paths, work: &Path, recipe: &Recipe) -> Result<Built> {
    setup::install(paths, &PACKAGES)?;
    let deb = source(paths)?;
    let tree = work.join("linux");
    let patch = directory(paths).join(PATCH);
    progress::step("unpacking the kernel's source", || {
        unpack(&deb, work, &tree)?;
        let mut apply = Command::new("patch");
        apply.args(["--strip=1", "--fuzz=0", "--silent", "--directory"]);
        process::run(apply.arg(&tree).arg("--input").arg(&patch))
    })?;
    progress::step("building the kernel", || {
        configure(&tree, &recipe.config)?;
        let mut make = make(&tree);
        make.envs(recipe.environment.iter().copied());
        process::run(make.arg(format!("-j{}", recipe.jobs)).arg("bzImage"))
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
        patch_sha256: sha256(&fs::read(&patch)?),
        config_sha256: sha256(recipe.config.as_bytes()),
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
fn configure(tree: &Path, wanted: &str) -> Result<()> {
    let config = tree.join("wanted.config");
    fs::write(&config, wanted)?;
    process::run(
        make(tree)
            .arg(format!("KCONFIG_ALLCONFIG={}", config.display()))
            .arg("allnoconfig"),
    )?;
    let taken = fs::read_to_string(tree.join(".config"))?;
    let lost = not_taken(wanted, &taken);
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
    command.current_dir(tree).env_clear().arg("--silent").envs(FIXED);
    command.env("HOME", tree);
    command
}

fn directory(paths: &Paths) -> PathBuf {
    paths.workspace().join("packaging/eif")
}

const FIXED: [(&str, &str); 8] = [
    ("PATH", "/usr/bin:/bin"),
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
    ("KBUILD_BUILD_USER", "enclave-tls"),
    ("KBUILD_BUILD_HOST", "enclave-tls"),
    ("KBUILD_BUILD_VERSION", "1"),
    ("LOCALVERSION", ""),
];

const IMAGE: &str = "bzImage";
const PATCH: &str = "kernel.patch";
const CONFIG: &str = "kernel.config";

/// Debian drops a version when the next comes; then the kernel in the repository remains, and snapshot.debian.org.
const SOURCE: Archive = Archive {
    package: "linux-source-6.12",
    version: "6.12.117-1~deb12u1",
    sha256: "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703",
};

const PACKAGES: [&str; 10] = [
    "bc",
    "bison",
    "build-essential",
    "flex",
    "gcc",
    "libelf-dev", // objtool
    "libssl-dev", // a tool of its build
    "make",
    "patch",
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
