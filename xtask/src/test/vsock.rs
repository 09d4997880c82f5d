//! The module's tests once more, over real vsocks: in a small machine of our own, whose kernel has a loopback of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::count::Counts;
use crate::build::cargo;
use crate::image::cpio::{self, File};
use crate::machine;
use crate::paths::Paths;
use crate::process;
use crate::setup::loopback::Loopback;

pub(super) fn run(paths: &Paths) -> Result<Counts> {
    let dir = paths.target().join("vsock");
    fs::create_dir_all(&dir)?;
    let loopback = Loopback::set_up(paths)?;
    let machine = machine::set_up(paths)?;
    let ramdisk = dir.join("ramdisk");
    fs::write(&ramdisk, ramdisk_of(&files(paths, &loopback, &dir)?)?)?;
    // Its console is kept, to see whether it came to its end.
    let console = dir.join("console");
    let mut qemu = Command::new("sh");
    qemu.args(["-c", "out=$1; shift; timeout 600 \"$@\" | tee \"$out\"", "vsock"])
        .arg(&console)
        .args(machine.small_words(&loopback.kernel, &ramdisk));
    let mut counts = Counts::of_tests(&mut qemu)?;
    let said = process::text(&fs::read(&console)?);
    for test in TESTS {
        let status = status_of(&said, test).with_context(|| format!("{test} did not end in the machine"))?;
        if status != "0" && counts.failed == 0 {
            println!("{test} ended with {status}");
            counts.failed = 1; // before it could count
        }
    }
    Ok(counts)
}

/// As the machine says it when a program has ended.
fn status_of<'a>(said: &'a str, test: &str) -> Option<&'a str> {
    let beginning = format!("{test}{ENDED}");
    said.lines()
        .find_map(|line| line.trim_end().strip_prefix(beginning.as_str()))
}

/// What the machine's root directory holds, by name.
fn files(paths: &Paths, loopback: &Loopback, dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let tests = tests(paths)?;
    let module = tests.first().context("no tests were built")?.1.with_file_name(MODULE);
    let strace = PathBuf::from("/usr/bin/strace");
    let driver = driver(paths)?;
    let mut files = vec![("busybox".to_owned(), loopback.busybox.clone())];
    for (number, file) in loopback.modules.iter().enumerate() {
        files.push((format!("{number}.ko"), file.clone()));
    }
    let mut libraries = BTreeSet::new();
    let programs = tests.into_iter().chain([
        (MODULE.to_owned(), module),
        ("driver".to_owned(), driver),
        ("strace".to_owned(), strace),
    ]);
    for (name, file) in programs {
        libraries.extend(needed(&file)?);
        let stripped = dir.join(&name);
        process::run(Command::new("strip").arg("-o").arg(&stripped).arg(&file))?;
        files.push((name, stripped));
    }
    for library in libraries {
        let name = library.file_name().context("a library without a name")?;
        files.push((name.to_string_lossy().into_owned(), library));
    }
    Ok(files)
}

/// The same, and what is done with it.
fn ramdisk_of(files: &[(String, PathBuf)]) -> Result<Vec<u8>> {
    let init = INIT.replace("TESTS", &TESTS.join(" ")).replace("ENDED", ENDED);
    let read = |(name, path): &(String, PathBuf)| {
        let content = fs::read(path).with_context(|| path.display().to_string())?;
        Ok((name.clone(), content))
    };
    let mut contents = files.iter().map(read).collect::<Result<Vec<_>>>()?;
    contents.push(("init".to_owned(), init.into_bytes()));
    let files = contents.iter().map(|(name, content)| File {
        name,
        mode: 0o755,
        content,
    });
    cpio::gzipped(&files.collect::<Vec<_>>())
}

/// The programs of the module's tests, built as `unit` builds them.
fn tests(paths: &Paths) -> Result<Vec<(String, PathBuf)>> {
    let mut build = cargo(paths);
    build.args([
        "test",
        "--quiet",
        "-penclave-tls-pkcs11",
        "--no-run",
        "--message-format=json",
    ]);
    let built = process::capture(build.args(TESTS.map(|name| format!("--test={name}"))))?;
    let messages = built
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    TESTS
        .into_iter()
        .map(|name| {
            let of_test = |message: &&Value| message["target"]["name"] == name && message["executable"].is_string();
            let message = messages.iter().find(of_test);
            let path = message.and_then(|message| message["executable"].as_str());
            Ok((
                name.to_owned(),
                path.with_context(|| format!("{name} was not built"))?.into(),
            ))
        })
        .collect()
}

/// The C program that plays their scenarios, which the first of these on this machine builds.
fn driver(paths: &Paths) -> Result<PathBuf> {
    let mut one = cargo(paths);
    one.args([
        "test",
        "--quiet",
        "-penclave-tls-pkcs11",
        "--test=module",
        "--",
        "--exact",
    ]);
    process::run(one.arg("arguments_of_initialize_are_taken_or_refused"))?;
    Ok(paths.target().join("tmp/driver"))
}

/// The libraries that a program is loaded with, by the paths where they are here.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = process::capture(Command::new("ldd").arg(program))?;
    // `libc.so.6 => /lib/… (0x…)`, or the loader's path alone.
    let words = listed.lines().flat_map(str::split_whitespace);
    Ok(words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

const TESTS: [&str; 3] = ["client", "away", "module"];
const MODULE: &str = "libenclave_tls_pkcs11.so";
const ENDED: &str = " ended with ";
/// PID 1. One test is left out: it looks at the module with a tool, and opens no socket.
const INIT: &str = "#!/busybox sh
b=/busybox
$b mkdir -p /proc /sys /dev /tmp /lib64 /lib/x86_64-linux-gnu
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mount -t tmpfs tmp /tmp
$b mv /ld-linux-x86-64.so.2 /lib64
$b mv /*.so.* /lib/x86_64-linux-gnu
for module in 0 1 2; do $b insmod /$module.ko; done
ulimit -n 65536
export PATH=/ ENCLAVE_TLS_VSOCK_LOOPBACK=1 ENCLAVE_TLS_TEST_DRIVER=/driver
for test in TESTS; do
    /$test --skip nothing_but_the_three_entry_points_is_exported
    echo \"${test}ENDED$?\"
done
$b reboot -f
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_a_status_did_not_end() {
        let said = "test a ... ok\r\nclient ended with 0\r\nAborted\r\naway ended with 134\r\n";
        let found = TESTS.map(|test| status_of(said, test));
        assert_eq!(found, [Some("0"), Some("134"), None]);
    }
}
