//! What a person sees while a long step runs, on standard error.

use std::io::{IsTerminal, stderr, stdout};
use std::time::Instant;

use anyhow::Result;

/// Runs one step, says that it runs, and how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let live = stderr().is_terminal();
    if live {
        eprint!("  … {what}");
    }
    let begin = Instant::now();
    let result = work();
    let mark = if result.is_ok() { "done" } else { "FAILED" };
    let erase = if live { "\r\x1b[2K" } else { "" };
    eprintln!("{erase}  {what}: {mark} ({:.1} s)", begin.elapsed().as_secs_f64());
    result
}

/// The title of what follows, on standard output.
pub(crate) fn title(text: &str) {
    println!("\n{}", Paint::Bold.on(text));
}

/// Colours, on a terminal only and only where the user did not decline them.
#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Bold,
    Good,
    Bad,
}

impl Paint {
    pub(crate) fn on(self, text: &str) -> String {
        if !stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
            return text.to_owned();
        }
        let code = match self {
            Self::Bold => "1",
            Self::Good => "32",
            Self::Bad => "1;31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
