//! `logs`: the newest lines that the agent keeps, its own and the enclave's, and those to come.

use std::time::Duration;

use enclave_tls_admin::client::{Client, ClientError};
use enclave_tls_admin::report::{Ask, Line, Told};

use super::{CommandError, Outcome, Session};
use crate::args;
use crate::colour::{Painter, Tone};
use crate::show::{self, plain};
use crate::time;

pub(super) fn logs(session: &Session, options: &args::Logs) -> Result<Outcome, CommandError> {
    let painter = Painter::of_stdout();
    let (mut run, lines) = ask(&session.client, options.lines, 0)?;
    let mut last = lines.last().map_or(0, |line| line.number);
    if !print(session, &lines, painter)? || !options.follow {
        return Ok(Outcome::Done);
    }
    let mut is_away = false;
    loop {
        std::thread::sleep(EVERY);
        let (its, mut lines) = match ask(&session.client, MOST, last) {
            Ok(told) => told,
            // The agent restarts: what it says then is what one waits for.
            Err(CommandError::Client(error @ (ClientError::Connect { .. } | ClientError::Socket(_)))) => {
                if !std::mem::replace(&mut is_away, true) {
                    show::say_beside(&format!("({error}; waiting until it answers)"));
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        if its != run {
            show::say_beside("(the agent was started anew; these are its lines from then on)");
            (run, lines) = ask(&session.client, MOST, 0)?;
            last = 0;
        } else if is_away {
            show::say_beside("(the agent answers again)");
        }
        is_away = false;
        if let Some(missed) = missed(last, &lines) {
            show::say_beside(&format!("({missed} lines came too fast to be kept)"));
        }
        if !print(session, &lines, painter)? {
            return Ok(Outcome::Done);
        }
        last = lines.last().map_or(last, |line| line.number);
    }
}

/// The newest lines of the log, for the bundle that goes to whoever helps.
pub(crate) fn newest(client: &Client) -> Result<Vec<Line>, CommandError> {
    ask(client, MOST, 0).map(|(_, lines)| lines)
}

/// Which run of the agent answers, and the lines in the order of their numbers.
fn ask(client: &Client, most: u32, after: u64) -> Result<(u64, Vec<Line>), CommandError> {
    match client.agent(Ask::Logs { most, after })? {
        Told::Logs { run, mut lines } => {
            lines.sort_by_key(|line| line.number);
            Ok((run, lines))
        }
        Told::Failed(why) => Err(CommandError::Agent(why)),
        Told::Report(_) | Told::Changes(_) | Told::History(_) | Told::Done => Err(ClientError::Unexpected.into()),
    }
}

/// How many lines are between the last one that was seen and the first of these.
fn missed(last: u64, lines: &[Line]) -> Option<u64> {
    let first = lines.first()?.number;
    first
        .checked_sub(last)?
        .checked_sub(1)
        .filter(|missed| last > 0 && *missed > 0)
}

/// Whether anybody still reads.
fn print(session: &Session, lines: &[Line], painter: Painter) -> Result<bool, CommandError> {
    for line in lines {
        let is_read = match session.json {
            true => show::json_line(line),
            false => show::text_on(&text(line, painter)),
        };
        if !is_read.map_err(CommandError::Terminal)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A line for people.
pub(crate) fn text(line: &Line, painter: Painter) -> String {
    let level = match line.level.as_str() {
        "error" => painter.paint(Tone::Bad, "error  "),
        "warning" => painter.paint(Tone::Doubtful, "warning"),
        other => format!("{other:<7}"),
    };
    let event = match line.event.as_str() {
        "" => String::new(),
        event => format!(" [{event}]"),
    };
    format!(
        "{} {level} {:<7}{} {}\n",
        time::utc(line.time),
        line.source,
        plain(&event),
        plain(&line.text).replace('\n', "\n    ")
    )
}

/// Soon enough for somebody who reads along.
const EVERY: Duration = Duration::from_millis(500);
/// All that the agent keeps.
const MOST: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> Line {
        Line {
            number,
            time: 0,
            source: "agent".to_owned(),
            level: "warning".to_owned(),
            event: "certificate-failed".to_owned(),
            text: "www: a\nb\u{1b}".to_owned(),
        }
    }

    #[test]
    fn a_line_says_when_how_bad_whose_and_what() {
        assert_eq!(
            text(&line(1), Painter::never()),
            "1970-01-01T00:00:00Z warning agent   [certificate-failed] www: a\n    b\\u{1b}\n"
        );
    }

    #[test]
    fn lines_that_were_not_kept_are_counted() {
        assert_eq!(missed(3, &[line(4)]), None);
        assert_eq!(missed(3, &[line(7), line(8)]), Some(3));
        assert_eq!(missed(0, &[line(7)]), None, "the first look");
        assert_eq!(missed(3, &[]), None);
    }
}
