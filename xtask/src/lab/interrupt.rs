//! Ctrl-C while a lab runs in the foreground: its processes are in groups of their own, which no terminal ends.

use std::path::Path;
use std::process;
use std::thread;

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::down;
use crate::paths::Paths;

/// While this is held, SIGINT and SIGTERM end the lab before they end this program.
pub(crate) struct Interrupt(Handle);

impl Interrupt {
    pub(crate) fn ends(paths: &Paths, dir: &Path) -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let (paths, dir) = (paths.clone(), dir.to_owned());
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                eprintln!("\n  ending the lab in {}", dir.display());
                if let Err(error) = down(&paths, &dir) {
                    eprintln!(
                        "error: {error:#}; end it by `cargo xtask lab down --dir {}`",
                        dir.display()
                    );
                }
                process::exit(128 + signal);
            }
        });
        Ok(Self(handle))
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.close();
    }
}
