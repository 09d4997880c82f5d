//! The whole path, from a C client through the real module to the real service, over a line that fails: what each fault costs, to
//! the call.
//!
//! What the module makes of each reply is tested beside it, against a service of its tests' own. Here a client signs on one handle all
//! the time: after whatever fault, the next signature is good; its descriptors are as many as before; and another client, on no such line, does
//! not notice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
use e2e::lab::client::{Client, Told};
use e2e::lab::fault::{Fault, Line};
use e2e::lab::program::{openssl, run};
use e2e::lab::signing::Connection;
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab};
use enclave_wire::signing::{Reply, Request, Sign};
use enclave_wire::{KeyId, Mechanism};

use crate::calls::verify;
use crate::openssl_tool::{Identity, Server};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_02_a_request_cut_at_any_byte_is_sent_again,
    threat_02_a_reply_cut_at_any_byte_costs_one_signature,
    threat_03_a_storm_of_signals_on_a_slow_line_fails_nothing,
    threat_06_single_bytes_both_ways_are_signatures,
    threat_07_stale_doubled_and_swapped_replies_are_no_signatures,
    threat_07_a_flipped_bit_is_an_error_or_stands_in_the_signature,
    threat_07_a_flipped_signature_ends_its_handshake,
    threat_57_a_reply_that_stops_anywhere_costs_one_deadline,
];

/// By a line that dies, and by one that only says that nothing more comes: no reply had begun, so asking again is harmless.
fn threat_02_a_request_cut_at_any_byte_is_sent_again(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    for cut in [Fault::CutRequest, Fault::EndRequest] {
        // The next is the one that is sent again.
        let plan: Vec<_> = (0..REQUEST).flat_map(|count| [cut(count), Fault::None]).collect();
        let results = signer.through(&plan, &"SIGN; ".repeat(REQUEST))?;
        ensure!(results == vec!["0"; REQUEST], "{results:?}");
    }
    // A request that came whole before the end is answered, and the connection replaced afterwards.
    let results = signer.through(&[Fault::EndRequest(REQUEST)], "SIGN; SIGN; ")?;
    ensure!(results == ["0", "0"], "{results:?}");
    Ok(())
}

fn threat_02_a_reply_cut_at_any_byte_costs_one_signature(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    for cut in [Fault::CutReply, Fault::EndReply] {
        // Before its first byte it is as if the request had not come.
        let plan: Vec<_> = (0..REPLY).flat_map(|count| [cut(count), Fault::None]).collect();
        let results = signer.through(&plan, &"SIGN; ".repeat(2 * REPLY - 1))?;
        let wanted = [vec!["0"], [FAILED, "0"].repeat(REPLY - 1)].concat();
        ensure!(results == wanted, "{results:?}");
    }
    Ok(())
}

/// Each call waits for milliseconds, and is interrupted in each.
fn threat_03_a_storm_of_signals_on_a_slow_line_fails_nothing(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let count = if lab.full { 1_000 } else { 100 };
    let line = Line::start(lab)?;
    line.plan(vec![Fault::Delay(Duration::from_millis(3)); count]);
    let told = signer.run(&line, &format!("{START}; storm 500; {}storm 0", "SIGN; ".repeat(count)))?;
    told.expect_clean()?;
    signer.verify_all(&told, count)?;
    let signals = told.values("storm").concat();
    let came: usize = signals.last().context("no storm")?.parse()?;
    ensure!(came > count, "{came} signals in {count} signatures: no storm");
    ensure!(line.connections() == 1, "{} connections", line.connections());
    line.wait_until_idle()
}

fn threat_06_single_bytes_both_ways_are_signatures(lab: &Lab) -> Result<()> {
    let results = Signer::of(lab)?.through(&[Fault::Trickle; 8], &"SIGN; ".repeat(8))?;
    ensure!(results == ["0"; 8], "{results:?}");
    Ok(())
}

fn threat_07_stale_doubled_and_swapped_replies_are_no_signatures(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    for (plan, wanted) in [
        (&[Fault::None, Fault::Stale][..], ["0", FAILED, "0"]),
        (&[Fault::Twice], [FAILED, "0", "0"]),
        // The second copy lies there when the next reply is looked for.
        (&[Fault::Again], ["0", FAILED, "0"]),
    ] {
        let results = signer.through(plan, "SIGN; SIGN; SIGN; ")?;
        ensure!(results == wanted, "{plan:?}: {results:?}");
    }
    // Two threads, which want different digests signed by one key.
    let line = Line::start(lab)?;
    line.plan([Fault::Swap, Fault::Swap]);
    let digests = ["11", "22", "33", "44"].map(|byte| format!("digest {}; ", byte.repeat(32)));
    let script = format!("initialize none; {}threads 2 {} 1041", digests.concat(), signer.key.id);
    let told = signer.run(&line, &script)?;
    told.expect_clean()?;
    let mut results = told.results("thread");
    results.sort_unstable();
    ensure!(
        results == ["0", "0", FAILED, FAILED],
        "of two swapped and two good replies came {results:?}"
    );
    line.wait_until_idle()
}

