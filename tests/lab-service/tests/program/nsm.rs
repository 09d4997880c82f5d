//! Whose measurements and whose time the program takes.

use std::time::{SystemTime, UNIX_EPOCH};

use emulator_nsm::{MARKER, Pki};

use super::running::{Lab, Running, stderr};

/// The control of the release program's test: where the stand-in is linked in, its mark is found in the file.
#[test]
fn threat_19_the_stand_in_is_found_where_it_is() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_lab-service")).unwrap();
    assert!(program.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()));
}

/// The machine's clock, which is the parent's, and the NSM's are ten years apart: the service lives in the NSM's time.
#[test]
fn threat_17_the_program_lives_in_the_nsms_time() {
    const TEN_YEARS: i64 = 10 * 365 * 24 * 3_600;
    let lab = Lab::new("ten-years", &format!("ahead_s = {TEN_YEARS}\n"));
    let mut running = Running::start_in(lab, |name| format!("unix:@{name}"));
    let machine = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let ahead = running.agent.status().now - i64::try_from(machine).unwrap();
    assert!((TEN_YEARS - 5..TEN_YEARS + 60).contains(&ahead), "{ahead}");
    running.stop();
}

/// A stand-in under another root than the policy's tells nothing, not even the time.
#[test]
fn threat_19_another_root_is_no_nsm() {
    let lab = Lab::new("another-root", "pki = \"other\"\n");
    Pki::open(&lab.dir().join("other")).unwrap();
    let output = lab
        .program()
        .args(["--signing", "unix:@unused", "--control", "unix:@unused"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let says = "cannot tell the time: the NSM's document was refused: the certificate chain was refused: the root is not the pinned one";
    assert!(stderr(&output).contains(says), "{}", stderr(&output));
}

#[test]
fn it_does_not_start_without_its_nsm() {
    let lab = Lab::new("without", "pcr16 = \"\"\n");
    let output = lab
        .program()
        .args(["--signing", "unix:@unused", "--control", "unix:@unused"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("unknown field `pcr16`"), "{}", stderr(&output));
    let output = lab.program().arg("--help").output().unwrap();
    let usage = String::from_utf8(output.stdout).unwrap();
    assert!(
        usage.starts_with("Usage: lab-service --nsm DIR --policy FILE"),
        "{usage}"
    );
}
