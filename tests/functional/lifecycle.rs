//! How hosts treat a module: forks, threads, callbacks, unloading, exits at any time. The client prints nothing, so what
//! appears on its standard output or error is the module's, and there must be nothing.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use e2e::lab::client::{Client, Told};
use e2e::lab::process;
use e2e::lab::scratch::Scratch;
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab};

use crate::calls::verify;

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_51_a_child_must_initialize_and_the_parent_goes_on,
    threat_51_children_sign_with_connections_of_their_own,
    sixty_four_threads_sign,
    initialized_once,
    mutex_callbacks,
    reserved_names_a_configuration,
    reserved_that_is_nothing_known,
    exits_without_finalize,
    finalize_from_atexit,
    unloaded_and_loaded_again,
    unloaded_without_finalize,
    threat_09_clients_killed_at_any_moment_leave_nothing,
];

fn threat_51_a_child_must_initialize_and_the_parent_goes_on(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let before = accepted(lab)?;
    let told = signer.run("START; SIGN; fork 4; info; open; sign_init 1041; finalize; SIGN")?;
    // Had the child shut the socket down, the parent would have had to connect again.
    ensure!(accepted(lab)? == before + 1, "the parent's connection did not last");
    // CKR_CRYPTOKI_NOT_INITIALIZED to everything; the child's C_Finalize leaves the parent's connection alone.
    let child = "child:info 190; child:open 190; child:sign_init 190; child:finalize 0; fork 0";
    told.expect(&format!("{STARTED}; {SIGNED}; {child}; {SIGNED}"))?;
    signer.verify_all(&told, &["sign"], 2)
}

fn threat_51_children_sign_with_connections_of_their_own(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let before = accepted(lab)?;
    let told = signer.run("START; SIGN; fork 6; START; SIGN; finalize; SIGN; fork 6; START; SIGN; finalize; SIGN")?;
    let child = format!("{STARTED}; {SIGNED}; finalize 0")
        .split("; ")
        .map(|call| format!("child:{call}; "))
        .collect::<String>();
    told.expect(&format!(
        "{STARTED}; {SIGNED}; {child}fork 0; {SIGNED}; {child}fork 0; {SIGNED}"
    ))?;
    ensure!(accepted(lab)? == before + 3, "not one connection a process");
    signer.verify_all(&told, &["sign", "child:sign"], 5)
}

/// Connections that the service has taken.
fn accepted(lab: &Lab) -> Result<u64> {
    lab.ctl(&["stats"])?["accepted"]
        .as_u64()
        .context("nothing is said of connections")
}

/// Each digest is signed once; a signature that went to another thread would not verify.
fn sixty_four_threads_sign(lab: &Lab) -> Result<()> {
    let key = lab.key_of("P-256", "digest", "born")?;
    let count = if lab.full { 4_000 } else { 640 };
    let messages: Vec<String> = (0..count).map(|number| format!("message {number}")).collect();
    let digests = messages
        .iter()
        .map(|message| format!("digest {}; ", hex::encode(digest(&SHA256, message.as_bytes()))));
    let digests: String = digests.collect();
    let script = format!("initialize none; {digests}threads 64 {} 1041; finalize", key.id);
    let told = Client::compile()?.run(lab, &script)?;
    told.expect_clean()?;
    let results: BTreeSet<_> = told.results("thread").into_iter().collect();
    ensure!(results == BTreeSet::from(["0"]), "the threads got {results:?}");
    let signed = told.values("thread");
    ensure!(signed.len() == count, "{} of {count} signatures", signed.len());
    for words in signed {
        let [number, signature] = words[..] else {
            bail!("{words:?}")
        };
        let message = messages.get(number.parse::<usize>()?).context("no such message")?;
        verify(
            key,
            &ECDSA_P256_SHA256_FIXED,
            message.as_bytes(),
            &hex::decode(signature)?,
        )?;
    }
    Ok(())
}

