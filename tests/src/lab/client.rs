//! The PKCS#11 client of `functional/c/client.c`: it does what a script says and tells the result of each call.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, ensure};

use super::Lab;
use super::program::{Ran, run_with_input, succeed};
use super::scratch::Scratch;

/// The compiled client.
pub struct Client {
    scratch: Scratch,
    program: PathBuf,
}

/// What the client wrote down.
#[derive(Debug)]
pub struct Told {
    /// How it ended.
    pub status: ExitStatus,
    /// What the process printed: it prints nothing itself.
    pub printed: String,
    lines: Vec<String>,
}

impl Client {
    /// Compiles it. `CC` names another compiler than `cc`.
    pub fn compile() -> Result<Self> {
        let scratch = Scratch::new()?;
        let program = scratch.file("client");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/functional/c/client.c");
        let arguments = ["-Wall", "-Wextra", "-Werror", "-O1", "-pthread", source, "-ldl", "-o"];
        succeed(Command::new(compiler).args(arguments).arg(&program)).context("no C client")?;
        Ok(Self { scratch, program })
    }

    /// Runs a script, calls with `; ` between them, with the lab's module and environment.
    pub fn run(&self, lab: &Lab, script: &str) -> Result<Told> {
        self.run_as(&mut lab.command(&self.program), lab, script)
    }

    /// Runs a script in the environment of `command`, which names [`Self::program`].
    pub fn run_as(&self, command: &mut Command, lab: &Lab, script: &str) -> Result<Told> {
        let report = self.scratch.file("report");
        drop(fs::remove_file(&report)); // of the run before
        let ran: Ran = run_with_input(
            command.arg(&lab.module).arg(&report),
            script.replace("; ", "\n").as_bytes(),
        )?;
        let text = fs::read_to_string(&report).with_context(|| format!("no report: {}", ran.printed()))?;
        Ok(Told {
            status: ran.status,
            printed: ran.printed(),
            lines: text.lines().map(str::to_owned).collect(),
        })
    }

    /// Where the compiled client is.
    pub fn program(&self) -> &PathBuf {
        &self.program
    }
}

impl Told {
    /// The process ended well and printed nothing, and these calls had these results, in this order: `open 0; sign 150`,
    /// name and CK_RV in hexadecimal. What follows on the report's lines is not compared.
    pub fn expect(&self, calls: &str) -> Result<()> {
        self.expect_clean()?;
        let short = |line: &String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let told = self.lines.iter().map(short).collect::<Vec<_>>().join("; ");
        let wanted = format!("load 0; {calls}; end 0");
        ensure!(told == wanted, "expected: {wanted}\nbut came: {told}");
        Ok(())
    }

    /// The process ended well and printed nothing.
    pub fn expect_clean(&self) -> Result<()> {
        ensure!(
            self.status.success(),
            "the client ended with {}: {:?}",
            self.status,
            self.lines
        );
        ensure!(self.printed.is_empty(), "the module printed: {}", self.printed);
        Ok(())
    }

    /// What follows name and result on the lines of one call, in order.
    pub fn values(&self, call: &str) -> Vec<Vec<&str>> {
        let of = |line: &'_ String| line.split(' ').next() == Some(call);
        self.lines
            .iter()
            .filter(|line| of(line))
            .map(|line| line.split(' ').skip(2).collect())
            .collect()
    }

    /// The results of one call, in order.
    pub fn results(&self, call: &str) -> Vec<&str> {
        let words = self.lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        words
            .filter(|words| words.first() == Some(&call))
            .filter_map(|words| words.get(1).copied())
            .collect()
    }

    /// The signatures that were made by calls of this name.
    pub fn signatures(&self, call: &str) -> Result<Vec<Vec<u8>>> {
        let last = self
            .values(call)
            .into_iter()
            .filter_map(|words| words.get(1).copied())
            .filter(|text| !text.is_empty());
        last.map(|text| hex::decode(text).context("not hexadecimal")).collect()
    }
}
