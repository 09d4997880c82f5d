//! What the kernel's command line says to us.
//!
//! The parent may append to it without changing a PCR, so it says nothing that anything rests on: only where the parent is.

/// The keys of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLine {
    /// `parent_cid=`: the parent's context id, on which the planes are dialled.
    pub parent_cid: u32,
}

impl CommandLine {
    /// Reads the keys of ours and leaves the kernel's alone. A key of ours that is not known is refused: whoever wrote it counts on it.
    pub fn parse(text: &str) -> Result<Self, CommandLineError> {
        let mut parent_cid = None;
        for word in text.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            if !OURS.iter().any(|prefix| key.starts_with(prefix)) {
                continue;
            }
            if key != "parent_cid" {
                return Err(CommandLineError::Unknown(key.to_owned()));
            }
            if parent_cid.replace(cid(value)?).is_some() {
                return Err(CommandLineError::Twice);
            }
        }
        Ok(Self {
            parent_cid: parent_cid.unwrap_or(NITRO_PARENT),
        })
    }
}

impl Default for CommandLine {
    fn default() -> Self {
        Self {
            parent_cid: NITRO_PARENT,
        }
    }
}

/// Where the parent is, as far as even a line that is refused says so.
pub(crate) fn stated_parent(text: &str) -> u32 {
    let said = text
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("parent_cid="));
    said.filter_map(|value| cid(value).ok()).next().unwrap_or(NITRO_PARENT)
}

/// Why a command line was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLineError {
    /// A key that begins as ours do, and is none.
    Unknown(String),
    /// `parent_cid` stands there twice.
    Twice,
    /// `parent_cid` is no CID that a parent can have.
    Cid,
}

impl std::fmt::Display for CommandLineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(key) => write!(f, "the kernel's command line has {key:?}, which is not known"),
            Self::Twice => f.write_str("the kernel's command line has parent_cid twice"),
            Self::Cid => f.write_str("parent_cid is a decimal number from 2 to 4294967294"),
        }
    }
}

impl std::error::Error for CommandLineError {}

fn cid(text: &str) -> Result<u32, CommandLineError> {
    let cid: u32 = text.parse().map_err(|_| CommandLineError::Cid)?;
    // 0 is the hypervisor, 1 this machine itself, the highest stands for any; a sign or a leading zero is not what was meant.
    let is_parent = (2..u32::MAX).contains(&cid) && cid.to_string() == text;
    is_parent.then_some(cid).ok_or(CommandLineError::Cid)
}

/// How keys of ours begin. No parameter of the kernel does.
const OURS: [&str; 3] = ["parent_", "enclave_", "enclave-"];
/// The CID of a Nitro enclave's parent.
const NITRO_PARENT: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parents_cid_is_ours_and_the_rest_the_kernels() {
        let image = "reboot=k panic=-1 random.trust_cpu=off quiet loglevel=0 virtio_mmio.device=4K@0xd0000000:5";
        assert_eq!(CommandLine::parse(image), Ok(CommandLine { parent_cid: 3 }));
        assert_eq!(CommandLine::parse(""), Ok(CommandLine::default()));
        let lab = format!("{image} parent_cid=2 reboot=t\n");
        assert_eq!(CommandLine::parse(&lab), Ok(CommandLine { parent_cid: 2 }));
    }

    #[test]
    fn a_line_that_is_refused_may_still_say_where_the_parent_is() {
        for (text, parent) in [
            ("parent_cid=2 enclave_x=1", 2),
            ("parent_cid=x parent_cid=7", 7),
            ("parent_cid=1 parent_port=9", 3),
            ("", 3),
        ] {
            assert_eq!(stated_parent(text), parent, "{text}");
        }
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        for text in [
            "parent_cid",
            "parent_cid=",
            "parent_cid=0",
            "parent_cid=1",
            "parent_cid=+3",
            "parent_cid=03",
            "parent_cid=4294967295",
            "parent_cid=-1",
            "parent_cid=3,4",
        ] {
            assert_eq!(CommandLine::parse(text), Err(CommandLineError::Cid), "{text}");
        }
        assert_eq!(
            CommandLine::parse("parent_cid=3 parent_cid=3"),
            Err(CommandLineError::Twice)
        );
        for key in ["parent_port", "enclave_debug", "enclave-tls.policy"] {
            let refused = Err(CommandLineError::Unknown(key.to_owned()));
            assert_eq!(CommandLine::parse(&format!("quiet {key}=1")), refused);
        }
    }
}
