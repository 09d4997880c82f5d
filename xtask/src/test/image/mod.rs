//! The image: built twice to the same bytes, booted, and measured as the builder said.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::count::Counts;
use crate::image::{self, Image, Inputs, Pcrs, Program};
use crate::machine::{self, Boot, Document, Guest, Machine};
use crate::paths::Paths;
use crate::process;

/// Everything about the image that needs no more than a probe as its program.
pub(super) fn run(paths: &Paths) -> Result<Counts> {
    let place = Place::new()?;
    let inputs = Inputs::collect(paths, PROBE, None)?;
    let machine = machine::set_up(paths)?;
    let stage = Stage {
        paths,
        place: &place,
        inputs,
        machine,
    };
    let tests: [(&str, Test); 5] = [
        ("a_booted_image_has_the_registers_that_the_build_said", booted),
        ("a_changed_byte_changes_the_right_register", changed),
        ("threat_14_the_command_line_is_the_documented_one", command_line),
        ("threat_30_metadata_is_not_measured", metadata),
        ("threat_55_two_builds_are_the_same_bytes", two_builds),
    ];
    let mut counts = Counts::default();
    for (name, test) in tests {
        counts = counts
            + match test(&stage) {
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
            };
    }
    Ok(counts)
}

/// The kernel of the repository is the one that its source makes.
pub(super) fn kernel(paths: &Paths) -> Result<Counts> {
    if let Err(error) = image::kernel::source(paths) {
        println!("SKIPPED kernel: its source cannot be had: {error:#}");
        return Ok(Counts {
            skipped: 1,
            ..Counts::default()
        });
    }
    let same = image::kernel::again(paths, None, JOBS, false)?;
    ensure!(same, "another kernel came of the source; see above what differs");
    Ok(Counts::ONE)
}

type Test = fn(&Stage<'_>) -> Result<()>;

struct Stage<'a> {
    paths: &'a Paths,
    place: &'a Place,
    inputs: Inputs,
    machine: Machine,
}

