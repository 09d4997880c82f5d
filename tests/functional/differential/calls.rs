//! A C client, which makes the calls of `tests/differential/calls.txt`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::lab::differences::Outcomes;
use e2e::lab::program::{run_with_input, succeed};
use e2e::lab::scratch::Scratch;

use super::tokens::{Token, Tokens};

/// The compiled client.
pub(super) struct Client {
    program: PathBuf,
    scratch: Scratch,
}

impl Client {
    pub(super) fn compile() -> Result<Self> {
        let scratch = Scratch::new()?;
        let program = scratch.file("differential");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/functional/c/differential.c");
        let arguments = ["-Wall", "-Wextra", "-Werror", "-O1", source, "-ldl", "-o"];
        succeed(Command::new(compiler).args(arguments).arg(&program)).context("no C client")?;
        Ok(Self { program, scratch })
    }

    /// Every case of the script, each in a process of its own.
    pub(super) fn run(&self, tokens: &Tokens<'_>, token: &Token) -> Result<Outcomes> {
        let mut outcomes = Outcomes::new();
        for (name, lines) in cases(SCRIPT)? {
            let (came, end) = self.run_case(tokens, token, &lines).with_context(|| name.to_owned())?;
            outcomes.insert(format!("{name}: the end"), end.to_owned());
            for (number, (line, outcome)) in lines.iter().zip(came).enumerate() {
                outcomes.insert(format!("{name} {}: {line}", number + 1), outcome);
            }
        }
        Ok(outcomes)
    }

    fn run_case(&self, tokens: &Tokens<'_>, token: &Token, lines: &[&str]) -> Result<(Vec<String>, &str)> {
        let mut script = lines.join("\n");
        for key in &tokens.keys {
            script = script.replace(&format!("@{}", key.name), &key.id);
            script = script.replace(&format!("~{}", key.name), &key.label);
        }
        let report = self.scratch.file("report");
        drop(fs::remove_file(&report)); // of the case before
        let mut client = token.command(&self.program.display().to_string());
        let ran = run_with_input(
            client.arg(&token.module).arg(token.label).arg(&report),
            script.as_bytes(),
        )?;
        let (code, printed) = (ran.status.code().unwrap_or_default(), ran.printed());
        ensure!(
            code == 0 && printed.is_empty(),
            "the client ended with {}: {printed}",
            ran.status
        );
        let text = fs::read_to_string(&report)?;
        let mut came = vec!["(nothing)".to_owned(); lines.len()];
        for line in text.lines() {
            let (number, outcome) = line.split_once(' ').context("no outcome")?;
            let at = number.parse::<usize>()?.checked_sub(1);
            let place = at.and_then(|at| came.get_mut(at)).context("no such line")?;
            outcome.trim_end().clone_into(place);
        }
        Ok((
            came,
            if ran.status.code().is_none() {
                "it crashed"
            } else {
                "well"
            },
        ))
    }
}

/// The cases, by their names.
fn cases(script: &str) -> Result<Vec<(&str, Vec<&str>)>> {
    let mut cases: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("case ") {
            Some(name) => cases.push((name, Vec::new())),
            None => cases.last_mut().context("a line before the first case")?.1.push(line),
        }
    }
    Ok(cases)
}

const SCRIPT: &str = include_str!("../../differential/calls.txt");
