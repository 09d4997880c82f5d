//! The crate that runs `nitro-cli`, against this one, with a process in place of an enclave.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use enclave_tls_nitro::{
    Adoption, Clock, Difference, Flags, NitroCli, NitroError, Refusal, RunOptions, State, Wake, Which, adopt,
    image_measurements, supervise,
};

#[test]
fn an_enclave_runs_is_described_and_ends() {
    let lab = Lab::new("life");
    assert!(lab.cli.describe().unwrap().enclaves.is_empty());
    let started = lab.cli.run(&lab.options()).unwrap();
    assert_eq!((started.cid, started.cpus, started.memory_mib), (20, 2, 128));

    let described = lab.cli.describe().unwrap();
    assert!(described.incomplete.is_none());
    let enclave = described.named("lab").unwrap();
    assert_eq!((&enclave.id, enclave.process), (&started.id, started.process));
    assert_eq!((&enclave.state, &enclave.flags), (&State::Running, &Flags::None));

    lab.cli.terminate(&Which::Name("lab".into())).unwrap();
    assert!(lab.cli.describe().unwrap().enclaves.is_empty());
    lab.cli.run(&lab.options()).unwrap(); // CID and name are free again
    assert!(lab.cli.version().unwrap().contains("1.4"));
}

#[test]
fn it_is_adopted_where_it_is_what_is_configured() {
    let lab = Lab::new("adopt");
    let image = image_measurements(&lab.options().image).unwrap();
    let judged = |options: &RunOptions| adopt(&lab.cli.describe().unwrap(), options, Some(&image));
    assert_eq!(judged(&lab.options()), Adoption::Absent);
    lab.cli.run(&lab.options()).unwrap();
    assert!(matches!(judged(&lab.options()), Adoption::Same(_)));

    lab.write_image("0b");
    let other = image_measurements(&lab.options().image).unwrap();
    let Adoption::Different(_, found) = adopt(&lab.cli.describe().unwrap(), &lab.options(), Some(&other)) else {
        panic!()
    };
    assert!(
        matches!(found.as_slice(), [Difference::Register { number: 0, .. }]),
        "{found:?}"
    );

    let stranger = RunOptions {
        name: "another".into(),
        ..lab.options()
    };
    assert!(matches!(
        judged(&stranger),
        Adoption::Refused(Refusal::CidInUse { cid: 20, .. })
    ));
}

#[test]
fn one_in_debug_mode_is_refused() {
    let lab = Lab::new("debug");
    let image = lab.options().image;
    let words = [
        "run-enclave",
        "--enclave-name",
        "lab",
        "--cpu-count",
        "2",
        "--memory",
        "128",
        "--debug-mode",
        "--eif-path",
    ];
    assert!(
        Command::new(lab.cli.program())
            .args(words)
            .arg(image)
            .output()
            .unwrap()
            .status
            .success()
    );
    let described = lab.cli.describe().unwrap();
    assert!(
        described
            .named("lab")
            .unwrap()
            .measurements
            .as_ref()
            .unwrap()
            .pcr0
            .is_zero()
    );
    assert!(matches!(
        adopt(&described, &lab.options(), None),
        Adoption::Refused(Refusal::Debug { .. })
    ));
}

#[test]
fn a_cid_and_a_name_are_had_once() {
    let lab = Lab::new("twice");
    lab.cli.run(&lab.options()).unwrap();
    let same_cid = RunOptions {
        name: "second".into(),
        ..lab.options()
    };
    assert_eq!(code(&lab.cli.run(&same_cid).unwrap_err()), "E33");
    let same_name = RunOptions {
        cid: 21,
        ..lab.options()
    };
    let error = lab.cli.run(&same_name).unwrap_err();
    assert!(
        matches!(&error, NitroError::NameTaken { given, .. } if given == "lab_1"),
        "{error}"
    );
    assert_eq!(lab.cli.describe().unwrap().enclaves.len(), 1); // the renamed one was ended
}