impl Stage<'_> {
    fn write(&self, name: &str, inputs: &Inputs) -> Result<(PathBuf, Image)> {
        let out = self.place.0.join(format!("{name}.eif"));
        let image = image::write(self.paths, inputs, &out)?;
        Ok((out, image))
    }

    fn boot(&self, name: &str, image: &Path) -> Result<Guest> {
        let dir = self.place.0.join(name);
        fs::create_dir(&dir)?;
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

/// The command itself, in another directory, as if somebody else ran it elsewhere and later.
fn two_builds(stage: &Stage<'_>) -> Result<()> {
    let mut images = Vec::new();
    for (name, umask, zone, locale) in [("a", "022", "UTC", "C"), ("b", "077", "Asia/Tokyo", "de_DE.UTF-8")] {
        let dir = stage.place.0.join(name);
        fs::create_dir(&dir)?;
        let mut command = Command::new("sh");
        command
            .current_dir(&dir)
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .env("USER", name);
        command.args(["-c", "umask $1; exec \"$2\" image --out image.eif", "sh", umask]);
        process::run(command.arg(env::current_exe()?))?;
        images.push((fs::read(dir.join("image.eif"))?, fs::read(dir.join("image.json"))?));
    }
    ensure!(images.first() == images.last(), "the two images differ");
    Ok(())
}

fn booted(stage: &Stage<'_>) -> Result<()> {
    let (out, image) = stage.write("booted", &stage.inputs)?;
    let mut guest = stage.boot("booted", &out)?;
    let pcrs = registers(&guest.ask(PORT, "document")?)?;
    ensure!(
        pcrs == image.pcrs,
        "the document has {pcrs:?}, the build said {:?}",
        image.pcrs
    );
    let files = String::from_utf8(guest.ask(PORT, "files")?)?;
    ensure!(files.lines().eq(FILES), "inside are {files}");
    let random = guest.ask(PORT, "random")?;
    ensure!(
        random == b"nsm-hwrng\n",
        "random numbers come from {}",
        process::text(&random)
    );
    ensure!(
        guest.console().trim().is_empty(),
        "the console says {}",
        guest.console()
    );
    guest.ask(PORT, "end")?;
    guest.wait(Duration::from_secs(20))
}

fn changed(stage: &Stage<'_>) -> Result<()> {
    let (_, before) = stage.write("before", &stage.inputs)?;
    let mut kernel = stage.inputs.clone();
    // In the first sector, which holds a message for who boots it without a boot loader.
    flip(&mut kernel.kernel, KERNEL_UNUSED)?;
    let mut program = stage.inputs.clone();
    program.program.push(0);
    let mut command_line = stage.inputs.clone();
    command_line.command_line.push_str(" x");
    let mut policy = stage.inputs.clone();
    flip(&mut policy.policy, 2)?; // within a comment
    let cases = [
        ("kernel", kernel, [true, true, false]),
        ("program", program, [true, true, false]),
        ("command-line", command_line, [true, true, false]),
        ("policy", policy, [true, false, true]),
    ];
    for (name, inputs, wanted) in cases {
        let (out, image) = stage.write(name, &inputs)?;
        let [new, old] = [&image.pcrs, &before.pcrs];
        let differs = [new.pcr0 != old.pcr0, new.pcr1 != old.pcr1, new.pcr2 != old.pcr2];
        ensure!(differs == wanted, "another {name} changes PCR0, 1, 2: {differs:?}");
        let found = registers(&stage.boot(name, &out)?.ask(PORT, "document")?)?;
        ensure!(found == image.pcrs, "another {name}: the document has {found:?}");
    }
    Ok(())
}

fn command_line(stage: &Stage<'_>) -> Result<()> {
    let (out, _) = stage.write("line", &stage.inputs)?;
    let line = String::from_utf8(stage.boot("line", &out)?.ask(PORT, "command-line")?)?;
    ensure!(line.starts_with(COMMAND_LINE), "it is {line}");
    // The rest is the machine's devices and what the parent added.
    for word in line
        .trim_end()
        .strip_prefix(COMMAND_LINE)
        .unwrap_or_default()
        .split(' ')
    {
        let known = word.is_empty() || word.starts_with("virtio_mmio.device=") || ADDED.contains(&word);
        ensure!(known, "{word} is on the command line");
    }
    Ok(())
}

fn metadata(stage: &Stage<'_>) -> Result<()> {
    let (_, before) = stage.write("metadata-before", &stage.inputs)?;
    let mut other = stage.inputs.clone();
    other.kernel_version.push_str("-altered");
    let (_, after) = stage.write("metadata-after", &other)?;
    ensure!(
        before.sha256.get("image") != after.sha256.get("image"),
        "the metadata did not change"
    );
    ensure!(before.pcrs == after.pcrs, "metadata are measured");
    Ok(())
}

/// PCR0 to 2 of a document.
fn registers(document: &[u8]) -> Result<Pcrs> {
    let document = Document::read(document)?;
    let pcr = |index| document.pcr(index).map(str::to_owned);
    Ok(Pcrs {
        pcr0: pcr(0)?,
        pcr1: pcr(1)?,
        pcr2: pcr(2)?,
    })
}

fn flip(bytes: &mut [u8], place: usize) -> Result<()> {
    *bytes.get_mut(place).context("too short")? ^= 1;
    Ok(())
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

/// Another number than the pinned kernel was built with.
const JOBS: u32 = 3;

/// Where the probe dials.
const KNOCK: u32 = 5001;

/// The ramdisks' two files, and what every kernel makes before it unpacks them.
const FILES: [&str; 5] = ["/dev/", "/dev/console", "/init", "/policy.toml", "/root/"];

/// Written once more: a change of it in the builder shall be a change of this test too.
const COMMAND_LINE: &str =
    "random.trust_cpu=off random.trust_bootloader=off clocksource=kvm-clock quiet loglevel=0 reboot=k panic=-1";

/// By the parent here.
const ADDED: [&str; 2] = ["parent_cid=2", "reboot=t"];

/// In the old boot sector, which no loader of today runs.
const KERNEL_UNUSED: usize = 0x40;
