//! The enclave's log: what is printed, what is said of what is missing, and what a hostile enclave cannot do.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use enclave_wire::Encode;
use enclave_wire::frame::encode_with;
use enclave_wire::log::{Level, RECORD, Record, Text};
use serde_json::{Value, json};

use crate::config::Config;
use crate::fake::Fake;
use crate::stack::Stack;

/// An agent that takes the log, and a service to ask about.
fn listening(name: &str) -> (Stack, Fake) {
    let mut stack = Stack::new(name);
    stack.start_agent();
    let fake = Fake::start(&stack.control());
    fake.wait_until_serving();
    (stack, fake)
}

fn dial(stack: &Stack) -> UnixStream {
    let stream = UnixStream::connect(stack.dir.join("logs.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn frame(sequence: u64, dropped: u32, level: Level, message: &str) -> Vec<u8> {
    let record = Record {
        sequence,
        dropped,
        uptime_us: 12_345_678,
        level,
        target: Text::lossy("init"),
        message: Text::lossy(message),
    };
    encode_with(RECORD, 0, |body| record.encode(body)).into_bytes()
}

fn info(sequence: u64) -> Vec<u8> {
    frame(sequence, 0, Level::Info, &format!("number {sequence}"))
}

/// What is printed of the enclave's.
fn lines(stack: &Stack) -> Vec<String> {
    let log = stack.log();
    let lines = log.lines().filter_map(|line| line.strip_prefix("enclave: "));
    lines.map(str::to_owned).collect()
}

fn counted(stack: &Stack) -> Value {
    let counted = stack.json(&["status"])["logs"].clone();
    assert_eq!(stack.json(&["stats"])["logs"], counted);
    counted
}

/// The other end has closed. With bytes unread, a socket says so by a reset.
fn is_closed(stream: &mut UnixStream) -> bool {
    stream.read(&mut [0]).map_or_else(
        |error| error.kind() == std::io::ErrorKind::ConnectionReset,
        |count| count == 0,
    )
}

#[test]
fn records_are_printed_and_what_is_missing_is_said_and_counted() {
    let (stack, fake) = listening("logs");
    let mut enclave = dial(&stack);
    for sent in [
        frame(0, 0, Level::Info, "the service is started"),
        frame(18, 17, Level::Warn, "the clock source is tsc"),
        frame(20, 0, Level::Error, "the service ended with code 1"),
    ] {
        enclave.write_all(&sent).unwrap();
    }
    drop(enclave);
    stack.wait_for_log("ended with code 1");
    let mut next_boot = dial(&stack);
    next_boot.write_all(&info(0)).unwrap();
    stack.wait_for_log("number 0");
    assert_eq!(
        lines(&stack),
        [
            "a boot begins",
            "12.345678 INFO init: the service is started",
            "17 records were dropped",
            "12.345678 WARN init: the clock source is tsc",
            "1 records were dropped",
            "12.345678 ERROR init: the service ended with code 1",
            "a boot begins",
            "12.345678 INFO init: number 0",
        ]
    );
    assert_eq!(
        counted(&stack),
        json!({"records": 4, "dropped": 18, "malformed": 0, "last_error": "init: the service ended with code 1"})
    );
    let last = "The enclave's last error: init: the service ended with code 1\n";
    let status = stack.ok(&["status"]);
    let row = "logs             4 records, 18 dropped, 0 malformed connections\n";
    assert!(status.contains(row) && status.contains(last), "{status}");
    let stats = stack.ok(&["stats"]);
    assert!(
        stats.contains("dropped                18\n") && stats.contains(last),
        "{stats}"
    );

    drop(fake);
    stack.wait_for_log("the service is away");
    let away = stack.ok(&["status"]);
    assert!(away.contains("init: the service ended with code 1"), "{away}");
}

#[test]
fn threat_05_what_is_no_record_ends_its_connection_and_is_counted() {
    let (stack, _fake) = listening("logs-malformed");
    let mut trailing = info(0);
    trailing[3] += 1;
    trailing.push(0);
    let mut escape = info(0);
    *escape.last_mut().unwrap() = 0x1b;
    let mut level = info(0);
    level[34] = 6;
    let malformed = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        // More than a record may have: refused before it comes.
        vec![0, 0, 0x20, 1, 1, RECORD, 0, 0, 0, 0, 0, 0, 0, 0],
        encode_with(RECORD | 0x80, 0, |_| ()).into_bytes(),
        encode_with(2, 0, |_| ()).into_bytes(),
        trailing,
        escape,
        level,
    ];
    for bytes in &malformed {
        let mut enclave = dial(&stack);
        enclave.write_all(bytes).unwrap();
        assert!(is_closed(&mut enclave), "{bytes:?}");
    }
    // An end within a record is no fault: PID 1 sends it again.
    let mut half = dial(&stack);
    half.write_all(&info(0)[..20]).unwrap();
    drop(half);
    dial(&stack).write_all(&info(0)).unwrap();
    stack.wait_for_log("number 0");
    assert_eq!(lines(&stack), ["a boot begins", "12.345678 INFO init: number 0"]);
    let counted = counted(&stack);
    assert_eq!((&counted["records"], &counted["dropped"]), (&1.into(), &0.into()));
    assert_eq!(counted["malformed"], malformed.len());
    let log = stack.log();
    assert_eq!(log.matches("logs: a connection was closed").count(), 1, "{log}");
}

#[test]
fn threat_01_a_record_that_stalls_is_cut_and_silence_is_not() {
    let (stack, _fake) = listening("logs-stall");
    let mut stalled = dial(&stack);
    stalled.write_all(&info(0)[..20]).unwrap();
    let begun = Instant::now();
    assert!(is_closed(&mut stalled));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(counted(&stack)["malformed"], 1);

    let mut silent = dial(&stack);
    std::thread::sleep(Duration::from_secs(6));
    silent.write_all(&info(0)).unwrap();
    stack.wait_for_log("number 0");
}

#[test]
fn a_newer_connection_takes_the_place_of_the_older() {
    let (stack, _fake) = listening("logs-newer");
    let mut older = dial(&stack);
    older.write_all(&info(0)).unwrap();
    stack.wait_for_log("number 0");
    let mut newer = dial(&stack);
    newer.write_all(&info(1)).unwrap();
    stack.wait_for_log("number 1");
    assert!(is_closed(&mut older));
    newer.write_all(&info(2)).unwrap();
    stack.wait_for_log("number 2");
    assert_eq!(
        counted(&stack),
        json!({"records": 3, "dropped": 0, "malformed": 0, "last_error": null})
    );
    assert_eq!(stack.log().matches("a boot begins").count(), 1, "it is the same");
}

#[test]
fn threat_12_a_flood_is_metered_said_and_counted_and_the_commands_go_on() {
    let (stack, _fake) = listening("logs-flood");
    let begun = Instant::now();
    let mut enclave = dial(&stack);
    let flood: Vec<u8> = (0..4_000).flat_map(info).collect();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| enclave.write_all(&flood).unwrap());
        while !sending.is_finished() {
            stack.ok(&["list"]);
        }
    });
    // Mostly the last are not printed, nothing follows them, and that is said all the same. On a slow machine the very last one may pass.
    let most = || 2_000 + usize::try_from(begun.elapsed().as_millis()).unwrap() / 10;
    // How many are said to be missing: in the midst of it less than are counted.
    let said = || -> u64 {
        let lines = lines(&stack);
        let counts = lines
            .iter()
            .filter_map(|line| line.strip_suffix(" records were dropped"));
        counts.map(|count| count.parse::<u64>().unwrap()).sum()
    };
    let is_over = || {
        let logs = &stack.json(&["status"])["logs"];
        let [records, dropped] = ["records", "dropped"].map(|count| logs[count].as_u64().unwrap());
        records + dropped == 4_000 && said() == dropped
    };
    let deadline = begun + Duration::from_secs(30);
    while !is_over() {
        assert!(Instant::now() < deadline, "{:?}", lines(&stack).last());
        std::thread::sleep(Duration::from_millis(50));
    }
    let printed = lines(&stack);
    assert!((2_000..=most()).contains(&printed.len()), "{} lines", printed.len());
    let counted = counted(&stack);
    let [records, dropped] = ["records", "dropped"].map(|count| counted[count].as_u64().unwrap());
    assert_eq!(records + dropped, 4_000);
    assert_eq!(said(), dropped);

    enclave.write_all(&frame(4_000, 0, Level::Error, "the end")).unwrap();
    stack.wait_for_log("ERROR init: the end");
}

#[test]
fn what_lets_others_write_the_log_is_refused() {
    let stack = Stack::new("logs-usage");
    let open = stack.dir.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    for (logs, expected) in [
        (
            format!("unix:{}/logs.sock", open.display()),
            "who can reach the logs socket",
        ),
        ("unix:@logs".to_owned(), "set `logs` under [enclave] to unix:/PATH"),
    ] {
        let error = stack.refused(&Config { logs, ..stack.config() });
        assert!(error.contains(expected), "{error}");
    }
}
