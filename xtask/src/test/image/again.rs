//! The image built again, under other circumstances.

use std::env;
use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};

use super::Stage;
use crate::process;

/// The command, in another directory, time zone and locale, with another umask. It compiles nothing again: what is tried is how the
/// parts are put together. The stage `reproducible` builds everything again.
pub(super) fn quick(stage: &Stage<'_>) -> Result<()> {
    let mut images = Vec::new();
    for (name, umask, zone, locale) in [("a", "022", "UTC", "C"), ("b", "077", "Asia/Tokyo", "de_DE.UTF-8")] {
        let dir = stage.place.0.join(name);
        fs::create_dir(&dir)?;
        let mut command = Command::new("sh");
        command
            .current_dir(&dir)
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .env("USER", name);
        command.args(["-c", "umask $1; exec \"$2\" image --out image.eif", "sh", umask]);
        process::run(command.arg(env::current_exe()?))?;
        images.push((fs::read(dir.join("image.eif"))?, fs::read(dir.join("image.json"))?));
    }
    ensure!(images.first() == images.last(), "the two images differ");
    Ok(())
}
