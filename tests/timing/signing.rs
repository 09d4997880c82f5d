//! threat_43: how long a signature takes tells nothing of the key, nor does it go by what is signed.

use anyhow::{Context, Result, ensure};
use e2e::lab::Lab;
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::signing::Connection;
use e2e::lab::suite::Test;
use e2e::timing::welch::{DEFINITE, Evidence, evidence};
use e2e::timing::{Class, Lot, Time, measure, on_one_core};
use enclave_wire::{Hash, KeyId, Mechanism};

use crate::keys::{Keys, Kind};
use crate::leaky::Leaky;
use crate::nothing_is_found;

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_43_control_a_key_that_shows_in_time_is_found,
    threat_43_control_an_input_that_shows_in_time_is_found,
    threat_43_no_key_shows_in_the_time_of_its_signatures,
    threat_43_no_input_shows_in_the_time_of_its_signature,
];

/// A mechanism, the keys that it is tried with, and the size of the sample.
struct Cell {
    name: &'static str,
    mechanism: Mechanism,
    kind: Kind,
    /// The type, as `enclave-tlsctl` writes it.
    key_type: &'static str,
    count: usize,
}

const CELLS: [Cell; 5] = [
    cell("P-256", Mechanism::Ecdsa, Kind::P256, "P-256", 100_000),
    cell("P-384", Mechanism::Ecdsa, Kind::P384, "P-384", 60_000),
    cell("Ed25519", Mechanism::Ed25519, Kind::Ed25519, "Ed25519", 100_000),
    cell(
        "RSA-2048 PKCS#1",
        Mechanism::RsaPkcs1,
        Kind::Rsa2048,
        "RSA-2048",
        30_000,
    ),
    cell(
        "RSA-2048 PSS",
        Mechanism::RsaPssDigestSha256,
        Kind::Rsa2048,
        "RSA-2048",
        30_000,
    ),
];

fn threat_43_no_key_shows_in_the_time_of_its_signatures(lab: &Lab) -> Result<()> {
    for cell in &CELLS {
        nothing_is_found(cell.name, || {
            let keys = Keys::import(lab, cell.kind)?;
            let times = cell.measure(lab, |class, lot| Ok((*lot.one_of(keys.of(class))?, lot.bytes::<32>()?)))?;
            differ(&format!("{} by key", cell.name), &times)
        })?;
    }
    Ok(())
}

fn threat_43_no_input_shows_in_the_time_of_its_signature(lab: &Lab) -> Result<()> {
    for cell in &CELLS {
        nothing_is_found(cell.name, || {
            let key = TestKey::create(lab, "lab-e2e-timing", cell.key_type, "digest", WEB_SERVERS)?;
            let id = key.id()?;
            let times = cell.measure(lab, |class, lot| Ok((id, fixed_or_random(class, lot)?)))?;
            differ(&format!("{} by input", cell.name), &times)
        })?;
    }
    Ok(())
}

/// The same client and the same statistics, on a server that raises to the power of its key and skips what is zero.
fn threat_43_control_a_key_that_shows_in_time_is_found(_: &Lab) -> Result<()> {
    let keys = |class| match class {
        Class::Fixed => KeyId([0; 32]),
        Class::Random => KeyId([1; 32]),
    };
    let secrets = [
        (keys(Class::Fixed), half_zero()?),
        (keys(Class::Random), Lot::new().bytes()?),
    ];
    control("key", secrets, |class, lot| Ok((keys(class), lot.bytes()?)))
}

/// A server that raises to the power of what it is to sign.
fn threat_43_control_an_input_that_shows_in_time_is_found(_: &Lab) -> Result<()> {
    let key = KeyId([1; 32]);
    control("input", [(key, [0; 32]), (key, [0; 32])], |class, lot| {
        Ok((key, fixed_or_random(class, lot)?))
    })
}

fn control(
    what: &str,
    secrets: [(KeyId, [u8; 32]); 2],
    mut request: impl FnMut(Class, &mut Lot) -> Result<(KeyId, [u8; 32])>,
) -> Result<()> {
    let server = Leaky::start(secrets.into())?;
    let _pinned = on_one_core(std::process::id())?;
    let mut connection = Connection::open(&server.address())?;
    let times = measure(&mut connection, Mechanism::Ecdsa, CONTROL, |class, lot| {
        let (key, input) = request(class, lot)?;
        Ok((key, input.to_vec()))
    })?;
    ensure!(
        differ(&format!("control by {what}"), &times)?,
        "a leak was not found: nothing here would be"
    );
    Ok(())
}

impl Cell {
    fn measure(
        &self,
        lab: &Lab,
        mut request: impl FnMut(Class, &mut Lot) -> Result<(KeyId, [u8; 32])>,
    ) -> Result<Vec<Time>> {
        let mut connection = Connection::authenticated(&lab.signing, &lab.credential()?)?;
        let _pinned = on_one_core(lab.service()?)?;
        measure(&mut connection, self.mechanism, self.count, |class, lot| {
            let (key, digest) = request(class, lot)?;
            Ok((key, self.input(digest)))
        })
    }

    /// What the mechanism takes for these bytes.
    fn input(&self, digest: [u8; 32]) -> Vec<u8> {
        match self.mechanism {
            Mechanism::RsaPkcs1 => [&Hash::Sha256.digest_info_prefix()[..], &digest].concat(),
            _ => digest.to_vec(),
        }
    }
}

/// Draws in both cases, so that both classes come to the socket alike.
fn fixed_or_random(class: Class, lot: &mut Lot) -> Result<[u8; 32]> {
    let random = lot.bytes()?;
    Ok(match class {
        Class::Fixed => [0; 32],
        Class::Random => random,
    })
}

fn half_zero() -> Result<[u8; 32]> {
    let mut secret = Lot::new().bytes::<32>()?;
    secret[..16].fill(0);
    Ok(secret)
}

/// Says what was found, and whether that is a difference without doubt.
fn differ(what: &str, times: &[Time]) -> Result<bool> {
    let Evidence {
        t,
        difference,
        visible,
        kept,
    } = evidence(times).context("too few times")?;
    println!(
        "  {what}: |t| {t:.1} of {DEFINITE}, {} signatures, the shortest {kept} %: {difference:+.0} ns, {visible:.0} ns would be found",
        times.len()
    );
    Ok(t >= DEFINITE)
}

const fn cell(name: &'static str, mechanism: Mechanism, kind: Kind, key_type: &'static str, count: usize) -> Cell {
    Cell {
        name,
        mechanism,
        kind,
        key_type,
        count,
    }
}

/// Signatures of a control.
const CONTROL: usize = 50_000;
