//! A whole program: it starts, finds a key, signs once and ends.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::service::{Known, Service};
use super::{FreshPlan, KeysPlan};
use crate::agentbench::Memory;
use crate::agentbench::ended::{self, Ended};
use crate::signbench::report::Spread;

/// One program in its three forms, in turns: without our module, with few keys, with very many.
#[derive(Clone, Debug, Serialize)]
pub struct Fresh {
    /// The plan's name for it.
    pub name: String,
    /// Without our module.
    pub base: Cost,
    /// With a service that has few keys.
    pub few: Cost,
    /// With one that has very many.
    pub many: Cost,
}

/// From its start to its end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Wall clock, in milliseconds.
    pub wall_ms: Spread,
    /// Processor time, in milliseconds.
    pub cpu_ms: Spread,
    /// The most memory that it was seen to have, in KiB.
    pub peak_kib: Spread,
}

pub(super) fn measure(plan: &KeysPlan, program: &FreshPlan, few: &Service, many: &Service) -> Result<Fresh> {
    let mut all = [Runs::default(), Runs::default(), Runs::default()];
    for number in 0..=plan.runs {
        let [base, of_few, of_many] = &mut all;
        for (runs, service) in [(base, None), (of_few, Some(few)), (of_many, Some(many))] {
            let (mut command, text) = match service {
                None => (command(&program.base)?, String::new()),
                Some(service) => with(plan, program, service, &service.some(number)?)?,
            };
            let input = plan.dir.join("input");
            std::fs::write(&input, text)?;
            let ended = ended::run_with(&mut command, Stdio::from(File::open(&input)?))?;
            // Without our module the C client has nothing to do, and says so by its status alone.
            let is_well = ended.status == 0 || service.is_none() && ended.said.is_empty();
            ensure!(is_well, "{}: {}", program.name, ended.said);
            let peak = peak(&mut command, &input)?;
            // What happens only the first time belongs to nobody.
            if number > 0 {
                runs.0.push((ended, peak));
            }
        }
    }
    let [base, few, many] = all;
    Ok(Fresh {
        name: program.name.clone(),
        base: base.cost()?,
        few: few.cost()?,
        many: many.cost()?,
    })
}

#[derive(Default)]
struct Runs(Vec<(Ended, u64)>);

impl Runs {
    fn cost(&self) -> Result<Cost> {
        let spread =
            |figure: &dyn Fn(&(Ended, u64)) -> f64| Spread::of(self.0.iter().map(figure).collect()).context("no run");
        Ok(Cost {
            wall_ms: spread(&|(ended, _)| ended.wall_ms)?,
            cpu_ms: spread(&|(ended, _)| ended.cpu_ms)?,
            peak_kib: spread(&|(_, peak)| u32::try_from(*peak).map_or(f64::MAX, f64::from))?,
        })
    }
}

/// The command for a key, and what it reads.
fn with(plan: &KeysPlan, program: &FreshPlan, service: &Service, key: &Known) -> Result<(Command, String)> {
    let words: Vec<String> = program.words.iter().map(|word| filled(plan, word, key)).collect();
    let mut command = command(&words)?;
    command.envs(&program.environment).envs(service.environment(plan));
    Ok((command, filled(plan, &program.input, key)))
}

fn command(words: &[String]) -> Result<Command> {
    let (program, arguments) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).env_remove("OPENSSL_CONF");
    Ok(command)
}

fn filled(plan: &KeysPlan, text: &str, key: &Known) -> String {
    let escaped: String = key.id.as_bytes().chunks(2).fold(String::new(), |escaped, byte| {
        escaped + "%" + &String::from_utf8_lossy(byte)
    });
    let uri = format!("pkcs11:token={};id={escaped};type=private", plan.token);
    text.replace("{id}", &key.id).replace("{uri}", &uri)
}

/// Looked at all the time while it runs, since nothing is known of it afterwards: runs of their own, which are not timed. A run that is
/// over in a millisecond may be looked at too early, or never.
fn peak(command: &mut Command, input: &Path) -> Result<u64> {
    let mut peak = 0;
    for _ in 0..LOOKS {
        let mut child = command
            .stdin(File::open(input)?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        while child.try_wait()?.is_none() {
            if let Ok(memory) = Memory::of(child.id()) {
                peak = memory.peak_kib.max(peak);
            }
        }
    }
    ensure!(peak > 0, "it was never seen to have memory");
    Ok(peak)
}

const LOOKS: usize = 5;
