//! How much of its memory a guest uses, seen from outside.
//!
//! What QEMU has resident says nothing: the image's kernel zeroes each page as it frees it (`init_on_free`), at boot all of them, so QEMU has
//! touched the whole of its guest's memory before PID 1 begins, and never gives any back. But by the same rule a page that is free is zero.
//! So pages that are not zero are in use: the kernel, the ramdisk's files, the service. What is missed is a page in use that holds zeroes
//! only; what is counted too much is memory that the service's allocator keeps for itself.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

/// Bytes in pages that are not zero, of the guest of this process. The guest runs on meanwhile.
pub(super) fn used(qemu: u32, mebibytes: u64) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{qemu}/maps"))?;
    let length = mebibytes * MEBIBYTE;
    let start = mapping(&maps, length).context("QEMU has no mapping of the size of its guest's memory")?;
    let memory = File::open(format!("/proc/{qemu}/mem"))?;
    let mut chunk = vec![0; usize::try_from(MEBIBYTE)?];
    let mut pages = 0;
    for number in 0..mebibytes {
        memory
            .read_exact_at(&mut chunk, start + number * MEBIBYTE)
            .context("the guest's memory cannot be read")?;
        pages += not_zero(&chunk);
    }
    Ok(pages * PAGE)
}

/// Where the one mapping of this length begins.
fn mapping(maps: &str, length: u64) -> Option<u64> {
    maps.lines().find_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        (end.checked_sub(start)? == length).then_some(start)
    })
}

fn not_zero(chunk: &[u8]) -> u64 {
    let pages = chunk.chunks(4_096);
    pages.map(|page| u64::from(page.iter().any(|byte| *byte != 0))).sum()
}

const MEBIBYTE: u64 = 1 << 20;
const PAGE: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_memory_is_the_mapping_of_its_size() {
        let maps = "7f0000000000-7f0004000000 rw-s 00000000 00:01 12   /memfd:memory-backend-memfd (deleted)\n\
                    7f0004000000-7f0004100000 rw-p 00000000 00:00 0\n";
        assert_eq!(mapping(maps, 64 * MEBIBYTE), Some(0x7f00_0000_0000));
        assert_eq!(mapping(maps, MEBIBYTE), Some(0x7f00_0400_0000));
        assert_eq!(mapping(maps, 128 * MEBIBYTE), None);
    }

    #[test]
    fn a_page_counts_if_one_byte_of_it_is_set() {
        let mut chunk = vec![0; 4 * 4_096];
        assert_eq!(not_zero(&chunk), 0);
        for place in [0, 4_095, 3 * 4_096] {
            if let Some(byte) = chunk.get_mut(place) {
                *byte = 1;
            }
        }
        assert_eq!(not_zero(&chunk), 2);
    }
}
