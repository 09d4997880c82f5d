//! Why `nitro-cli` did not do what it was asked to, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::codes::Code;

/// A command of `nitro-cli` that failed.
#[derive(Debug)]
pub enum NitroError {
    /// It could not be started at all.
    NotStarted { program: PathBuf, source: io::Error },
    /// It was killed at its bound. What it had printed until then is told.
    TimedOut {
        command: &'static str,
        after: Duration,
        said: String,
    },
    /// It ended with an error of its own.
    Failed {
        command: &'static str,
        complaint: Complaint,
    },
    /// It succeeded and printed what is not understood.
    NotUnderstood { command: &'static str, reason: String },
    /// It named the new enclave otherwise than asked, as it does when the name is in use. The new one was ended.
    NameTaken { name: String, given: String },
    /// It says that the enclave was not terminated.
    NotTerminated { which: String },
    /// The kernel did not let us wait for it.
    Wait { command: &'static str, source: io::Error },
}

impl NitroError {
    /// The code that says why, where there is one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Failed { complaint, .. } => complaint.code(),
            Self::NotStarted { .. }
            | Self::TimedOut { .. }
            | Self::NotUnderstood { .. }
            | Self::NameTaken { .. }
            | Self::NotTerminated { .. }
            | Self::Wait { .. } => None,
        }
    }

    /// What an administrator does about it.
    pub fn advice(&self) -> String {
        match self {
            Self::NotStarted { program, source } => match source.kind() {
                io::ErrorKind::NotFound => format!(
                    "install the package aws-nitro-enclaves-cli, or set nitro_cli under [enclave] in config.toml: there is no {}",
                    program.display()
                ),
                io::ErrorKind::PermissionDenied => format!("run: chmod 0755 {}", program.display()),
                // Memory, processes, a broken file: the kernel's own words say which.
                kind => format!("the kernel refused to start it ({kind}): look at free -m and at the unit's limits"),
            },
            Self::TimedOut { .. } => "it is tried again; if it stays so, read /var/log/nitro_enclaves/nitro_enclaves.log, and restart the instance if nitro-cli describe-enclaves hangs too".into(),
            Self::Failed { complaint, .. } => complaint.advice(),
            Self::NotUnderstood { .. } => "run nitro-cli --version: 1.2 or later is understood".into(),
            Self::NameTaken { name, .. } => format!(
                "an enclave {name} ran already; run nitro-cli describe-enclaves, and end the one that should not run: nitro-cli terminate-enclave --enclave-id"
            ),
            Self::NotTerminated { which } => format!(
                "run nitro-cli describe-enclaves: where it still lists {which}, restart the instance"
            ),
            Self::Wait { .. } => "the kernel is older than 5.3 or short of descriptors: look at the unit's LimitNOFILE".into(),
        }
    }
}

impl fmt::Display for NitroError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted { program, source } => write!(f, "cannot run {}: {source}", program.display()),
            Self::TimedOut { command, after, said } => {
                write!(f, "nitro-cli {command} did not end within {} s", after.as_secs())?;
                if said.is_empty() {
                    Ok(())
                } else {
                    write!(f, "; it had said: {said}")
                }
            }
            Self::Failed { command, complaint } => write!(f, "nitro-cli {command} failed: {complaint}"),
            Self::NotUnderstood { command, reason } => {
                write!(f, "nitro-cli {command} printed what is not understood: {reason}")
            }
            Self::NameTaken { name, given } => {
                write!(
                    f,
                    "the name {name} is in use: nitro-cli called the new enclave {given}, which was ended"
                )
            }
            Self::NotTerminated { which } => write!(f, "nitro-cli did not terminate {which}"),
            Self::Wait { command, source } => write!(f, "cannot wait for nitro-cli {command}: {source}"),
        }
    }
}

impl std::error::Error for NitroError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStarted { source, .. } | Self::Wait { source, .. } => Some(source),
            Self::TimedOut { .. }
            | Self::Failed { .. }
            | Self::NotUnderstood { .. }
            | Self::NameTaken { .. }
            | Self::NotTerminated { .. } => None,
        }
    }
}

/// What `nitro-cli` printed to its standard error: "[ E26 ] Insufficient memory requested. …", mostly followed by an E39 that says
/// only that something had gone wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Each error with its text, as printed.
    errors: Vec<(Code, String)>,
    /// All of it where no error has a code, as of a command line that was refused.
    text: String,
    /// Exit status or signal.
    status: String,
}

impl Complaint {
    /// Reads what was printed; nothing of it is trusted to be printable or short.
    pub(crate) fn parse(stderr: &[u8], status: String) -> Self {
        let text = String::from_utf8_lossy(stderr);
        let mut errors: Vec<(Code, String)> = Vec::new();
        let mut open = false;
        for line in text.lines() {
            if let Some((code, rest)) = coded(line) {
                errors.push((code, bounded(rest, MAX_TEXT)));
                open = true;
            } else if line.trim().is_empty() {
                open = false; // what follows are links
            } else if let Some((_, said)) = errors.last_mut().filter(|_| open) {
                *said = bounded(&format!("{said} {line}"), MAX_TEXT);
            }
        }
        errors.truncate(MAX_ERRORS);
        Self {
            errors,
            text: bounded(&text, MAX_TEXT),
            status,
        }
    }

