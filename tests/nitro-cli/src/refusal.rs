//! Errors in the form of the real ones: codes on standard error, links after them, and an E39 where an enclave's process failed.

use std::process::ExitCode;

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The command line's own: no code.
    Usage(String),
    Code {
        number: u8,
        text: String,
        in_process: bool,
    },
    /// The lab's own fault, which the real program cannot have.
    Lab(anyhow::Error),
}

impl Refusal {
    pub(crate) fn usage(text: &str) -> Self {
        Self::Usage(text.to_owned())
    }

    pub(crate) fn unknown(word: &str) -> Self {
        Self::Usage(format!(
            "Found argument '{word}' which wasn't expected, or isn't valid in this context"
        ))
    }

    /// Of the command itself.
    pub(crate) fn code(number: u8, text: &str) -> Self {
        Self::Code {
            number,
            text: text.to_owned(),
            in_process: false,
        }
    }

    /// Of the process that would hold the enclave: an E39 follows.
    pub(crate) fn in_process(number: u8, text: &str) -> Self {
        Self::Code {
            number,
            text: text.to_owned(),
            in_process: true,
        }
    }

    pub(crate) fn print(self) -> ExitCode {
        match self {
            Self::Usage(text) => {
                eprintln!("error: {text}\n\nUSAGE:\n    nitro-cli <SUBCOMMAND>\n\nFor more information try --help");
                ExitCode::from(2)
            }
            Self::Code {
                number,
                text,
                in_process,
            } => {
                print(number, &text);
                if in_process {
                    eprintln!("Failed connections: 1");
                    print(39, "Enclave process connection failure.");
                }
                ExitCode::from(if in_process { 39 } else { number.max(1) })
            }
            Self::Lab(error) => {
                eprintln!("the lab's nitro-cli: {error:#}");
                ExitCode::FAILURE
            }
        }
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Lab(error)
    }
}

fn print(number: u8, text: &str) {
    eprintln!(
        "[ E{number:02} ] {text}\n\n\
         For more details, please visit https://docs.aws.amazon.com/enclaves/latest/user/cli-errors.html#E{number:02}\n\n\
         If you open a support ticket, please provide the error log found at \"/var/log/nitro_enclaves/err.log\""
    );
}
