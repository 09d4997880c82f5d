//! A lab's pebble, as those use it who have a lab: its root, and another start.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Lab;
use super::state::Ca;
use crate::process;

/// The root of what it issues, PEM.
pub(crate) fn root(ca: &Ca) -> Result<String> {
    let address = ca.management.strip_prefix("https://").context("no address")?;
    let mut ask = Command::new("openssl");
    ask.env_remove("OPENSSL_CONF");
    ask.args([
        "s_client",
        "-quiet",
        "-ign_eof",
        "-verify_return_error",
        "-connect",
        address,
    ]);
    ask.arg("-CAfile").arg(&ca.root);
    ask.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ask.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that has ended wants no more; then there is no answer.
        drop(stdin.write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n"));
    }
    let answer = process::text(&child.wait_with_output()?.stdout);
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer of the CA")?;
    ensure!(body.contains("BEGIN CERTIFICATE"), "the CA shows no root");
    Ok(body.to_owned())
}

/// Starts it again as it was, but that it refuses so many of a hundred nonces. It has forgotten all accounts and orders.
pub(crate) fn restart(lab: &Lab, nonces_refused: u32) -> Result<()> {
    let words = lab.description().commands.get(NAME).context("the lab has no CA")?;
    let (program, arguments) = words.split_first().context("no command")?;
    let mut pebble = Command::new(program);
    pebble.args(arguments);
    for identity in process::with_command_line(words) {
        let environment = fs::read_to_string(format!("/proc/{}/environ", identity.pid))?;
        let variables = environment.split('\0').filter_map(|one| one.split_once('='));
        pebble.envs(variables.filter(|(name, _)| name.starts_with("PEBBLE_")));
        identity.end(Duration::from_secs(5))?;
    }
    pebble.env("PEBBLE_WFE_NONCEREJECT", nonces_refused.to_string());
    let log = OpenOptions::new().append(true).open(lab.place().log(NAME))?;
    pebble.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    drop(pebble.process_group(0).spawn()?);
    let answers = || root(&lab.description().acme).is_ok();
    ensure!(
        process::wait_until(Duration::from_secs(60), answers),
        "the CA did not start again"
    );
    Ok(())
}

/// Of its process.
const NAME: &str = "acme";
