//! Colours, on a terminal only.

use std::io::{self, IsTerminal};

/// What a text says of how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Doubtful,
    Bad,
    /// A heading.
    Head,
}

/// Paints, or does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Painter {
    on: bool,
}

impl Painter {
    /// For standard output: not into files and pipes, nor where `NO_COLOR` (no-color.org) or the terminal says so.
    pub(crate) fn of_stdout() -> Self {
        let says_no = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self {
            on: !says_no && !is_dumb && io::stdout().is_terminal(),
        }
    }

    /// For files.
    pub(crate) fn never() -> Self {
        Self { on: false }
    }

    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "31",
            Tone::Head => "1",
        };
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_file_is_text_alone() {
        assert_eq!(Painter::never().paint(Tone::Bad, "error"), "error");
        assert_eq!(
            Painter { on: true }.paint(Tone::Bad, "error"),
            "\u{1b}[31merror\u{1b}[0m"
        );
    }
}