#[test]
fn the_end_of_its_process_is_its_end() {
    let lab = Lab::new("killed");
    for signal in ["-KILL", "-TERM"] {
        let enclave = lab.cli.run(&lab.options()).unwrap();
        let sleeper = lab.sleeper().unwrap();
        // The first time whoever holds it, the second time the enclave itself.
        let victim = if signal == "-KILL" { enclave.process } else { sleeper };
        assert!(
            Command::new("kill")
                .args([signal, &victim.to_string()])
                .status()
                .unwrap()
                .success()
        );
        until("nothing is described", || {
            lab.cli.describe().unwrap().enclaves.is_empty()
        });
        until("nothing is left behind", || lab.sleeper().is_none());
        until("its holder is gone", || {
            // It may wait for init to take note of it.
            let stat = fs::read_to_string(format!("/proc/{}/stat", enclave.process));
            stat.map_or(true, |stat| stat.contains(") Z "))
        });
    }
}

#[test]
fn failures_come_when_they_are_asked_for() {
    let lab = Lab::new("fail");
    fs::write(lab.dir.join("fail"), "E27 2\n").unwrap();
    for _ in 0..2 {
        let error = lab.cli.run(&lab.options()).unwrap_err();
        assert_eq!(code(&error), "E27");
        assert!(error.advice().contains("memory_mib"), "{}", error.advice());
    }
    lab.cli.run(&lab.options()).unwrap();
    fs::write(lab.dir.join("fail-describe"), "E07").unwrap();
    assert_eq!(code(&lab.cli.describe().unwrap_err()), "E07");
    assert_eq!(lab.cli.describe().unwrap().enclaves.len(), 1);
    fs::write(lab.dir.join("fail-terminate"), "E38").unwrap();
    assert_eq!(code(&lab.cli.terminate(&Which::Name("lab".into())).unwrap_err()), "E38");
}

#[test]
fn what_is_wrong_has_the_real_codes() {
    let lab = Lab::new("wrong");
    let missing = RunOptions {
        image: "/nonexistent.eif".into(),
        ..lab.options()
    };
    assert_eq!(code(&lab.cli.run(&missing).unwrap_err()), "E19");
    let small = RunOptions {
        memory_mib: 1,
        ..lab.options()
    };
    assert_eq!(code(&lab.cli.run(&small).unwrap_err()), "E26");
    let own = RunOptions {
        cid: 3,
        ..lab.options()
    };
    assert_eq!(code(&lab.cli.run(&own).unwrap_err()), "E03");
    assert_eq!(
        code(&lab.cli.terminate(&Which::Name("nobody".into())).unwrap_err()),
        "E58"
    );
    let output = Command::new(lab.cli.program())
        .args(["describe-enclaves", "--nonsense"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("error: Found argument '--nonsense'")
    );
}

#[test]
fn what_ends_at_once_did_not_boot() {
    let lab = Lab::new("boot");
    lab.write_plan(r#"[{"name": "first", "command": ["sleep", "{memory}"]}, {"name": "last", "command": ["false"]}]"#);
    assert_eq!(code(&lab.cli.run(&lab.options()).unwrap_err()), "E36");
    assert!(lab.cli.describe().unwrap().enclaves.is_empty());
}

#[test]
fn processes_start_in_their_order_with_their_words() {
    let lab = Lab::new("order");
    let ready = lab.dir.join("ready");
    fs::write(&ready, "of an earlier run").unwrap();
    lab.write_plan(&format!(
        r#"[{{"name": "device", "command": ["sh", "-c", "sleep 0.3; touch ready; exec sleep 300"], "ready": "{}"}},
            {{"name": "machine", "command": ["sh", "-c", "test -e ready && echo $WORD {{cid}} {{memory}} && exec sleep 300"],
              "env": {{"WORD": "hello"}}, "log": "{}"}}]"#,
        ready.display(),
        lab.dir.join("told").display()
    ));
    lab.cli.run(&lab.options()).unwrap();
    assert_eq!(fs::read_to_string(lab.dir.join("told")).unwrap(), "hello 20 128\n");
}

#[test]
fn a_supervised_enclave_is_started_again_and_ended_at_the_end() {
    let lab = Lab::new("supervised");
    fs::write(lab.dir.join("fail"), "E29").unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (cli, options) = (lab.cli.clone(), lab.options());
        let clock = Hurry(&stop);
        let supervisor = scope.spawn(move || {
            let mut said = Vec::new();
            let ended = supervise(cli, clock, &options, |event| said.push(event.to_string()));
            (ended.is_ok(), said)
        });
        let running = || Some(lab.cli.describe().unwrap().named("lab")?.id.clone());
        until("it runs", || running().is_some());
        let first = running();
        let sleeper = lab.sleeper().unwrap().to_string();
        assert!(Command::new("kill").arg(sleeper).status().unwrap().success());
        until("it runs again", || running().is_some_and(|id| Some(id) != first));
        stop.store(true, Ordering::Relaxed);
        let (ended, said) = supervisor.join().unwrap();
        assert!(ended, "{said:#?}");
        for (line, word) in said
            .iter()
            .zip(["[E29]", "started", "ended after", "started", "ending", "is ended"])
        {
            assert!(line.contains(word), "{said:#?}");
        }
    });
    assert_eq!(lab.sleeper(), None);
}