/// What names the request is compared, bit for bit. The signature itself is what the service says it is: whoever it is for verifies it.
fn threat_07_a_flipped_bit_is_an_error_or_stands_in_the_signature(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    // Five and eight share no factor: each bit of a byte has its turn.
    let bits: Vec<usize> = (0..8 * REPLY).step_by(if lab.full { 1 } else { 5 }).collect();
    // After a length that is too long the rest of the reply is waited for, until the deadline.
    let (longer, others): (Vec<usize>, Vec<usize>) = bits.into_iter().partition(|bit| is_longer(*bit));
    for bit in longer {
        signer.waits_once(Fault::Flip(bit))?;
    }
    let (named, made): (Vec<usize>, Vec<usize>) = others.into_iter().partition(|bit| *bit < 8 * SIGNATURE);
    for bits in named.chunks(200) {
        let plan: Vec<_> = bits.iter().flat_map(|bit| [Fault::Flip(*bit), Fault::None]).collect();
        let results = signer.through(&plan, &"SIGN; ".repeat(plan.len()))?;
        ensure!(results == [FAILED, "0"].repeat(bits.len()), "{bits:?}: {results:?}");
    }
    for bits in made.chunks(500) {
        let line = Line::start(lab)?;
        line.plan(bits.iter().map(|bit| Fault::Flip(*bit)));
        let told = signer.run(&line, &format!("{START}; {}finalize", "SIGN; ".repeat(bits.len())))?;
        told.expect_clean()?;
        let signatures = told.signatures("sign")?;
        ensure!(signatures.len() == bits.len(), "{told:?}");
        for (bit, mut signature) in bits.iter().zip(signatures) {
            ensure!(signer.verify(&signature).is_err(), "bit {bit} was not flipped");
            *signature.get_mut(bit / 8 - SIGNATURE).context("too short")? ^= 1 << (bit % 8);
            signer.verify(&signature).context("another bit was flipped too")?;
        }
    }
    Ok(())
}

/// The peer of a handshake is who verifies: it breaks off, and the next handshake is good.
fn threat_07_a_flipped_signature_ends_its_handshake(lab: &Lab) -> Result<()> {
    let key = lab.key_of("P-256", "digest", "born")?;
    for via in ["provider", "engine"] {
        let own = Identity::self_signed(lab, via, key)?;
        let line = Line::start(lab)?;
        let mut server = line.openssl(lab, via)?;
        server.args(["s_server", "-cert"]).arg(&own.certificate);
        let server = Server::start(own.key_of(lab, &mut server)?)?;
        for tls in ["-tls1_2", "-tls1_3"] {
            let client = || {
                let mut client = openssl();
                client.arg("s_client").arg(tls).arg("-CAfile").arg(&own.certificate);
                client
            };
            line.plan([Fault::Flip(8 * REPLY - 1)]);
            let ran = run(client().args(["-connect", &server.address, "-verify_return_error"]))?;
            ensure!(
                !ran.status.success() && ran.stderr.contains("bad signature"),
                "{via} {tls}: {}",
                ran.printed()
            );
            server.get(&mut client()).with_context(|| format!("{via} {tls}"))?;
        }
        ensure!(line.planned() == 0, "a fault did not come");
    }
    Ok(())
}

fn threat_57_a_reply_that_stops_anywhere_costs_one_deadline(lab: &Lab) -> Result<()> {
    let signer = Signer::of(lab)?;
    let counts = if lab.full {
        (0..REPLY).step_by(7).collect()
    } else {
        vec![0, 4, REPLY - 1]
    };
    counts
        .into_iter()
        .try_for_each(|count| signer.waits_once(Fault::Stall(count)))
}

/// A client that signs one message with one key: `SIGN` stands for both calls of it.
pub(super) struct Signer<'a> {
    client: Client,
    lab: &'a Lab,
    pub(super) key: &'a Key,
}

impl<'a> Signer<'a> {
    pub(super) fn of(lab: &'a Lab) -> Result<Self> {
        Ok(Self {
            client: Client::compile()?,
            lab,
            key: lab.key_of("P-256", "digest", "born")?,
        })
    }

    /// Makes these calls over a line of its own, on which the faults come one after the other, all of them; what each signature came to. The
    /// client's descriptors are as many as before, another client signs all the while, and every signature verifies.
    fn through(&self, plan: &[Fault], calls: &str) -> Result<Vec<String>> {
        let line = Line::start(self.lab)?;
        // The first signature makes the connection, and the last one leaves as many.
        line.plan([Fault::None]);
        line.plan(plan.iter().copied());
        let script = format!("{START}; SIGN; descriptors; {calls}SIGN; descriptors");
        let told = beside(self.lab, self.key, |_| self.run(&line, &script))?;
        told.expect_clean()?;
        ensure!(line.planned() == 0, "{} faults did not come", line.planned());
        let counts = told.values("descriptors").concat();
        ensure!(
            matches!(counts.as_slice(), [before, after] if before == after),
            "descriptors before and after: {counts:?}"
        );
        line.wait_until_idle()?;
        let results: Vec<_> = told.results("sign").into_iter().map(str::to_owned).collect();
        let good = results.iter().filter(|result| *result == "0").count();
        self.verify_all(&told, good)?;
        match results.as_slice() {
            [first, between @ .., last] if first == "0" && last == "0" => Ok(between.to_vec()),
            _ => bail!("the first or the last signature failed: {results:?}"),
        }
    }

