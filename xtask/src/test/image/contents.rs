//! What is in an image's file, taken apart without the builder.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use super::Stage;
use crate::build;
use crate::image::Image;
use crate::process;

/// `cargo xtask image --policy`: kernel, command line and program are the release's, so an auditor who knows these reads the policy alone.
pub(super) fn policy(stage: &Stage<'_>) -> Result<()> {
    let policy = stage.place.file("policy.toml");
    let text = String::from_utf8(stage.release.policy.clone())?;
    fs::write(&policy, text.replace("imports = false", "imports = true"))?;
    let out = stage.place.file("other-policy.eif");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["image", "--json", "--policy"]).arg(&policy);
    let printed = process::capture(command.arg("--out").arg(&out))?;
    let other: Image = serde_json::from_str(&printed).context("what --json prints")?;
    let (_, released) = &stage.released;
    let [new, old] = [&other.measurements.pcrs, &released.measurements.pcrs];
    let same = [new.pcr0 == old.pcr0, new.pcr1 == old.pcr1, new.pcr2 == old.pcr2];
    ensure!(same == [false, true, false], "PCR0, 1, 2 are the same: {same:?}");
    for part in ["kernel", "command_line", "program"] {
        ensure!(
            other.sha256.get(part) == released.sha256.get(part),
            "another policy makes another {part}"
        );
    }
    Ok(())
}

/// Each section is what it should be, byte for byte, and there is none besides.
pub(super) fn ramdisks(stage: &Stage<'_>) -> Result<()> {
    let (file, image) = &stage.released;
    let eif = fs::read(file)?;
    let found = sections(&eif)?;
    let kinds: Vec<u16> = found.iter().map(|section| section.kind).collect();
    ensure!(
        kinds == [KERNEL, COMMAND_LINE, METADATA, RAMDISK, RAMDISK],
        "sections of these kinds: {kinds:?}"
    );
    let content = |kind: u16| {
        found
            .iter()
            .filter(move |section| section.kind == kind)
            .map(|section| section.content)
    };
    ensure!(content(KERNEL).eq([&stage.release.kernel[..]]), "another kernel");
    let line = stage.release.command_line.as_bytes();
    ensure!(content(COMMAND_LINE).eq([line]), "another command line");
    let wanted = [
        ("init", 0o100_555, &stage.release.program),
        ("policy.toml", 0o100_444, &stage.release.policy),
    ];
    for (ramdisk, (name, mode, bytes)) in content(RAMDISK).zip(wanted) {
        let mut archive = Vec::new();
        let mut gzip = GzDecoder::new(ramdisk);
        gzip.read_to_end(&mut archive)?;
        ensure!(gzip.into_inner().is_empty(), "something follows the archive of {name}");
        let files = files(&archive)?;
        let [only] = files.as_slice() else {
            anyhow::bail!(
                "beside {name} there is {:?}",
                files.iter().map(|file| file.name).collect::<Vec<_>>()
            );
        };
        ensure!(
            (only.name, only.mode) == (name, mode),
            "{} of mode {:o}",
            only.name,
            only.mode
        );
        ensure!(only.content == bytes, "{name} is another");
    }
    ensure!(image.bytes < MOST_BYTES, "the image has {} bytes", image.bytes);
    Ok(())
}

/// Roots stand in the policy, where everybody can read them, and nowhere in the program: no certificate, and no name of an issuer.
pub(super) fn roots(stage: &Stage<'_>) -> Result<()> {
    let policy = stage.place.file("roots.toml");
    fs::write(&policy, &stage.release.policy)?;
    let first = stage.place.file("root.der");
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-outform", "DER", "-in"]).arg(&policy);
    process::run(openssl.arg("-out").arg(&first))?;
    let root = fs::read(first)?;
    ensure!(
        has_certificate(&root) && holds(&root, COMMON_NAME),
        "the control: a root"
    );
    let program = &stage.release.program;
    ensure!(!has_certificate(program), "a certificate is in the program");
    ensure!(!holds(program, COMMON_NAME), "the name of an issuer is in the program");
    ensure!(!holds(program, b"MII"), "a certificate in base64 is in the program");
    Ok(())
}

