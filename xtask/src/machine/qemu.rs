//! QEMU with this one board, from Debian's source: no Debian build has it, for want of libcbor.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::process;
use crate::progress;
use crate::setup::{self, Archive, Instead};

/// The program and the directory of its ROMs.
pub(super) fn built(paths: &Paths) -> Result<(PathBuf, PathBuf)> {
    let root = paths.cache(&recipe());
    let (program, roms) = (root.join("qemu-system-x86_64"), root.join("roms"));
    // The program comes last.
    setup::once(&root, &program, || {
        setup::install(paths, &PACKAGES)?;
        let source = setup::download_source(paths, &SOURCE, SUITE, Instead::Newest)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        progress::step("building QEMU once, for the cache", || {
            take_roms(paths, &root, &roms)?;
            build(&source, &root, &program)
        })
    })?;
    Ok((program, roms))
}

fn build(source: &Path, root: &Path, program: &Path) -> Result<()> {
    let tree = root.join("tree");
    drop(fs::remove_dir_all(&tree)); // what an interrupted run left
    fs::create_dir_all(tree.join("build"))?;
    let mut tar = Command::new("tar");
    tar.args(["--strip-components=1", "-xJf"])
        .arg(source)
        .arg("-C")
        .arg(&tree);
    process::run(&mut tar)?;
    fs::write(tree.join("configs/devices/x86_64-softmmu/nitro.mak"), DEVICES)?;
    leave_out_edk2(&tree.join("meson.build"))?;
    let python = meson(&tree)?;
    let mut configure = Command::new("../configure");
    configure
        .current_dir(tree.join("build"))
        .env("PATH", path_with(python.parent().context("no directory")?))
        .arg(format!("--python={}", python.display()));
    process::run(configure.args(CONFIGURE))?;
    process::run(
        Command::new("ninja")
            .arg("-C")
            .arg(tree.join("build"))
            .arg("qemu-system-x86_64"),
    )?;
    let built = tree.join("build/qemu-system-x86_64");
    process::run(Command::new("strip").arg(&built))?;
    fs::copy(&built, program.with_extension("new"))?;
    fs::rename(program.with_extension("new"), program)?;
    Ok(fs::remove_dir_all(&tree)?)
}

/// Debian's tarball has no firmware of EDK2 to unpack, and the board needs none.
fn leave_out_edk2(meson: &Path) -> Result<()> {
    let text = fs::read_to_string(meson)?;
    let found = "unpack_edk2_blobs = bzip2.found()";
    ensure!(text.contains(found), "QEMU's meson.build does not read as it did");
    Ok(fs::write(meson, text.replace(found, "unpack_edk2_blobs = false"))?)
}

/// A Python that has the build system of the version QEMU wants.
fn meson(tree: &Path) -> Result<PathBuf> {
    let venv = tree.join("python");
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let python = venv.join("bin/python3");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install"]);
    process::run(pip.args(PYTHON))?;
    Ok(python)
}

/// From Debian's package, which is unpacked and not installed: that would move others.
fn take_roms(paths: &Paths, root: &Path, roms: &Path) -> Result<()> {
    let deb = setup::download(paths, &ROMS, Instead::Newest)?;
    let unpacked = root.join("unpacked");
    process::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked))?;
    fs::create_dir_all(roms)?;
    for name in ["qboot.rom", "bios-microvm.bin", "linuxboot_dma.bin"] {
        let from = ["usr/share/qemu", "usr/share/seabios", "usr/share/qboot"].map(|dir| unpacked.join(dir).join(name));
        if let Some(file) = from.iter().find(|file| file.exists()) {
            fs::copy(file, roms.join(name))?;
        }
    }
    ensure!(roms.join("qboot.rom").exists(), "Debian's QEMU has no qboot.rom");
    Ok(fs::remove_dir_all(unpacked)?)
}

fn path_with(first: &Path) -> String {
    format!("{}:{}", first.display(), env::var("PATH").unwrap_or_default())
}

fn recipe() -> String {
    format!("qemu {SOURCE:?} {ROMS:?} {DEVICES} {CONFIGURE:?} {PYTHON:?}")
}

const SOURCE: Archive = Archive {
    package: "qemu",
    version: "1:10.0.13+ds-0+deb13u1",
    sha256: "6a0888e806c2ffc0c5f0733e974f9aea55491950d3c47c98669c8b236dde59ae",
};

/// Debian 13, whose source also builds on 12.
const SUITE: &str = "trixie";

const ROMS: Archive = Archive {
    package: "qemu-system-data",
    version: "1:7.2+dfsg-7+deb12u18",
    sha256: "8d7647370573fe9871949acf60d0c000546c2c089008a70accb3d015781e6bf1",
};

const DEVICES: &str = "CONFIG_NITRO_ENCLAVE=y\n";

const CONFIGURE: [&str; 13] = [
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--without-default-devices",
    "--with-devices-x86_64=nitro",
    "--enable-system",
    "--enable-tcg",
    "--enable-kvm",
    "--enable-vhost-user",
    "--enable-gnutls",
    "--enable-libcbor",
    "--enable-fdt=system",
    "--disable-docs",
    "--disable-install-blobs",
];

const PYTHON: [&str; 2] = ["meson==1.5.0", "pycotap==1.3.1"];

pub(super) const PACKAGES: [&str; 10] = [
    "build-essential",
    "libcbor-dev",
    "libfdt-dev",
    "libglib2.0-dev",
    "libgnutls28-dev",
    "ninja-build",
    "pkg-config",
    "python3-venv",
    "xz-utils",
    "zlib1g-dev",
];
