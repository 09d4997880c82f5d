//! Ramdisks: a cpio archive of regular files (`newc`), gzipped. The same files give the same bytes, wherever and whenever.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};

/// One regular file of root's. Directories are left out: the kernel brings those that PID 1 needs.
pub(crate) struct File<'a> {
    /// In the root directory, so without a slash.
    pub(crate) name: &'a str,
    pub(crate) mode: u32,
    pub(crate) content: &'a [u8],
}

/// The archive of these files, in this order, compressed.
pub(crate) fn gzipped(files: &[File<'_>]) -> Result<Vec<u8>> {
    let archive = archive(files)?;
    // No name, no time, and "unknown" as the system, which the crate sets by itself.
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(&archive)?;
    Ok(encoder.finish()?)
}

fn archive(files: &[File<'_>]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (number, file) in (1..).zip(files) {
        ensure!(!file.name.contains('/'), "{} is in no root directory", file.name);
        ensure!(file.mode <= 0o777, "mode {:o}", file.mode);
        entry(&mut out, number, REGULAR | file.mode, file.name, file.content)?;
    }
    entry(&mut out, 0, 0, TRAILER, b"")?;
    Ok(out)
}

fn entry(out: &mut Vec<u8>, inode: u32, mode: u32, name: &str, content: &[u8]) -> Result<()> {
    let size = u32::try_from(content.len()).context("a file of a ramdisk is under 4 GiB")?;
    let name_size = u32::try_from(name.len() + 1).context("a name that long")?;
    // Inode, mode, user, group, links, time, size, four device numbers, the name's size, a checksum that newc has not.
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    out.extend_from_slice(MAGIC);
    for field in fields {
        write!(out, "{field:08X}")?;
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    align(out);
    out.extend_from_slice(content);
    align(out);
    Ok(())
}

fn align(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

const MAGIC: &[u8] = b"070701";
const TRAILER: &str = "TRAILER!!!";
const REGULAR: u32 = 0o100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_these_bytes() {
        let file = File {
            name: "a",
            mode: 0o555,
            content: b"hello",
        };
        let wanted = [
            "07070100000001",
            "0000816D",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000005",
            "00000000000000000000000000000000",
            "00000002",
            "00000000",
            "a\0hello\0\0\0",
            "07070100000000",
            "00000000",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000000000000000000000000000",
            "0000000B",
            "00000000",
            "TRAILER!!!\0\0\0\0",
        ];
        assert_eq!(String::from_utf8(archive(&[file]).unwrap()).unwrap(), wanted.concat());
    }

    #[test]
    fn a_compressed_archive_has_no_time_and_no_name() {
        let bytes = gzipped(&[]).unwrap();
        assert_eq!(bytes.get(..10).unwrap(), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn a_name_in_a_directory_is_refused() {
        let file = File {
            name: "etc/policy",
            mode: 0o444,
            content: b"",
        };
        assert!(archive(&[file]).is_err());
    }
}
