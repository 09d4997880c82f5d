//! Has valgrind's memcheck follow secrets through code under test.
//!
//! A secret is declared to be memory that nobody wrote. Memcheck follows such bytes through copies and arithmetic, and reports every jump that
//! depends on them and every address that is computed of them: that is how the time of code tells a secret (Langley's ctgrind).
//!
//! ```ignore
//! #[test]
//! fn threat_43_a_proof_is_compared_in_constant_time() {
//!     let seen = lab_poison::watch(|| {
//!         let mut secret = [7; 32];
//!         lab_poison::poison(&mut secret);
//!         let equal = lab_poison::public(compare(&secret, &[7; 32]));
//!         assert!(equal);
//!     });
//!     seen.unwrap().at_most(1); // whether they are equal is public, and may be asked once
//! }
//! ```
//!
//! The test runs itself again, alone, under valgrind. The optimised code is what counts: `cargo xtask test --part timing` tries it, and every
//! run of the unit tests the other. What aws-lc does inside is its own affair and is left out (`library.supp`): it is watched from outside, by time.
//! What goes one way or the other by a secret without a jump is not seen, nor is an instruction that itself takes longer.
#![warn(missing_docs)]

mod request;

use std::any::type_name;
use std::env;
use std::process::{Command, Output};

use request::{COUNT_ERRORS, MAKE_MEM_DEFINED, MAKE_MEM_UNDEFINED, RUNNING_ON_VALGRIND, request};

/// What memcheck saw of a piece of work.
#[derive(Debug)]
pub struct Seen {
    /// How often the work decided something, or looked something up, by what was poisoned.
    pub reports: usize,
    /// Where, in memcheck's words.
    pub said: String,
}

/// Why nothing was seen.
#[derive(Debug)]
pub enum NotSeen {
    /// Valgrind cannot be started.
    NoValgrind(std::io::Error),
    /// The work failed under it, or the test was not found again: what both printed.
    Failed(String),
}

/// Runs the work under memcheck, and nothing else of the test that calls this: `work` must be written in that test's own function.
pub fn watch<W: FnOnce()>(work: W) -> Result<Seen, NotSeen> {
    if is_watched() {
        let before = count();
        work();
        println!("\n{MARK}{}", count().saturating_sub(before));
        std::process::exit(0);
    }
    let output = again(test_of::<W>()).map_err(NotSeen::NoValgrind)?;
    let [printed, said] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let reports = printed.lines().find_map(|line| line.strip_prefix(MARK)?.parse().ok());
    match reports {
        Some(reports) => Ok(Seen { reports, said }),
        None => Err(NotSeen::Failed(printed + &said)),
    }
}

/// Declares bytes to be secret, wherever they are copied to. None is changed; but the compiler has to think so, or it would go on with copies
/// that it made before.
pub fn poison(secret: &mut [u8]) {
    mark(MAKE_MEM_UNDEFINED, secret);
}

/// Declares bytes to be public that were computed of secrets: a proof, a signature.
pub fn reveal(public: &mut [u8]) {
    mark(MAKE_MEM_DEFINED, public);
}

/// The answer to a question that may be answered: yes, or no.
#[must_use]
pub fn public(answer: bool) -> bool {
    let mut byte = [u8::from(answer)];
    reveal(&mut byte);
    byte == [1]
}

impl Seen {
    /// Fails where there were more reports than public questions.
    ///
    /// # Panics
    /// Then.
    pub fn at_most(&self, questions: usize) {
        assert!(
            self.reports <= questions,
            "{} of at most {questions} decisions by a secret:\n{}",
            self.reports,
            self.said
        );
    }
}

fn is_watched() -> bool {
    request(RUNNING_ON_VALGRIND, [0; 5]) != 0
}

fn count() -> usize {
    request(COUNT_ERRORS, [0; 5])
}

fn mark(how: usize, bytes: &mut [u8]) {
    request(how, [bytes.as_mut_ptr().expose_provenance(), bytes.len(), 0, 0, 0]);
}

fn again(test: &str) -> std::io::Result<Output> {
    let suppressions = concat!("--suppressions=", env!("CARGO_MANIFEST_DIR"), "/library.supp");
    Command::new("valgrind")
        .args(["--tool=memcheck", "--quiet", "--num-callers=60", suppressions])
        .arg(env::current_exe()?)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .output()
}

/// The path of the test in whose function the work is written, as the test's own program calls it: the type of a closure begins with it.
fn test_of<W>() -> &'static str {
    let name = type_name::<W>();
    let path = name.split_once("::").map_or(name, |(_crate, path)| path);
    path.split_once("::{{closure}}").map_or(path, |(test, _)| test)
}

/// What the number of reports stands behind.
const MARK: &str = "lab-poison reports: ";

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    const SECRET: [u8; 32] = *b"thirty-two bytes that are secret";

    /// Copies that the compiler knows nothing of.
    fn secret() -> ([u8; 32], [u8; 32]) {
        let (mut secret, guess) = (black_box(SECRET), black_box(SECRET));
        poison(&mut secret);
        (secret, guess)
    }

    #[test]
    fn threat_43_control_a_comparison_that_ends_early_is_seen() {
        let seen = watch(|| {
            let (secret, guess) = secret();
            // Without the box the optimiser makes one comparison of all.
            let mut pairs = secret.iter().zip(&guess);
            let equal = pairs.all(|(one, other)| black_box(one ^ other) == 0);
            assert!(public(equal));
        })
        .unwrap();
        assert!(
            seen.reports >= 32 && seen.said.contains("depends on uninitialised"),
            "{seen:?}"
        );
    }

    #[test]
    fn threat_43_control_a_look_up_by_a_secret_is_seen() {
        let seen = watch(|| {
            let (secret, _) = secret();
            let table: [u8; 256] = black_box([7; 256]);
            let sum = secret
                .iter()
                .map(|byte| u32::from(table[usize::from(*byte)]))
                .sum::<u32>();
            black_box(sum);
        })
        .unwrap();
        assert!(seen.reports >= 32, "{seen:?}");
    }

    #[test]
    fn what_decides_by_nothing_secret_is_not_reported() {
        watch(|| {
            let (secret, guess) = secret();
            let pairs = secret.iter().zip(&guess);
            let mut difference = [pairs.fold(0, |sum, (one, other)| sum | one ^ other)];
            reveal(&mut difference);
            assert_eq!(difference, [0]);
        })
        .unwrap()
        .at_most(0);
    }

    #[test]
    fn work_that_fails_was_not_seen() {
        let failed = watch(|| assert!(!is_watched(), "it fails"));
        assert!(matches!(failed, Err(NotSeen::Failed(said)) if said.contains("it fails")));
    }
}
