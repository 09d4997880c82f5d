//! Threat 47 within the service: while a key is held its numbers are in memory, and when it is dropped they are not, though it was
//! read from PEM, sealed and opened.
//!
//! One test only, in a process of its own: any other would leave copies of its own keys. What is searched for is kept masked, so
//! that the search does not find itself.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected may stop at once")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use der::asn1::{OctetStringRef, UintRef};
use der::{Reader, SliceReader};
use enclave_tls::keystore::SigningKey;
use enclave_tls::sealed::{DataKey, Envelope, Generation, State};
use enclave_wire::control::Origin;
use enclave_wire::{Mechanism, Usage};
use zeroize::{Zeroize, Zeroizing};

#[test]
fn threat_47_a_dropped_key_leaves_nothing_behind() {
    for (name, numbers, mechanism) in [
        (
            "rsa-2048",
            rsa_numbers as fn(&[u8]) -> Vec<Needle>,
            Mechanism::RsaPssSha256,
        ),
        ("p-256", ec_numbers, Mechanism::EcdsaSha256),
        ("p-384", ec_numbers, Mechanism::EcdsaSha384),
        ("p-521", ec_numbers, Mechanism::EcdsaSha512),
        ("ed25519", edwards_numbers, Mechanism::Ed25519),
    ] {
        let path = format!("{}/tests/vectors/keys/{name}.der", env!("CARGO_MANIFEST_DIR"));
        let pkcs8 = Zeroizing::new(fs::read(path).unwrap());
        let mut needles = numbers(&pkcs8);
        let key = SigningKey::from_pkcs8(&pkcs8).unwrap();
        let from_pem = SigningKey::from_pem(pem(name, &pkcs8).as_bytes()).unwrap();
        drop(pkcs8);
        for round in 0u8..10 {
            key.sign(Usage::Digest, mechanism, &[round; 100]).unwrap();
        }
        let state = state(key);
        let (opened, data_keys, of_data_keys) = sealed_and_opened(&state);
        needles.extend(of_data_keys);
        let held = found(&needles);
        assert!(
            held.len() > 2 && held.contains(&"data key") && held.contains(&"other data key"),
            "{name}: the search finds only {held:?} while the keys are there"
        );
        assert!(
            !held.contains(&"key-encryption key"),
            "{name}: it is needed for a moment only"
        );
        drop((state, opened, from_pem, data_keys));
        assert_eq!(found(&needles), Vec::<&str>::new(), "{name}");
    }
}

fn state(key: SigningKey) -> State {
    let generation = Generation {
        generation: 1,
        state: enclave_wire::State::Live,
        usage: Usage::Digest,
        origin: Origin::Born,
        dns_names: Vec::new().try_into().unwrap(),
        clients: Vec::new().try_into().unwrap(),
        chain: Arc::default(),
        key: Arc::new(key),
    };
    State {
        name: "web".parse().unwrap(),
        group: "lab".parse().unwrap(),
        number: 1,
        last_generation: 1,
        generations: vec![generation],
    }
}

/// What was sealed and opened again in both versions, and under what.
fn sealed_and_opened(state: &State) -> ([State; 2], [DataKey; 3], Vec<Needle>) {
    let arn = |region: u8| {
        let arn = format!("arn:aws:kms:us-east-{region}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab");
        arn.parse().unwrap()
    };
    // Where they are made and nowhere else: what is moved leaves a copy behind.
    let mut secrets = [[0; 32]; 3];
    for secret in &mut secrets {
        aws_lc_rs::rand::fill(secret).unwrap();
    }
    let [secret, other, kek] = &mut secrets;
    let mut needles: Vec<Needle> = Needle::both_orders("data key", secret).into();
    needles.extend(Needle::both_orders("other data key", other));
    needles.extend(Needle::both_orders("key-encryption key", kek));
    let group = || state.group.clone();
    let direct = DataKey::new(group(), arn(1), vec![0; 184], secret);
    let one = DataKey::under(group(), other, arn(1), kek, vec![0; 184]).unwrap();
    let wrapped = one.also_under(arn(2), kek, vec![1; 184]).unwrap();
    drop(one);
    secret.zeroize();
    other.zeroize();
    let [first, second] = [&direct, &wrapped].map(|data_key| {
        let blob = state.seal(data_key, &[0; 48]).unwrap();
        Envelope::parse(&blob).unwrap()
    });
    let unwrapped = DataKey::of(second.header(), &arn(2), &*kek).unwrap();
    kek.zeroize();
    let opened = [first.open(&direct).unwrap(), second.open(&unwrapped).unwrap()];
    (opened, [direct, wrapped, unwrapped], needles)
}