    /// With this fault a signature waits for its deadline; those that follow do not, and send nothing; then a probe finds the service again.
    fn waits_once(&self, fault: Fault) -> Result<()> {
        let line = Line::start(self.lab)?;
        line.plan([Fault::None, fault]);
        let script = format!(
            "{START}; SIGN; SIGN; SIGN; SIGN; SIGN; recover 1041 {}; SIGN",
            "d1".repeat(32)
        );
        let told = beside(self.lab, self.key, |_| self.run(&line, &script))?;
        told.expect_clean()?;
        let results = told.results("sign");
        ensure!(
            results == ["0", FAILED, FAILED, FAILED, FAILED, "0"],
            "{fault:?}: {results:?}"
        );
        ensure!(told.results("recover") == ["0"], "{fault:?}: {told:?}");
        let tries: u64 = told.values("recover").concat().concat().parse()?;
        let most = 4 + tries;
        ensure!(
            line.requests() <= most,
            "{fault:?}: {} requests, at most {most} of them with a reason",
            line.requests()
        );
        line.wait_until_idle()
    }

    /// Makes these calls over this line.
    pub(super) fn run(&self, line: &Line, script: &str) -> Result<Told> {
        let sign = format!("sign_init 1041; sign {}", hex::encode(digest(&SHA256, MESSAGE)));
        let script = script
            .replace("SIGN", &sign)
            .replace("FIND", &format!("find {}", self.key.id));
        let mut command = self.lab.command(self.client.program());
        command.env(MODULE_CONFIG, line.config());
        self.client.run_as(&mut command, self.lab, &script)
    }

    /// So many signatures were made, and all verify.
    fn verify_all(&self, told: &Told, count: usize) -> Result<()> {
        let signatures = told.signatures("sign")?;
        ensure!(
            signatures.len() == count,
            "{} of {count} signatures: {told:?}",
            signatures.len()
        );
        signatures.iter().try_for_each(|signature| self.verify(signature))
    }

    fn verify(&self, signature: &[u8]) -> Result<()> {
        verify(self.key, &ECDSA_P256_SHA256_FIXED, MESSAGE, signature)
    }
}

/// Does `work` while another client signs on a connection of its own, and never in vain. `work` is told how many signatures that has.
pub(super) fn beside<T>(lab: &Lab, key: &Key, work: impl FnOnce(&AtomicU64) -> Result<T>) -> Result<T> {
    let mut other = Connection::authenticated(&lab.signing, &lab.credential()?)?;
    let key = KeyId(hex::decode(&key.id)?.try_into().map_err(|_| anyhow!("no id"))?);
    let (done, signed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let other = scope.spawn(|| -> Result<()> {
            // One at the least, however short the work is.
            while !done.load(Ordering::SeqCst) || signed.load(Ordering::SeqCst) == 0 {
                let sign = Sign {
                    key,
                    mechanism: Mechanism::Ecdsa,
                    input: &[7; 32],
                };
                let reply = other
                    .ask(&Request::Sign(sign))
                    .context("another client was disturbed")?;
                ensure!(
                    matches!(reply, Reply::Signature(_)),
                    "another client was told {reply:?}"
                );
                signed.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
            }
            Ok(())
        });
        let result = work(&signed);
        done.store(true, Ordering::SeqCst);
        other.join().map_err(|_| anyhow!("the other client panicked"))??;
        result
    })
}

/// Whether the reply's length is longer with this bit flipped, and one that the plane allows.
fn is_longer(bit: usize) -> bool {
    let Ok(length) = u32::try_from(REPLY - 4) else {
        return false;
    };
    let mut bytes = length.to_be_bytes();
    let Some(byte) = bytes.get_mut(bit / 8) else {
        return false;
    };
    *byte ^= 1 << (bit % 8);
    let flipped = u32::from_be_bytes(bytes);
    flipped > length && flipped <= LONGEST
}

const MODULE_CONFIG: &str = "ENCLAVE_TLS_PKCS11_CONFIG";
pub(super) const START: &str = "initialize null; open; FIND";
/// CKR_DEVICE_ERROR
pub(super) const FAILED: &str = "30";
const MESSAGE: &[u8] = b"what a host signs";
/// Length, version, operation, id; key, mechanism, length of the input, input.
pub(super) const REQUEST: usize = 14 + 32 + 1 + 2 + 32;
/// Length, version, operation, id; key, mechanism, length of the input, length of the signature; then the signature.
const SIGNATURE: usize = 14 + 32 + 1 + 2 + 2;
pub(super) const REPLY: usize = SIGNATURE + 64;
/// The plane's limit for a reply.
const LONGEST: u32 = 65_536;