/// A clock whose seconds are fiftieths.
struct Hurry<'a>(&'a AtomicBool);

impl Clock for Hurry<'_> {
    fn now(&mut self) -> Duration {
        BEGUN.elapsed() * 50
    }

    fn wait(&mut self, pause: Duration) -> Wake {
        sleep(pause / 50);
        if self.0.load(Ordering::Relaxed) {
            Wake::Stop
        } else {
            Wake::Time
        }
    }

    fn random(&mut self) -> u32 {
        0
    }
}

static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A directory with a link to the program, an image and its measurements.
struct Lab {
    dir: PathBuf,
    cli: NitroCli,
}

impl Lab {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("nitro-lab-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        let program = dir.join("nitro-cli");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nitro-cli-stand-in"), &program).unwrap();
        fs::write(dir.join("lab.eif"), vec![0; 1 << 20]).unwrap();
        let lab = Self {
            dir,
            cli: NitroCli::new(program),
        };
        lab.write_image("0a");
        lab.write_plan(&format!(
            r#"[{{"name": "before", "command": ["sleep", "300"]}}, {{"name": "enclave", "command": ["sleep", "{}.{{cid}}"]}}]"#,
            300 + std::process::id()
        ));
        lab
    }

    fn options(&self) -> RunOptions {
        RunOptions {
            image: self.dir.join("lab.eif"),
            name: "lab".into(),
            cid: 20,
            cpus: 2,
            memory_mib: 128,
        }
    }

    fn write_image(&self, pcr0: &str) {
        let [zero, other] = [pcr0.repeat(48), "cc".repeat(48)];
        let json = format!(r#"{{"Measurements": {{"PCR0": "{zero}", "PCR1": "{other}", "PCR2": "{other}"}}}}"#);
        fs::write(self.dir.join("lab.json"), json).unwrap();
    }

    fn write_plan(&self, processes: &str) {
        fs::write(
            self.dir.join("lab-enclave.json"),
            format!(r#"{{"processes": {processes}}}"#),
        )
        .unwrap();
    }

    /// The process that is the enclave, told apart from other labs' by its working directory.
    fn sleeper(&self) -> Option<u32> {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let here = fs::read_link(entry.path().join("cwd")).ok()? == self.dir.canonicalize().ok()?;
            let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            (here && line.starts_with("sleep") && line.ends_with(".20\0")).then_some(pid)
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for file in ["fail", "fail-describe", "fail-terminate"] {
            drop(fs::remove_file(self.dir.join(file)));
        }
        for enclave in self.cli.describe().map(|all| all.enclaves).unwrap_or_default() {
            drop(self.cli.terminate(&Which::Id(enclave.id)));
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn code(error: &NitroError) -> String {
    error
        .code()
        .map(|code| code.to_string())
        .unwrap_or_else(|| panic!("{error}"))
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "not within 10 s: {what}");
        sleep(Duration::from_millis(20));
    }
}
