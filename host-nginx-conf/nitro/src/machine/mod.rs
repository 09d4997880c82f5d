//! What the parent instance gives to enclaves, and whether it is enough: read from its files, nothing is started.

mod allocator;
mod cpus;
mod device;
mod finding;
mod memory;
mod root;

pub use self::allocator::{Allocator, AllocatorError, Cpus};
pub use self::device::Person;
pub use self::finding::{Finding, Level, Remedy};
pub use self::root::Root;
use crate::cli::RunOptions;
use crate::enclave::Description;

/// Everything that an enclave needs from this instance, each with what was found. `described` is what runs now, where that is known:
/// what the wanted enclave has already is not asked for twice. `person` is whoever will run `nitro-cli`.
pub fn check(root: &Root, wanted: &RunOptions, described: Option<&Description>, person: &Person) -> Vec<Finding> {
    let runs = described.and_then(|all| all.named(&wanted.name)).is_some();
    let mut findings = vec![
        device::device(root),
        device::membership(root, person),
        memory::image(wanted),
    ];
    findings.extend(allocator::findings(root, wanted));
    findings.push(cpus::pool(root, wanted, runs));
    findings.push(memory::huge_pages(root, wanted, runs));
    findings.extend(described.map(|all| places(all, wanted, runs)));
    findings
}

/// An instance has room for four enclaves.
fn places(described: &Description, wanted: &RunOptions, runs: bool) -> Finding {
    let others = described
        .enclaves
        .iter()
        .filter(|one| one.name.as_deref() != Some(wanted.name.as_str()));
    let (count, subject) = (others.clone().count(), "enclaves");
    if let Some(other) = others.clone().find(|other| other.cid == wanted.cid) {
        return Finding::bad(
            subject,
            format!("CID {} belongs to {other}", wanted.cid),
            Remedy::new(
                "set another cid under [enclave] in config.toml",
                "systemctl restart enclave-tls-enclave.service",
            ),
        );
    }
    if count >= MOST && !runs {
        return Finding::bad(
            subject,
            format!("{count} other enclaves run, and an instance has room for {MOST}"),
            Remedy::run("nitro-cli terminate-enclave --enclave-id … for one that is not needed"),
        );
    }
    Finding::good(subject, format!("{count} other enclaves run of at most {MOST}"))
}

/// By the hypervisor.
const MOST: usize = 4;

#[cfg(test)]
mod tests;
