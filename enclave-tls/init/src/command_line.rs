//! What the kernel's command line says: the image's own words, which are measured, and what a parent may add, which is not.
//!
//! Of words that the kernel knows the last one counts, so an added `random.trust_cpu=on` or `console=ttyS0` would undo what the image says,
//! and a word that it does not know becomes PID 1's environment. So each word is known, or the machine ends.

/// What was added and concerns us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLine {
    /// `parent_cid=`: the parent's context id, on which the planes are dialled. Nothing rests on it.
    pub parent_cid: u32,
}

impl CommandLine {
    /// Reads a line that has each word of the image's, once, and besides them a hypervisor's devices, where the parent is, and a lab's way
    /// to restart.
    pub fn parse(text: &str) -> Result<Self, CommandLineError> {
        let mut missing: Vec<&str> = IMAGE.split_ascii_whitespace().collect();
        let mut parent_cid = None;
        for word in text.split_ascii_whitespace() {
            if let Some(at) = missing.iter().position(|own| *own == word) {
                missing.remove(at);
                continue;
            }
            match word.split_once('=') {
                Some(("parent_cid", value)) => {
                    if parent_cid.replace(cid(value)?).is_some() {
                        return Err(CommandLineError::Twice);
                    }
                }
                // Which devices there are is the hypervisor's to say, and an emulated machine has no keyboard controller to restart by.
                Some(("virtio_mmio.device", _) | ("reboot", "t")) => {}
                _ => return Err(CommandLineError::Unknown(word.to_owned())),
            }
        }
        match missing.first() {
            Some(word) => Err(CommandLineError::Missing((*word).to_owned())),
            None => Ok(Self {
                parent_cid: parent_cid.unwrap_or(NITRO_PARENT),
            }),
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
    /// A word that nobody may add.
    Unknown(String),
    /// A word of the image's that is not there.
    Missing(String),
    /// `parent_cid` stands there twice.
    Twice,
    /// `parent_cid` is no CID that a parent can have.
    Cid,
}

impl std::fmt::Display for CommandLineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(word) => write!(f, "the kernel's command line has {word:?}, which may not be added"),
            Self::Missing(word) => write!(f, "the kernel's command line lacks the image's {word:?}"),
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

/// The image's line, which is measured.
const IMAGE: &str = include_str!("../../../packaging/eif/command-line");
/// The CID of a Nitro enclave's parent.
const NITRO_PARENT: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn with(added: &str) -> Result<u32, CommandLineError> {
        CommandLine::parse(&format!("{} {added}\n", IMAGE.trim_end())).map(|line| line.parent_cid)
    }

    #[test]
    fn devices_and_the_parents_cid_may_be_added() {
        assert_eq!(with(""), Ok(3));
        assert_eq!(
            with("virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6"),
            Ok(3)
        );
        assert_eq!(
            with("parent_cid=2 reboot=t virtio_mmio.device=512@0xfeb00e00:12"),
            Ok(2)
        );
        let before = format!("virtio_mmio.device=4K@0xd0000000:5 {IMAGE}");
        assert_eq!(CommandLine::parse(&before), Ok(CommandLine { parent_cid: 3 }));
    }

    /// threat_14: nothing that is added can undo what is measured.
    #[test]
    fn threat_14_no_other_word_may_be_added() {
        for word in [
            "random.trust_cpu=on",
            "random.trust_bootloader=on",
            "random.trust_cpu=off",
            "clocksource=tsc",
            "ignore_loglevel",
            "loglevel=8",
            "quiet",
            "console=ttyS0",
            "earlyprintk=ttyS0",
            "init_on_free=0",
            "mitigations=off",
            "panic=0",
            "reboot=h",
            "RUST_MIN_STACK=9999999999999",
            "parent_port=9",
            "enclave_debug",
            "parent_cid",
            "--",
        ] {
            assert_eq!(with(word), Err(CommandLineError::Unknown(word.to_owned())));
        }
    }

    #[test]
    fn threat_14_each_word_of_the_images_is_there() {
        for word in IMAGE.split_ascii_whitespace() {
            let without: Vec<&str> = IMAGE.split_ascii_whitespace().filter(|own| *own != word).collect();
            assert_eq!(
                CommandLine::parse(&without.join(" ")),
                Err(CommandLineError::Missing(word.to_owned()))
            );
        }
        assert!(IMAGE.contains("random.trust_cpu=off random.trust_bootloader=off"));
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
    fn a_cid_is_one_that_a_parent_can_have() {
        for value in ["", "0", "1", "+3", "03", "4294967295", "-1", "3,4"] {
            assert_eq!(
                with(&format!("parent_cid={value}")),
                Err(CommandLineError::Cid),
                "{value}"
            );
        }
        assert_eq!(with("parent_cid=3 parent_cid=3"), Err(CommandLineError::Twice));
    }
}
