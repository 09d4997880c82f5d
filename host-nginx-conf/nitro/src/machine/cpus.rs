//! CPUs that the parent has given up for enclaves.

use std::collections::BTreeSet;

use super::finding::{Finding, Remedy};
use super::root::Root;
use crate::cli::RunOptions;

/// The driver's pool: what the allocator has taken from the parent, less what enclaves hold.
pub(super) fn pool(root: &Root, wanted: &RunOptions, runs: bool) -> Finding {
    let Ok(text) = root.read(POOL) else {
        let load = Remedy::run("modprobe nitro_enclaves && systemctl restart nitro-enclaves-allocator.service");
        return Finding::bad(SUBJECT, "the driver nitro_enclaves is not loaded", load);
    };
    let Some(pool) = parse_list(text.trim()) else {
        return Finding::doubtful(
            SUBJECT,
            format!("{POOL} is not understood: {}", text.trim()),
            Remedy::run("lscpu"),
        );
    };
    let count = u32::try_from(pool.len()).unwrap_or(u32::MAX);
    if count < wanted.cpus && !runs {
        let found = format!("{count} CPUs are in the pool, the enclave needs {}", wanted.cpus);
        return Finding::bad(
            SUBJECT,
            found,
            Remedy::allocator(&format!(
                "set cpu_count: {} (plus what other enclaves use)",
                wanted.cpus
            )),
        );
    }
    let threads = threads(root);
    if !wanted.cpus.is_multiple_of(threads) {
        let found = format!(
            "an enclave has whole cores of {threads} threads each, and {} CPUs are configured",
            wanted.cpus
        );
        let even = wanted.cpus.next_multiple_of(threads);
        let edit = format!("set cpus = {even} under [enclave] in config.toml");
        return Finding::bad(
            SUBJECT,
            found,
            Remedy::new(edit, "systemctl restart enclave-tls-enclave.service"),
        );
    }
    Finding::good(SUBJECT, format!("{count} CPUs are in the pool: {}", text.trim()))
}

/// Of a core. CPU 0 is always the parent's, so that it is always online and tells.
fn threads(root: &Root) -> u32 {
    let siblings = root.read(SIBLINGS).ok().and_then(|text| parse_list(text.trim()));
    siblings
        .and_then(|list| u32::try_from(list.len()).ok())
        .filter(|count| *count > 0)
        .unwrap_or(1)
}

/// "2,3,6-9", as the kernel and the allocator write CPUs; nothing is the empty list.
pub(super) fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

const SUBJECT: &str = "CPU pool";
const POOL: &str = "/sys/module/nitro_enclaves/parameters/ne_cpus";
const SIBLINGS: &str = "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
/// Kernels know at most 8,192; a range beyond is a mistake and not to be counted through.
const MOST: u32 = 8191;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse_list("2,3,6-9").unwrap(), BTreeSet::from([2, 3, 6, 7, 8, 9]));
        assert!(parse_list("").unwrap().is_empty());
        for bad in [",", "1,", "a", "3-1", "1-2-3", "0-4000000000", "-1"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }
}
