//! The error codes of `nitro-cli`, and what to do about each.

use std::fmt;

/// A code as `nitro-cli` prints it, "E26". Those of versions to come are carried through without advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(u16);

impl Code {
    /// Reads "E26".
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('E')?;
        let plain = (2..=3).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
        plain.then(|| digits.parse().ok().map(Self)).flatten()
    }

    /// It says only that another error, printed before it, happened in the enclave's own process.
    pub fn is_consequence(self) -> bool {
        self == Self::COMMAND_NOT_EXECUTED || self == Self::NO_CONNECTION
    }

    /// What failed, in a few words.
    pub fn meaning(self) -> Option<&'static str> {
        self.entry().map(|(meaning, _)| *meaning)
    }

    /// What an administrator does about it.
    pub fn advice(self) -> Option<&'static str> {
        self.entry().map(|(_, advice)| *advice)
    }

    /// Where AWS explains it.
    pub fn link(self) -> String {
        format!("https://docs.aws.amazon.com/enclaves/latest/user/cli-errors.html#{self}")
    }

    fn entry(self) -> Option<&'static (&'static str, &'static str)> {
        CODES.get(usize::from(self.0))
    }

    /// The enclave's process did not do what it was told.
    pub const COMMAND_NOT_EXECUTED: Self = Self(38);
    /// The enclave's process did not answer.
    pub const NO_CONNECTION: Self = Self(39);
    /// A file could not be opened, read or written; the message names it.
    pub const FILE: Self = Self(19);
    /// No enclave of that name.
    pub const NAME: Self = Self(58);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:02}", self.0)
    }
}

/// By number: what failed, and what to do.
const CODES: [(&str, &str); 60] = [
    ("an error without a code of its own", LOG),
    ("an argument is missing", VERSION),
    ("two arguments contradict each other", VERSION),
    (
        "an argument has a value that is not allowed",
        "look at cid (4 or more, and not the parent's 3), cpus and memory under [enclave] in config.toml",
    ),
    ("no pair of sockets", EXHAUSTED),
    ("the process that holds the enclave could not be started", EXHAUSTED),
    ("the process that holds the enclave could not detach itself", EXHAUSTED),
    (
        "the directory of the enclaves' sockets cannot be read",
        "run: ls -ld /run/nitro_enclaves; it must be of group ne and mode 0775: install the package aws-nitro-enclaves-cli again, or run: systemd-tmpfiles --create",
    ),
    (
        "the enclave's process is gone",
        "it may just have ended: run nitro-cli describe-enclaves",
    ),
    (
        "a socket could not be closed",
        "try again; if it stays, restart enclave-tls-enclave.service",
    ),
    ("no timeout could be set on a socket", LOG),
    (
        "a socket to the enclave's process failed",
        "the enclave of that identifier has ended, or belongs to another user: run nitro-cli describe-enclaves as the user of enclave-tls-enclave.service",
    ),
    ("the kernel refused to watch a descriptor", EXHAUSTED),
    (
        "the kernel refused to watch the enclaves' sockets",
        "raise the limit: sysctl fs.inotify.max_user_instances, then try again",
    ),
    ("the enclave's process did not know the command", VERSION),
    ("a lock was left behind by a thread that failed", LOG),
    ("a thread failed", LOG),
    (
        "the enclave's process and nitro-cli do not understand each other",
        "the package was perhaps updated while an enclave ran: restart enclave-tls-enclave.service",
    ),
    (
        "the log file belongs to another user",
        "run: ls -l /var/log/nitro_enclaves; the directory must be of group ne and mode 0775, and nitro_enclaves.log writable by that group",
    ),
    ("a file could not be used", "the message names the file and what failed"),
    ("the same CPU is asked for twice", VERSION),
    ("a CPU that is not in the pool was asked for", POOL),
    ("the pool has fewer CPUs than the enclave needs", POOL),
    (
        "the list of this machine's CPUs is not understood",
        "look at lscpu: no CPU may be taken offline by hand; then: systemctl restart nitro-enclaves-allocator.service",
    ),
    (
        "a range of CPUs is not understood",
        "correct cpu_pool in /etc/nitro_enclaves/allocator.yaml (for example 2,3,6-9), then: systemctl restart nitro-enclaves-allocator.service",
    ),
    (
        "huge pages of a size that nitro-cli does not know",
        "reserve pages of 2 MiB or 1 GiB: remove hugepagesz= of other sizes from the kernel's command line, restart the instance",
    ),
    (
        "the enclave was asked to run with too little memory for its image",
        "set memory under [enclave] in config.toml to the minimum that the message names (four times the image file), and memory_mib in /etc/nitro_enclaves/allocator.yaml to at least that; then: systemctl restart nitro-enclaves-allocator.service",
    ),
    (
        "not enough huge pages are free",
        "raise memory_mib in /etc/nitro_enclaves/allocator.yaml to the sum of all enclaves' memory, then, while no enclave runs: systemctl restart nitro-enclaves-allocator.service",
    ),
    ("the driver made no enclave", DRIVER),
    (
        "the driver refused a request",
        "mostly the CID or the CPUs are in use, or the last enclave's are not yet released: run nitro-cli describe-enclaves; at most four enclaves run on an instance; if it stays: systemctl restart nitro-enclaves-allocator.service while no enclave runs",
    ),
    ("the driver does not say where the image goes", DRIVER),
    (
        "the driver refused the memory",
        "memory and CPUs must be of one NUMA node: set cpu_count, not cpu_pool, in /etc/nitro_enclaves/allocator.yaml, then: systemctl restart nitro-enclaves-allocator.service",
    ),
    (
        "the driver refused a CPU",
        "an enclave has whole cores: where a core has two threads, cpus under [enclave] in config.toml must be even, and cpu_count in /etc/nitro_enclaves/allocator.yaml too",
    ),
    (
        "the driver did not start the enclave",
        "the CID may be in use (nitro-cli describe-enclaves), at most four enclaves run on an instance, and the instance must have been launched with enclaves enabled",
    ),
    (
        "the image does not fit into memory",
        "raise memory under [enclave] in config.toml and memory_mib in /etc/nitro_enclaves/allocator.yaml, then: systemctl restart nitro-enclaves-allocator.service",
    ),
    (
        "the image could not be read to its end",
        "compare the image with its published SHA-256 and install the package again; if it is whole, huge pages are missing: raise memory_mib in /etc/nitro_enclaves/allocator.yaml",
    ),
    (
        "the enclave did not boot",
        "the image is damaged, its signing certificate has expired, or another enclave was just starting (only one can at a time, on vsock port 9000): compare the image with its published SHA-256, then wait for the next attempt",
    ),
    (
        "the enclave can no longer be watched",
        "restart enclave-tls-enclave.service",
    ),
    ("an enclave's process did not do what it was told", LOG),
    (
        "an enclave's process did not answer",
        "an error printed before this one says why; without one: the process hangs or belongs to another user: run nitro-cli describe-enclaves as the user of enclave-tls-enclave.service",
    ),
    ("the socket's path is not understood", VERSION),
    (
        "the enclave's process could not answer",
        "it may have ended: run nitro-cli describe-enclaves",
    ),
    (
        "huge pages could not be mapped",
        "raise memory_mib in /etc/nitro_enclaves/allocator.yaml, then: systemctl restart nitro-enclaves-allocator.service; look for LimitMEMLOCK in a drop-in of enclave-tls-enclave.service",
    ),
    (
        "huge pages could not be given back",
        "restart the instance if nitro-cli describe-enclaves lists nothing and /proc/meminfo shows no free huge pages",
    ),
    ("no console", CONSOLE),
    ("the console cannot be read", CONSOLE),
    ("the console's text cannot be written", CONSOLE),
    ("a number is not understood", VERSION),
    ("no image was built", BUILD),
    ("Docker built no image", BUILD),
    ("Docker pulled no image", BUILD),
    ("no place for build artifacts", BUILD),
    ("no place for the kernel and ramdisks", BUILD),
    ("the clock stepped while the console was read", CONSOLE),
    ("signals could not be blocked", LOG),
    ("signals could not be unblocked", LOG),
    (
        "nitro-cli cannot write its log",
        "run: ls -ld /var/log/nitro_enclaves; it must exist, be of group ne and mode 0775, and its file system must have room (df /var/log)",
    ),
    (
        "the image could not be hashed",
        "the image cannot be read: compare it with its published SHA-256",
    ),
    (
        "no enclave of that name, or two",
        "run nitro-cli describe-enclaves; end a second one by nitro-cli terminate-enclave --enclave-id",
    ),
    (
        "the image's signature does not verify",
        "compare the image with its published SHA-256 and install the package again; an expired signing certificate needs a newer image",
    ),
];

