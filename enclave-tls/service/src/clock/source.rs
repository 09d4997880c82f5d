//! Which of the kernel's clock sources counts the time.
//!
//! The hypervisor's own follows what the hypervisor does to the machine. The processor's counter has been seen to leave an enclave in 1999;
//! the NSM's time, taken again each hour, bounds what it does in between, and a policy may refuse it altogether.

use std::io;
use std::path::Path;
use std::time::Duration;

/// The source that is in use now, of the machine whose `/sys` is below `root`.
pub fn current(root: &Path) -> io::Result<String> {
    let name = std::fs::read_to_string(root.join(CURRENT))?;
    Ok(name.trim_end().to_owned())
}

/// Whether this is the hypervisor's.
#[must_use]
pub fn is_stable(source: &str) -> bool {
    source == STABLE
}

/// Looks each hour, and returns the source that is refused. While any may be, it never does, and only says what it sees.
pub async fn refused(root: &Path, any: impl Fn() -> bool) -> String {
    loop {
        tokio::time::sleep(EVERY).await;
        let source = current(root).unwrap_or_else(|error| error.to_string());
        if is_stable(&source) {
            continue;
        }
        if !any() {
            return source;
        }
        tracing::warn!(source, "the clock source is not kvm-clock; the policy lets it pass");
    }
}

const CURRENT: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
const STABLE: &str = "kvm-clock";
const EVERY: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    struct Tree(std::path::PathBuf);

    impl Tree {
        fn new(test: &str, source: &str) -> Self {
            let tree = Self(std::env::temp_dir().join(format!("enclave-tls-{}-{test}", std::process::id())));
            std::fs::create_dir_all(tree.0.join(CURRENT).parent().unwrap()).unwrap();
            tree.write(source);
            tree
        }

        fn write(&self, source: &str) {
            std::fs::write(self.0.join(CURRENT), format!("{source}\n")).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn threat_16_only_the_hypervisors_clock_is_stable() {
        let tree = Tree::new("source", "kvm-clock");
        assert!(is_stable(&current(&tree.0).unwrap()));
        for source in [
            "tsc",
            "tsc-early",
            "refined-jiffies",
            "hpet",
            "acpi_pm",
            "",
            "kvm-clock2",
        ] {
            tree.write(source);
            assert!(!is_stable(&current(&tree.0).unwrap()), "{source}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn threat_16_another_source_is_found_within_the_hour() {
        let tree = Tree::new("hourly", "kvm-clock");
        let start = tokio::time::Instant::now();
        let change = async {
            tokio::time::sleep(Duration::from_secs(9_000)).await;
            tree.write("tsc");
            std::future::pending::<()>().await;
        };
        let found = tokio::select! {
            found = refused(&tree.0, || false) => found,
            () = change => unreachable!(),
        };
        assert_eq!(found, "tsc");
        assert_eq!(start.elapsed().as_secs(), 10_800);
    }

    #[tokio::test(start_paused = true)]
    async fn threat_16_a_policy_may_let_it_pass() {
        let tree = Tree::new("passes", "tsc");
        let watched = tokio::time::timeout(Duration::from_secs(86_400), refused(&tree.0, || true));
        assert!(watched.await.is_err());
    }
}
