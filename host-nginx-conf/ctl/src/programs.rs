//! Programs that say their version: run for a bounded time, without a shell, their output bounded.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a program prints on standard output and standard error, or why it does not.
pub(crate) fn output(program: &Path, arguments: &[&str]) -> String {
    match run(program, arguments) {
        Ok(text) => text,
        Err(error) => format!("{}: {error}\n", program.display()),
    }
}

fn run(program: &Path, arguments: &[&str]) -> std::io::Result<String> {
    let (output, theirs) = std::io::pipe()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C")
        .stdin(Stdio::null())
        .stderr(theirs.try_clone()?)
        .stdout(theirs);
    let mut child = command.spawn()?;
    // Its ends of the pipe: else reading would not end with the program.
    drop(command);
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.take(MAX_OUTPUT).read_to_end(&mut text);
        read.map(|_| text)
    });
    let begun = Instant::now();
    while child.try_wait()?.is_none() {
        if begun.elapsed() > WITHIN {
            child.kill()?;
            child.wait()?;
            return Err(std::io::Error::other(format!(
                "it did not end within {} s",
                WITHIN.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let text = reader
        .join()
        .map_err(|_| std::io::Error::other("its output could not be read"))??;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Versions are said at once.
const WITHIN: Duration = Duration::from_secs(5);
/// `nginx -V` has a few KiB.
const MAX_OUTPUT: u64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_outputs_are_taken_and_a_missing_program_is_said() {
        assert_eq!(output(Path::new("/bin/echo"), &["a"]), "a\n");
        assert!(output(Path::new("/nonexistent"), &[]).starts_with("/nonexistent: No such file"));
    }
}