/// In the form that takes most steps to read.
fn pem(name: &str, pkcs8: &[u8]) -> Zeroizing<String> {
    let (label, der) = match name {
        "rsa-2048" => ("RSA PRIVATE KEY", inner(pkcs8)),
        _ => ("PRIVATE KEY", pkcs8),
    };
    Zeroizing::new(pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap())
}

/// A part of a secret number, masked, in one byte order.
struct Needle {
    name: &'static str,
    masked: [u8; WINDOW],
}

impl Needle {
    fn both_orders(name: &'static str, number: &[u8]) -> [Self; 2] {
        // From the middle: a number's ends may be short or shared.
        let start = (number.len() - WINDOW) / 2;
        let mut window: [u8; WINDOW] = number[start..start + WINDOW].try_into().unwrap();
        let big = window.map(|byte| byte ^ MASK);
        window.reverse();
        let little = window.map(|byte| byte ^ MASK);
        window.zeroize();
        [big, little].map(|masked| Self { name, masked })
    }

    fn is_in(&self, memory: &[u8]) -> bool {
        let first = self.masked[0] ^ MASK;
        let mut rest = memory;
        while let Some(at) = rest.iter().position(|byte| *byte == first) {
            rest = &rest[at..];
            let matches = rest
                .iter()
                .zip(&self.masked)
                .take_while(|(byte, masked)| **byte ^ MASK == **masked)
                .count();
            if matches == WINDOW {
                return true;
            }
            rest = &rest[1..];
        }
        false
    }
}

/// Which numbers are in the writable memory of this process.
fn found(needles: &[Needle]) -> Vec<&'static str> {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut chunk = vec![0; CHUNK];
    let mut names = Vec::new();
    for (start, end) in writable() {
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap().min(CHUNK);
            if read(&memory, &mut chunk[..length], at).is_ok() {
                names.extend(
                    needles
                        .iter()
                        .filter(|needle| needle.is_in(&chunk[..length]))
                        .map(|needle| needle.name),
                );
            }
            chunk.zeroize();
            chunk.resize(CHUNK, 0);
            // Chunks overlap, so that nothing hides on their border.
            at += u64::try_from(length.saturating_sub(WINDOW).max(1)).unwrap();
            if length <= WINDOW {
                break;
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn read(memory: &File, chunk: &mut [u8], at: u64) -> io::Result<()> {
    memory.read_exact_at(chunk, at)
}

fn writable() -> Vec<(u64, u64)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|access| access.starts_with("rw")))
        .map(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let end = rest.split(' ').next().unwrap();
            (
                u64::from_str_radix(start, 16).unwrap(),
                u64::from_str_radix(end, 16).unwrap(),
            )
        })
        .collect()
}

/// The private key inside PKCS#8.
fn inner(pkcs8: &[u8]) -> &[u8] {
    let mut reader = SliceReader::new(pkcs8).unwrap();
    let read = reader.sequence(|fields| {
        fields.decode::<u8>()?;
        fields.tlv_bytes()?;
        Ok::<_, der::Error>(fields.decode::<&OctetStringRef>()?.as_bytes())
    });
    read.unwrap()
}

fn rsa_numbers(pkcs8: &[u8]) -> Vec<Needle> {
    let mut reader = SliceReader::new(inner(pkcs8)).unwrap();
    let read = reader.sequence(|fields| {
        fields.decode::<u8>()?;
        fields.decode::<UintRef<'_>>()?;
        fields.decode::<UintRef<'_>>()?;
        let mut needles = Vec::new();
        for name in ["d", "p", "q", "dP", "dQ", "qInv"] {
            needles.extend(Needle::both_orders(name, fields.decode::<UintRef<'_>>()?.as_bytes()));
        }
        Ok::<_, der::Error>(needles)
    });
    read.unwrap()
}

fn ec_numbers(pkcs8: &[u8]) -> Vec<Needle> {
    let mut reader = SliceReader::new(inner(pkcs8)).unwrap();
    let read = reader.sequence(|fields| {
        fields.decode::<u8>()?;
        let scalar = fields.decode::<&OctetStringRef>()?.as_bytes();
        fields.tlv_bytes()?;
        Ok::<_, der::Error>(Needle::both_orders("scalar", scalar).into())
    });
    read.unwrap()
}

fn edwards_numbers(pkcs8: &[u8]) -> Vec<Needle> {
    Needle::both_orders("seed", &inner(pkcs8)[2..]).into()
}

const WINDOW: usize = 24;
const MASK: u8 = 0xa5;
const CHUNK: usize = 1 << 20;
