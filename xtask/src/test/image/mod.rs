//! The image: built twice to the same bytes, measured as the builder said, taken apart, and booted, with a probe as its program and as
//! it is released.

mod again;
mod boots;
mod contents;
mod kernel;
mod log;
mod registers;
mod signed;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::count::Counts;
use crate::image::{self, INIT, Image, Inputs, Program};
use crate::machine::{self, Boot, Guest, Machine};
use crate::paths::Paths;

pub(super) use self::again::reproducible;
pub(super) use self::kernel::run as kernel;

/// Everything about the image that needs no second kernel and no second build of the program.
pub(super) fn run(paths: &Paths) -> Result<Counts> {
    let stage = Stage::prepare(paths)?;
    run_each(
        &stage,
        &[
            (
                "a_booted_image_has_the_registers_that_the_build_said",
                registers::booted,
            ),
            ("a_changed_byte_changes_the_right_register", registers::changed),
            (
                "threat_14_the_command_line_is_the_documented_one",
                registers::command_line,
            ),
            ("threat_30_metadata_is_not_measured", registers::metadata),
            ("pcr8_measures_the_signers_certificate", signed::pcr8),
            ("a_signers_key_is_that_of_the_certificate", signed::another_key),
            ("another_policy_is_the_same_kernel_and_program", contents::policy),
            (
                "an_image_holds_the_program_the_policy_and_nothing_else",
                contents::ramdisks,
            ),
            ("threat_31_a_release_program_holds_no_root", contents::roots),
            ("threat_19_the_image_holds_no_stand_in", contents::stand_in),
            ("threat_16_a_release_image_refuses_the_emulated_clock", boots::release),
            ("threat_16_a_labs_image_says_which_clock_it_takes", boots::flagged),
            ("an_unknown_word_on_the_command_line_ends_the_machine", boots::nonsense),
            ("nothing_listens_before_control_says_ready", boots::closed),
            ("threat_55_another_directory_zone_locale_and_umask", again::quick),
        ],
    )
}

type Test<'a> = fn(&Stage<'a>) -> Result<()>;

fn run_each<'a>(stage: &Stage<'a>, tests: &[(&str, Test<'a>)]) -> Result<Counts> {
    let mut counts = Counts::default();
    for (name, test) in tests {
        counts = counts + verdict(name, test(stage));
    }
    Ok(counts)
}

fn verdict(name: &str, result: Result<()>) -> Counts {
    match result {
        Ok(()) => {
            println!("test {name} ... ok");
            Counts::ONE
        }
        Err(error) => {
            println!("test {name} ... FAILED: {error:#}");
            Counts {
                failed: 1,
                ..Counts::default()
            }
        }
    }
}

const SKIPPED: Counts = Counts {
    passed: 0,
    failed: 0,
    skipped: 1,
};

/// What the tests share.
struct Stage<'a> {
    paths: &'a Paths,
    place: Place,
    machine: Machine,
    /// What the probe's image is made of, and that image.
    probe: Inputs,
    probed: (PathBuf, Image),
    /// The release program with a release's policy, and that image.
    release: Inputs,
    released: (PathBuf, Image),
    /// The same with a policy under which it runs on the emulated machine.
    lab: Inputs,
    labs: (PathBuf, Image),
}

impl<'a> Stage<'a> {
    fn prepare(paths: &'a Paths) -> Result<Self> {
        let place = Place::new()?;
        let release = Inputs::collect(paths, INIT, None)?;
        let write = |name: &str, inputs: &Inputs| -> Result<(PathBuf, Image)> {
            let out = place.file(&format!("{name}.eif"));
            let image = image::write(paths, inputs, &out)?;
            Ok((out, image))
        };
        let lab = Inputs {
            policy: for_the_emulated_machine(&release.policy)?,
            ..release.clone()
        };
        let probe = Inputs::collect(paths, PROBE, None)?;
        Ok(Self {
            paths,
            probed: write("probe", &probe)?,
            probe,
            machine: machine::set_up(paths)?,
            released: write("release", &release)?,
            labs: write("lab", &lab)?,
            place,
            release,
            lab,
        })
    }

    fn write(&self, name: &str, inputs: &Inputs) -> Result<(PathBuf, Image)> {
        let out = self.place.file(&format!("{name}.eif"));
        let image = image::write(self.paths, inputs, &out)?;
        Ok((out, image))
    }

    /// Boots an image whose program is the probe.
    fn boot_probe(&self, name: &str, image: &Path) -> Result<Guest> {
        let dir = self.place.directory(name)?;
        Guest::boot(
            &self.machine,
            &Boot {
                image,
                dir: &dir,
                mebibytes: 64,
                cpus: 1,
                append: "parent_cid=2",
                knock: KNOCK,
            },
        )
    }
}

/// A release's policy with the two lines changed without which the emulated machine cannot be an enclave: its documents are signed by
/// nobody, and its clock is the CPU's.
fn for_the_emulated_machine(policy: &[u8]) -> Result<Vec<u8>> {
    let mut text = String::from_utf8(policy.to_vec())?;
    let (_, rest) = text
        .split_once("\nroot_sha256 = ")
        .context("the policy names no root")?;
    let root = format!("root_sha256 = {}", rest.lines().next().unwrap_or_default());
    for (from, to) in [
        (root.as_str(), "unsigned = true"),
        ("any_source = false", "any_source = true"),
    ] {
        ensure!(text.matches(from).count() == 1, "the policy has not one {from}");
        text = text.replace(from, to);
    }
    Ok(text.into_bytes())
}

/// A directory of this stage's, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self> {
        let mut random = [0_u8; 4];
        getrandom::fill(&mut random)?;
        let dir = env::temp_dir().join(format!("enclave-tls-image-{}", hex::encode(random)));
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A new one below it.
    fn directory(&self, name: &str) -> Result<PathBuf> {
        let dir = self.file(name);
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const PROBE: Program = Program {
    package: "probe-init",
    binary: "probe-init",
};

/// The probe's.
const PORT: u32 = 5000;

/// Where the probe dials.
const KNOCK: u32 = 5001;
