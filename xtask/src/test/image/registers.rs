//! What an image measures to: as the builder says, as the booted machine says, and as it should.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{PORT, Stage};
use crate::image::Pcrs;
use crate::machine::Document;
use crate::process;

pub(super) fn booted(stage: &Stage<'_>) -> Result<()> {
    let (file, image) = &stage.probed;
    let mut guest = stage.boot_probe("booted", file)?;
    let pcrs = of_document(&guest.ask(PORT, "document")?)?;
    ensure!(
        pcrs == image.measurements.pcrs,
        "the document has {pcrs:?}, the build said {:?}",
        image.measurements.pcrs
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

pub(super) fn changed(stage: &Stage<'_>) -> Result<()> {
    let (_, before) = &stage.probed;
    let mut kernel = stage.probe.clone();
    // In the first sector, which holds a message for who boots it without a boot loader.
    flip(&mut kernel.kernel, KERNEL_UNUSED)?;
    let mut program = stage.probe.clone();
    program.program.push(0);
    let mut command_line = stage.probe.clone();
    command_line.command_line.push_str(" x");
    let mut policy = stage.probe.clone();
    flip(&mut policy.policy, 2)?; // within a comment
    let cases = [
        ("kernel", kernel, [true, true, false]),
        ("program", program, [true, true, false]),
        ("command-line", command_line, [true, true, false]),
        ("policy", policy, [true, false, true]),
    ];
    for (name, inputs, wanted) in cases {
        let (out, image) = stage.write(name, &inputs)?;
        let [new, old] = [&image.measurements.pcrs, &before.measurements.pcrs];
        let differs = [new.pcr0 != old.pcr0, new.pcr1 != old.pcr1, new.pcr2 != old.pcr2];
        ensure!(differs == wanted, "another {name} changes PCR0, 1, 2: {differs:?}");
        let found = of_document(&stage.boot_probe(name, &out)?.ask(PORT, "document")?)?;
        ensure!(
            found == image.measurements.pcrs,
            "another {name}: the document has {found:?}"
        );
    }
    Ok(())
}

pub(super) fn command_line(stage: &Stage<'_>) -> Result<()> {
    let (file, _) = &stage.probed;
    let line = String::from_utf8(stage.boot_probe("line", file)?.ask(PORT, "command-line")?)?;
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

pub(super) fn metadata(stage: &Stage<'_>) -> Result<()> {
    let (_, before) = &stage.probed;
    let mut other = stage.probe.clone();
    other.kernel_version.push_str("-altered");
    let (_, after) = stage.write("metadata-after", &other)?;
    ensure!(
        before.sha256.get("image") != after.sha256.get("image"),
        "the metadata did not change"
    );
    ensure!(
        before.measurements.pcrs == after.measurements.pcrs,
        "metadata are measured"
    );
    Ok(())
}

/// PCR0 to 2 of a document.
pub(super) fn of_document(document: &[u8]) -> Result<Pcrs> {
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

/// The ramdisks' two files, and what every kernel makes before it unpacks them.
const FILES: [&str; 5] = ["/dev/", "/dev/console", "/init", "/policy.toml", "/root/"];

/// Written once more: a change of it in the builder shall be a change of this test too.
const COMMAND_LINE: &str =
    "random.trust_cpu=off random.trust_bootloader=off clocksource=kvm-clock quiet loglevel=0 reboot=k panic=-1";

/// By the parent here.
const ADDED: [&str; 2] = ["parent_cid=2", "reboot=t"];

/// In the old boot sector, which no loader of today runs.
const KERNEL_UNUSED: usize = 0x40;
