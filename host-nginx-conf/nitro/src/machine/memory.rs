//! Huge pages, and how much of them an image needs.

use std::fs;

use super::finding::{Finding, Remedy};
use super::root::Root;
use crate::cli::RunOptions;

/// Whether one NUMA node has enough free huge pages: an enclave's memory and CPUs are of one.
pub(super) fn huge_pages(root: &Root, wanted: &RunOptions, runs: bool) -> Finding {
    let nodes: Vec<Node> = root
        .names(NODES)
        .iter()
        .filter_map(|name| Node::read(root, name))
        .collect();
    let Some(best) = nodes.iter().max_by_key(|node| node.free_mib) else {
        return Finding::doubtful(
            SUBJECT,
            format!("{NODES} tells of no huge pages"),
            Remedy::run("grep Huge /proc/meminfo"),
        );
    };
    let told: Vec<String> = nodes
        .iter()
        .map(|node| format!("{} has {} MiB free of {}", node.name, node.free_mib, node.total_mib))
        .collect();
    let told = told.join(", ");
    if runs {
        return Finding::good(SUBJECT, format!("{told}; the enclave has its memory already"));
    }
    if best.free_mib < wanted.memory_mib {
        let total = nodes
            .iter()
            .fold(0, |sum: u64, node| sum.saturating_add(node.total_mib));
        let used = total.saturating_sub(nodes.iter().fold(0, |sum: u64, node| sum.saturating_add(node.free_mib)));
        let needed = used.saturating_add(wanted.memory_mib);
        return Finding::bad(
            SUBJECT,
            format!("{told}; the enclave needs {} MiB on one node", wanted.memory_mib),
            Remedy::allocator(&format!("set memory_mib: {needed}")),
        );
    }
    Finding::good(SUBJECT, told)
}

/// Whether the image is there, and the configured memory enough for it.
pub(super) fn image(wanted: &RunOptions) -> Finding {
    let image = wanted.image.display();
    let length = match fs::metadata(&wanted.image) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Finding::bad("image", format!("{image} is no file"), correct_image()),
        Err(error) => return Finding::bad("image", format!("{image}: {error}"), correct_image()),
    };
    let least = length.div_ceil(MIB).saturating_mul(IMAGE_RATIO);
    if wanted.memory_mib < least {
        let found = format!(
            "nitro-cli wants {least} MiB for an image of {length} bytes, memory is {}",
            wanted.memory_mib
        );
        let edit = format!("set memory = {least} under [enclave] in config.toml");
        return Finding::bad(
            "image",
            found,
            Remedy::new(edit, "systemctl restart enclave-tls-enclave.service"),
        );
    }
    Finding::good("image", format!("{image}, {length} bytes"))
}

fn correct_image() -> Remedy {
    Remedy::new(
        "correct image under [enclave] in config.toml, or install the package again",
        "enclave-tlsctl check",
    )
}

/// Of the pages of all sizes of one node.
struct Node {
    name: String,
    free_mib: u64,
    total_mib: u64,
}

impl Node {
    fn read(root: &Root, name: &str) -> Option<Self> {
        let number = name.strip_prefix("node")?;
        number.parse::<u32>().ok()?;
        let dir = format!("{NODES}/{name}/hugepages");
        let mut node = Self {
            name: format!("node {number}"),
            free_mib: 0,
            total_mib: 0,
        };
        for size in root.names(&dir) {
            let kib: Option<u64> = size
                .strip_prefix("hugepages-")
                .and_then(|rest| rest.strip_suffix("kB")?.parse().ok());
            let Some(kib) = kib else { continue };
            let mebibytes = |file: &str| {
                let pages = root.number(&format!("{dir}/{size}/{file}")).unwrap_or_default();
                pages.saturating_mul(kib).checked_div(1024).unwrap_or_default()
            };
            node.free_mib = node.free_mib.saturating_add(mebibytes("free_hugepages"));
            node.total_mib = node.total_mib.saturating_add(mebibytes("nr_hugepages"));
        }
        Some(node)
    }
}

const SUBJECT: &str = "huge pages";
const NODES: &str = "/sys/devices/system/node";
const MIB: u64 = 1 << 20;
/// `nitro-cli` refuses less: the image lies in memory packed and unpacked.
const IMAGE_RATIO: u64 = 4;