/// The lab's own program, which has it, is the control.
pub(super) fn stand_in(stage: &Stage<'_>) -> Result<()> {
    ensure!(
        holds(&fs::read(lab_service(stage)?)?, MARKER),
        "the control: the lab's program"
    );
    ensure!(
        !holds(&stage.release.program, MARKER),
        "the stand-in is in the release program"
    );
    Ok(())
}

fn lab_service(stage: &Stage<'_>) -> Result<PathBuf> {
    let program = stage.paths.target().join("release/lab-service");
    if !program.exists() {
        build::ENCLAVE.build(stage.paths)?;
    }
    Ok(program)
}

/// A certificate's first bytes in DER: two sequences of some 256 bytes and more, version 3, a number.
fn has_certificate(bytes: &[u8]) -> bool {
    bytes.windows(14).any(|at| {
        matches!(
            at,
            [0x30, 0x82, _, _, 0x30, 0x82, _, _, 0xa0, 0x03, 0x02, 0x01, 0x02, 0x02]
        )
    })
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|at| at == wanted)
}

struct Section<'a> {
    kind: u16,
    content: &'a [u8],
}

/// Of an EIF, which is a header that says where they are, and they themselves without a gap. All numbers are big-endian.
fn sections(eif: &[u8]) -> Result<Vec<Section<'_>>> {
    ensure!(eif.starts_with(b".eif"), "no EIF");
    let number = |at: usize, size: usize| -> Result<usize> {
        let bytes = eif.get(at..at + size).context("it is cut short")?;
        Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let mut found = Vec::new();
    let mut at = HEADER;
    for index in 0..number(SECTIONS, 2)? {
        ensure!(number(OFFSETS + 8 * index, 8)? == at, "a gap before section {index}");
        let size = number(SIZES + 8 * index, 8)?;
        ensure!(number(at + 4, 8)? == size, "two sizes of section {index}");
        let begin = at + SECTION_HEADER;
        found.push(Section {
            kind: u16::try_from(number(at, 2)?)?,
            content: eif.get(begin..begin + size).context("it is cut short")?,
        });
        at = begin + size;
    }
    ensure!(at == eif.len(), "something follows the last section");
    Ok(found)
}

struct File<'a> {
    name: &'a str,
    mode: usize,
    content: &'a [u8],
}

/// Of a `newc` archive, with nothing after its trailer.
fn files(archive: &[u8]) -> Result<Vec<File<'_>>> {
    let (mut files, mut at) = (Vec::new(), 0);
    loop {
        ensure!(archive.get(at..at + 6) == Some(b"070701"), "no file begins at {at}");
        let field = |index: usize| -> Result<usize> {
            let begin = at + 6 + 8 * index;
            let digits = archive.get(begin..begin + 8).context("it is cut short")?;
            Ok(usize::from_str_radix(std::str::from_utf8(digits)?, 16)?)
        };
        let (mode, size, name_size) = (field(1)?, field(6)?, field(11)?);
        let name_at = at + 110;
        let name = archive.get(name_at..name_at + name_size).context("it is cut short")?;
        let name = std::str::from_utf8(name)?.trim_end_matches('\0');
        let content_at = (name_at + name_size).next_multiple_of(4);
        let content = archive.get(content_at..content_at + size).context("it is cut short")?;
        at = (content_at + size).next_multiple_of(4);
        if name == "TRAILER!!!" {
            ensure!(at == archive.len(), "something follows the trailer");
            return Ok(files);
        }
        files.push(File { name, mode, content });
    }
}

/// Kinds of sections.
const KERNEL: u16 = 1;
const COMMAND_LINE: u16 = 2;
const RAMDISK: u16 = 3;
const METADATA: u16 = 5;

/// In the header: how many sections, where each begins, how long each is, with room for 32.
const SECTIONS: usize = 26;
const OFFSETS: usize = 28;
const SIZES: usize = OFFSETS + 8 * 32;
const HEADER: usize = SIZES + 8 * 32 + 8;
/// Kind, flags, size.
const SECTION_HEADER: usize = 12;

/// A parent copies it, and an enclave's memory holds it twice while it boots.
const MOST_BYTES: u64 = 6_000_000;

/// `emulator_nsm::MARKER`.
const MARKER: &[u8] = b"enclave-tls stand-in NSM, not AWS";
/// The object identifier in DER, as it stands in every root's name.
const COMMON_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x04, 0x03];