fn initialized_once(lab: &Lab) -> Result<()> {
    // CKR_CRYPTOKI_NOT_INITIALIZED, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_ARGUMENTS_BAD.
    for (script, wanted) in [
        ("info; finalize", "info 190; finalize 190"),
        (
            "initialize null; initialize null; initialize none",
            "initialize 0; initialize 191; initialize 191",
        ),
        (
            "initialize null; finalize junk; finalize; finalize",
            "initialize 0; finalize 7; finalize 0; finalize 190",
        ),
        (
            "initialize null; finalize; initialize null; open",
            "initialize 0; finalize 0; initialize 0; open 0",
        ),
    ] {
        Client::compile()?.run(lab, script)?.expect(wanted)?;
    }
    Ok(())
}

fn mutex_callbacks(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    // All four, and the system's locks allowed too.
    let told = signer.run("initialize mutexes 4 2; open; FIND; SIGN; finalize; mutexes")?;
    told.expect(&format!("{STARTED}; {SIGNED}; finalize 0; mutexes 0"))?;
    let counts = told.values("mutexes");
    ensure!(
        counts.iter().all(|words| words.first() == words.get(1)),
        "mutexes were left: {counts:?}"
    );
    // Some without the others: CKR_ARGUMENTS_BAD.
    for count in 1..4 {
        signer
            .run(&format!("initialize mutexes {count} 2; info"))?
            .expect("initialize 7; info 190")?;
    }
    // Only the caller's own: they are used, or it is said that they cannot be.
    let told = signer.run("initialize mutexes 4 0")?;
    told.expect_clean()?;
    let result = told.results("initialize");
    ensure!(
        result == ["0"] || result == ["a"],
        "neither CKR_OK nor CKR_CANT_LOCK: {result:?}"
    );
    Ok(())
}

fn reserved_names_a_configuration(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let config = lab.module_config()?;
    let script = signer.fill(&format!(
        "initialize reserved config={}; open; FIND; SIGN",
        config.display()
    ));
    let mut command = lab.command(signer.client.program());
    for name in lab.env.keys() {
        command.env_remove(name);
    }
    let told = signer.client.run_as(&mut command, lab, &script)?;
    told.expect(&format!("{STARTED}; {SIGNED}"))?;
    signer.verify_all(&told, &["sign"], 1)
}

/// kryoptic crashes on it.
fn reserved_that_is_nothing_known(lab: &Lab) -> Result<()> {
    let scratch = Scratch::new()?;
    let malformed = scratch.write("malformed.toml", "endpoints = [\n")?;
    let unknown = scratch.write(
        "unknown.toml",
        "endpoints = [\"unix:@x\"]\ncredential = \"c\"\ncolour = 1\n",
    )?;
    for text in [
        "junk".to_owned(),
        format!("config={}", malformed.display()),
        format!("config={}", unknown.display()),
    ] {
        let told = Client::compile()?.run(lab, &format!("initialize reserved {text}; info"))?;
        told.expect("initialize 7; info 190").with_context(|| text)?; // CKR_ARGUMENTS_BAD
    }
    Ok(())
}

fn exits_without_finalize(lab: &Lab) -> Result<()> {
    // Also in the middle of an operation, and in a child.
    let told = Signer::of(lab)?.run("START; SIGN; sign_init 1041; fork 5; START; SIGN")?;
    let child = format!("{STARTED}; {SIGNED}")
        .split("; ")
        .map(|call| format!("child:{call}; "))
        .collect::<String>();
    told.expect(&format!("{STARTED}; {SIGNED}; sign_init 0; {child}fork 0"))
}

fn finalize_from_atexit(lab: &Lab) -> Result<()> {
    let told =
        Signer::of(lab)?.run("initialize null; atexit; open; FIND; SIGN; fork 3; initialize null; open; close")?;
    told.expect(&format!(
        "{STARTED}; {SIGNED}; child:initialize 0; child:open 0; child:close 0; fork 0"
    ))
}

fn unloaded_and_loaded_again(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let round = "START; SIGN; finalize; dlclose";
    let told = signer.run(&format!("{round}; reload {}; {round}", lab.module.display()))?;
    let rounds = format!("{STARTED}; {SIGNED}; finalize 0; dlclose 0");
    told.expect(&format!("{rounds}; reload 0; {rounds}"))?;
    signer.verify_all(&told, &["sign"], 2)
}