    /// The error that caused the others.
    pub fn code(&self) -> Option<Code> {
        self.cause().map(|(code, _)| *code)
    }

    fn cause(&self) -> Option<&(Code, String)> {
        let own = self.errors.iter().find(|(code, _)| !code.is_consequence());
        own.or(self.errors.first())
    }

    fn advice(&self) -> String {
        match self.cause() {
            Some((Code::FILE, said)) => file_advice(said).into(),
            Some((code, _)) => match code.advice() {
                Some(advice) => advice.into(),
                None => format!("this code is newer than this program: see {}", code.link()),
            },
            None => "run nitro-cli --version: 1.2 or later is understood; the message is nitro-cli's own".into(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            // Advice follows it in one sentence.
            Some((code, said)) => write!(f, "[{code}] {}", said.trim_end_matches('.')),
            None if self.text.is_empty() => write!(f, "it said nothing and ended with {}", self.status),
            None => f.write_str(&self.text),
        }
    }
}

/// E19 names the file: what is to be done depends on which it is.
fn file_advice(said: &str) -> &'static str {
    if said.contains("/dev/nitro_enclaves") {
        "where there is no /dev/nitro_enclaves, launch the instance with enclaves enabled and run: modprobe nitro_enclaves; where there is, it must be of group ne and mode 0660, and the user of enclave-tls-enclave.service in that group: usermod -aG ne enclave-tls"
    } else if said.contains("/ne_cpus") {
        "the driver is not loaded: modprobe nitro_enclaves; then: systemctl restart nitro-enclaves-allocator.service"
    } else if said.contains("/var/log/") {
        "nitro-cli cannot write its log: /var/log/nitro_enclaves must exist, be of group ne and mode 0775, and its file system must have room"
    } else if said.contains(".eif") {
        "image under [enclave] in config.toml names a file that the user of enclave-tls-enclave.service cannot read: install the package again, or correct the path"
    } else {
        "see that the file exists and that the user of enclave-tls-enclave.service may use it"
    }
}

/// "[ E26 ] Insufficient memory requested."
fn coded(line: &str) -> Option<(Code, &str)> {
    let (code, rest) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    Some((Code::parse(code.trim())?, rest.trim()))
}

/// On one line, without control characters, not longer than `limit`.
pub(crate) fn bounded(text: &str, limit: usize) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut line = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        if line.len().saturating_add(word.len()) > limit {
            line.push_str(" …");
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// Its longest own text has 520 characters.
const MAX_TEXT: usize = 1024;
/// It prints two; more are of no use to anybody.
const MAX_ERRORS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(stderr: &str) -> NitroError {
        let complaint = Complaint::parse(stderr.as_bytes(), "exit status: 39".into());
        NitroError::Failed {
            command: "run-enclave",
            complaint,
        }
    }

    /// As it is printed where memory is short, with the links left out.
    const MEMORY: &str = "Start allocating memory...\n\
        [ E27 ] Insufficient memory available. User provided `memory` is 512 MB, which is more than\n\
        the available hugepage memory.\n\nFor more details, please visit …\n\n\
        If you open a support ticket, please provide the error log found at \"/var/log/nitro_enclaves/err1.log\"\n\
        Failed connections: 1\n[ E39 ] Enclave process connection failure.\n\nFor more details, …\n";

    #[test]
    fn the_cause_is_told_and_not_its_consequence() {
        let error = failed(MEMORY);
        assert_eq!(error.code(), Code::parse("E27"));
        let text = error.to_string();
        assert!(
            text.contains("[E27] Insufficient memory available") && text.ends_with("hugepage memory"),
            "{text}"
        );
        assert!(!text.contains("details"), "{text}");
        assert!(error.advice().contains("memory_mib"), "{}", error.advice());
    }

    #[test]
    fn a_consequence_alone_is_a_cause() {
        assert_eq!(
            failed("[ E39 ] Enclave process connection failure.").code(),
            Some(Code::NO_CONNECTION)
        );
    }

    #[test]
    fn which_file_failed_decides_the_advice() {
        for (file, word) in [
            ("/dev/nitro_enclaves", "enclaves enabled"),
            ("/sys/module/nitro_enclaves/parameters/ne_cpus", "modprobe"),
            ("/var/log/nitro_enclaves/nitro_enclaves.log", "its log"),
            ("/usr/share/enclave-tls/enclave-tls.eif", "image"),
            ("/elsewhere", "may use it"),
        ] {
            let error = failed(&format!(
                "[ E19 ] File operation failure.\nFile: '{file}', failing operation: 'Open'."
            ));
            assert!(error.advice().contains(word), "{file}: {}", error.advice());
        }
    }

    #[test]
    fn an_unknown_code_is_carried_through() {
        let error = failed("[ E97 ] Something new.");
        assert_eq!(error.code().unwrap().to_string(), "E97");
        assert!(error.to_string().contains("Something new") && error.advice().contains("#E97"));
    }

    #[test]
    fn text_without_a_code_is_told_and_bounded() {
        let error = failed("error: Found argument '--nonsense' which wasn't expected\x1b[0m\n\nUSAGE:\n");
        assert_eq!(error.code(), None);
        assert!(error.to_string().contains("--nonsense") && !error.to_string().contains('\x1b'));
        assert!(failed(&"word ".repeat(9000)).to_string().len() < 1200);
        assert!(failed("").to_string().contains("exit status: 39"));
    }
}
