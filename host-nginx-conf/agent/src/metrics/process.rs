//! The agent's own process, by the names that Prometheus' libraries use.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::text::{Kind, Page};

/// `began`: when the process did.
pub(super) fn write(page: &mut Page, began: SystemTime) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let used = format!("{}.{:09}", used.tv_sec, used.tv_nsec);
    let began = began.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs());
    let gauge = Kind::Gauge;
    page.one(
        "process_cpu_seconds_total",
        Kind::Counter,
        "CPU time of the agent, user and system.",
        Some(used),
    );
    page.one(
        "process_resident_memory_bytes",
        gauge,
        "Resident memory of the agent.",
        field("VmRSS:").map(|kib| kib.saturating_mul(1_024)),
    );
    page.one("process_threads", gauge, "Threads of the agent.", field("Threads:"));
    page.one(
        "process_open_fds",
        gauge,
        "File descriptors that the agent has open.",
        fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
    );
    page.one(
        "process_max_fds",
        gauge,
        "File descriptors that the agent may have open.",
        getrlimit(Resource::Nofile).current,
    );
    page.one(
        "process_start_time_seconds",
        gauge,
        "When the agent started, since 1970.",
        began,
    );
}