fn unloaded_without_finalize(lab: &Lab) -> Result<()> {
    Signer::of(lab)?
        .run("START; SIGN; dlclose")?
        .expect(&format!("{STARTED}; {SIGNED}; dlclose 0"))
}

/// Each a process with the module: killed while it connects, proves itself, looks for its key or signs.
fn threat_09_clients_killed_at_any_moment_leave_nothing(lab: &Lab) -> Result<()> {
    lab.needs_a_process("it looks at the service's descriptors and memory")?;
    let (signer, service) = (Signer::of(lab)?, lab.service()?);
    let round = || -> Result<usize> {
        let told = signer.run(&format!("kills {ROUND} {} 1041", signer.key.id))?;
        told.expect("kills 0").context("one ended by itself")?;
        Ok(told.values("kills").concat().concat().parse()?)
    };
    // What the first of them bring into being may stay.
    round()?;
    let before = Held::by(service)?;
    for _ in 0..if lab.full { 10 } else { 2 } {
        let had_signed = round()?;
        ensure!(
            had_signed > 0 && had_signed < ROUND,
            "{had_signed} of {ROUND} had signed: all were killed at the same point"
        );
    }
    let mut after = Held::by(service)?;
    process::wait_until(LIMIT, "the connections of the killed to go", || {
        let now = Held::by(service);
        now.is_ok_and(|now| {
            after = now;
            after.descriptors <= before.descriptors
        })
    })
    .with_context(|| format!("{before:?} before"))?;
    ensure!(
        after.kib <= before.kib + GROWTH_KIB,
        "its memory grew: {before:?}, then {after:?}"
    );
    signer.run("START; SIGN")?.expect(&format!("{STARTED}; {SIGNED}"))
}

/// What a process holds.
#[derive(Debug)]
struct Held {
    descriptors: usize,
    kib: u64,
}

impl Held {
    fn by(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.context("no memory")?.trim_end_matches("kB").trim().parse()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Self { descriptors, kib })
    }
}

/// A client that signs one message with one key: `START`, `FIND` and `SIGN` stand for the calls of it.
struct Signer<'a> {
    client: Client,
    lab: &'a Lab,
    key: &'a Key,
}

impl<'a> Signer<'a> {
    fn of(lab: &'a Lab) -> Result<Self> {
        Ok(Self {
            client: Client::compile()?,
            lab,
            key: lab.key_of("P-256", "digest", "born")?,
        })
    }

    fn run(&self, script: &str) -> Result<Told> {
        self.client.run(self.lab, &self.fill(script))
    }

    fn fill(&self, script: &str) -> String {
        let sign = format!("sign_init 1041; sign {}", hex::encode(digest(&SHA256, MESSAGE)));
        let start = "initialize null; open; FIND";
        script
            .replace("START", start)
            .replace("FIND", &format!("find {}", self.key.id))
            .replace("SIGN", &sign)
    }

    /// These calls made so many signatures: all verify, and no nonce was used twice (r, the first half, is its image).
    fn verify_all(&self, told: &Told, calls: &[&str], count: usize) -> Result<()> {
        let mut nonces = BTreeSet::new();
        for call in calls {
            for signature in told.signatures(call)? {
                verify(self.key, &ECDSA_P256_SHA256_FIXED, MESSAGE, &signature)?;
                nonces.insert(signature.get(..32).context("too short")?.to_vec());
            }
        }
        ensure!(
            nonces.len() == count,
            "{} different signatures, not {count}",
            nonces.len()
        );
        Ok(())
    }
}

/// The results of `START` and of `SIGN`.
const STARTED: &str = "initialize 0; open 0; find 0";
const SIGNED: &str = "sign_init 0; sign 0";
const MESSAGE: &[u8] = b"what a host signs";
/// Killed clients in a run of the client program.
const ROUND: usize = 1_000;
/// Of all of the killed together: less than a kibibyte of each.
const GROWTH_KIB: u64 = 2_048;
const LIMIT: Duration = Duration::from_secs(20);
