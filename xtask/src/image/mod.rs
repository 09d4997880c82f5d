//! The enclave's image: our kernel, one static program, one policy, a command line. The same inputs give the same bytes.

pub(crate) mod cpio;
mod eif;
pub(crate) mod kernel;
mod program;
mod signer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::kernel::Kernel;
use crate::paths::Paths;
use crate::progress;

pub(crate) use self::eif::{Measurements, Pcrs, builder};
pub(crate) use self::program::{INIT, Program};
pub(crate) use self::signer::Signer;

/// What to build.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The policy that the image carries; by default a release's
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where the image goes, by default target/enclave-tls.eif; what it was made of goes beside it, with the ending .json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign it, by the key of this certificate; PCR8 then measures the certificate
    #[arg(long, value_name = "CERT.pem", requires = "key")]
    sign: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, value_name = "KEY.pem", requires = "sign")]
    key: Option<PathBuf>,
    /// Print what is in the JSON file, not a summary
    #[arg(long)]
    json: bool,
}

/// What goes into an image. Tests change one of these by a byte.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) kernel: Vec<u8>,
    pub(crate) kernel_version: String,
    pub(crate) command_line: String,
    pub(crate) program: Vec<u8>,
    pub(crate) policy: Vec<u8>,
    /// Whose signature it carries, if anybody's.
    pub(crate) signer: Option<Signer>,
}

/// An image on disk, as the JSON beside it says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Image {
    /// Named as nitro-cli does, so that whoever reads its output reads this.
    #[serde(rename = "Measurements")]
    pub(crate) measurements: Measurements,
    /// SHA-256 of everything that went in, and of the image.
    pub(crate) sha256: BTreeMap<String, String>,
    pub(crate) command_line: String,
    pub(crate) kernel_version: String,
    /// Of the whole file.
    pub(crate) bytes: u64,
    /// Who built it.
    pub(crate) tools: BTreeMap<String, String>,
}

/// Builds what every image needs, so that afterwards one is written in a second.
pub(crate) fn prepare(paths: &Paths) -> Result<()> {
    program::build(paths, INIT)?;
    eif::builder(paths)?;
    Ok(())
}

/// `cargo xtask image`.
pub(crate) fn run(paths: &Paths, options: &Options) -> Result<()> {
    // Before the build: it fails at once.
    let signer = match (&options.sign, &options.key) {
        (Some(certificate), Some(key)) => Some(Signer::new(certificate, key)?),
        (Some(_), None) | (None, Some(_)) => bail!("a signature needs --sign and --key"),
        (None, None) => None,
    };
    let inputs = Inputs {
        signer,
        ..Inputs::collect(paths, INIT, options.policy.as_deref())?
    };
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| paths.target().join("enclave-tls.eif"));
    let image = write(paths, &inputs, &out)?;
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&image)?),
        false => image.summarize(&out),
    }
    Ok(())
}

impl Image {
    fn summarize(&self, path: &Path) {
        let Measurements { pcrs, pcr8 } = &self.measurements;
        let Pcrs { pcr0, pcr1, pcr2 } = pcrs;
        println!("{}, {:.1} MB", path.display(), self.bytes as f64 / 1e6);
        println!("  PCR0  {pcr0}");
        println!("  PCR1  {pcr1}");
        println!("  PCR2  {pcr2}");
        if let Some(pcr8) = pcr8 {
            println!("  PCR8  {pcr8}");
        }
        println!("  What it was made of: {}", path.with_extension("json").display());
    }
}

