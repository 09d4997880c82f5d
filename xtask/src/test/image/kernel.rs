//! The kernel, built again.

use anyhow::{Result, ensure};

use crate::image;
use crate::paths::Paths;
use crate::test::count::Counts;

/// The kernel of the repository is the one that its source makes.
pub(in crate::test) fn run(paths: &Paths) -> Result<Counts> {
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

/// Another number than the pinned kernel was built with.
const JOBS: u32 = 3;