const LOG: &str = "read the file below /var/log/nitro_enclaves that the message names; try again";
const VERSION: &str = "this version of nitro-cli is not understood: run nitro-cli --version, and install 1.2 or later (package aws-nitro-enclaves-cli)";
const EXHAUSTED: &str = "the parent is short of memory, processes or descriptors: look at free -m and at the limits of enclave-tls-enclave.service (systemctl show -p TasksCurrent,LimitNOFILE), then try again";
const POOL: &str = "set cpu_count in /etc/nitro_enclaves/allocator.yaml to at least cpus of [enclave] in config.toml (plus what other enclaves use), then, while no enclave runs: systemctl restart nitro-enclaves-allocator.service";
const DRIVER: &str = "see that the instance was launched with enclaves enabled and the driver is loaded: modprobe nitro_enclaves; dmesg | grep -i enclave";
const CONSOLE: &str = "only an enclave in debug mode has a console, and this system never starts one so; the enclave's messages are in the agent's log";
const BUILD: &str = "this system does not build images with nitro-cli";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_printed() {
        assert_eq!(Code::parse("E26").unwrap().to_string(), "E26");
        assert_eq!(Code::parse("E07").unwrap().to_string(), "E07");
        assert_eq!(Code::parse("E123").unwrap().to_string(), "E123");
        for bad in ["", "E", "E1", "E1234", "e26", "E+1", "26", "EIF"] {
            assert_eq!(Code::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_table_stands_in_the_order_of_the_numbers() {
        for (code, word) in [
            ("E00", "without a code"),
            ("E19", "file"),
            ("E22", "fewer CPUs"),
            ("E26", "too little memory"),
            ("E27", "huge pages"),
            ("E33", "start the enclave"),
            ("E36", "boot"),
            ("E39", "answer"),
            ("E42", "mapped"),
            ("E56", "log"),
            ("E58", "name"),
            ("E59", "signature"),
        ] {
            assert!(Code::parse(code).unwrap().meaning().unwrap().contains(word), "{code}");
        }
    }

    #[test]
    fn an_unknown_code_has_no_advice() {
        let code = Code::parse("E97").unwrap();
        assert_eq!((code.meaning(), code.advice()), (None, None));
        assert!(code.link().ends_with("#E97"));
    }
}