impl Inputs {
    /// The kernel of the repository, the program as it is built now, and a policy.
    pub(crate) fn collect(paths: &Paths, program: Program, policy: Option<&Path>) -> Result<Self> {
        let policy = match policy {
            Some(file) => file.to_owned(),
            None => paths.workspace().join("packaging/eif/policy.toml"),
        };
        let kernel = Kernel::pinned(paths)?;
        let binary = program::build(paths, program)?;
        if program == INIT {
            program::check_policy(&binary, &policy)?;
        }
        Ok(Self {
            kernel: fs::read(Kernel::path(paths))?,
            kernel_version: kernel.version,
            command_line: COMMAND_LINE.trim_end().to_owned(),
            program: fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?,
            policy: fs::read(&policy).with_context(|| format!("cannot read {}", policy.display()))?,
            signer: None,
        })
    }
}

/// Writes the image, and beside it what it was made of.
pub(crate) fn write(paths: &Paths, inputs: &Inputs, out: &Path) -> Result<Image> {
    // Of this process alone: another may write the same image now.
    let parts = out.with_extension(format!("parts-{}", std::process::id()));
    drop(fs::remove_dir_all(&parts));
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let image = write_with(paths, inputs, out, &parts);
    fs::remove_dir_all(&parts)?;
    image
}

/// What is at `out` is replaced when the new one is whole.
fn write_with(paths: &Paths, inputs: &Inputs, out: &Path, parts: &Path) -> Result<Image> {
    let [program, policy] = ramdisks(inputs)?;
    let [kernel_file, program_file, policy_file] =
        ["bzImage", "program.cpio.gz", "policy.cpio.gz"].map(|name| parts.join(name));
    fs::write(&kernel_file, &inputs.kernel)?;
    fs::write(&program_file, &program)?;
    fs::write(&policy_file, &policy)?;
    let eif = eif::Parts {
        kernel: &kernel_file,
        kernel_version: &inputs.kernel_version,
        command_line: &inputs.command_line,
        ramdisks: [&program_file, &policy_file],
        signer: inputs.signer.as_ref(),
    };
    let [eif_file, json_file] = ["eif", "json"].map(|name| parts.join(name));
    let measurements = progress::step(&format!("writing {}", out.display()), || {
        eif::build(paths, &eif, &eif_file)
    })?;
    let whole = fs::read(&eif_file)?;
    let image = Image {
        measurements,
        sha256: named([
            ("image", sha256(&whole)),
            ("kernel", sha256(&inputs.kernel)),
            ("command_line", sha256(inputs.command_line.as_bytes())),
            ("program", sha256(&inputs.program)),
            ("program_ramdisk", sha256(&program)),
            ("policy", sha256(&inputs.policy)),
            ("policy_ramdisk", sha256(&policy)),
        ]),
        command_line: inputs.command_line.clone(),
        kernel_version: inputs.kernel_version.clone(),
        bytes: u64::try_from(whole.len())?,
        tools: program::tools()?
            .into_iter()
            .chain([(eif::BUILDER.name, eif::BUILDER.version.to_owned())])
            .map(|(name, version)| (name.to_owned(), version))
            .collect(),
    };
    let mut json = serde_json::to_string_pretty(&image)?;
    json.push('\n');
    fs::write(&json_file, json)?;
    fs::rename(eif_file, out)?;
    fs::rename(json_file, out.with_extension("json"))?;
    Ok(image)
}

/// The program in one, the policy in another: PCR1 measures the first and PCR2 the second, so two images that differ in
/// their policy alone have the same PCR1.
fn ramdisks(inputs: &Inputs) -> Result<[Vec<u8>; 2]> {
    let program = cpio::File {
        name: "init", // the kernel starts it by this name
        mode: 0o555,
        content: &inputs.program,
    };
    let policy = cpio::File {
        name: "policy.toml",
        mode: 0o444,
        content: &inputs.policy,
    };
    Ok([cpio::gzipped(&[program])?, cpio::gzipped(&[policy])?])
}

fn named<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Random numbers come from the NSM alone, time from the hypervisor's clock, nothing is printed, and the end of PID 1 ends
/// the machine. PID 1 has it too, and refuses any other.
const COMMAND_LINE: &str = include_str!("../../../packaging/eif/command-line");
