//! Keys of two classes by their secret, imported into a lab's service, and taken away afterwards.

use anyhow::{Result, anyhow, bail};
use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P384, PrivateKey};
use aws_lc_rs::digest::{SHA512, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RsaKeyPair,
};
use der::asn1::{OctetStringRef, UintRef};
use der::{Reader, SliceReader};
use e2e::lab::Lab;
use e2e::lab::keys::WEB_SERVERS;
use e2e::timing::{Class, Lot};
use enclave_tls_admin::client::Client;
use enclave_wire::control::{Import, Reply, Request};
use enclave_wire::{KeyId, Usage};

/// What kind of key, and what its two classes are.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Scalars whose upper half is zero, and random ones.
    P256,
    /// The same.
    P384,
    /// Scalars with the fewest and with the most ones of very many.
    Ed25519,
    /// Exponents dP and dQ with the fewest and with the most ones of some.
    Rsa2048,
}

/// The keys, as many of each class, so that both are as warm in the caches.
pub(super) struct Keys<'a> {
    lab: &'a Lab,
    fixed: Vec<KeyId>,
    random: Vec<KeyId>,
}

impl<'a> Keys<'a> {
    pub(super) fn import(lab: &'a Lab, kind: Kind) -> Result<Self> {
        let mut keys = Self {
            lab,
            fixed: Vec::new(),
            random: Vec::new(),
        };
        let [fixed, random] = kind.make()?;
        for (number, (odd, usual)) in fixed.into_iter().zip(random).enumerate() {
            keys.fixed
                .push(import(lab, &format!("lab-e2e-timing-fixed-{number}"), odd)?);
            keys.random
                .push(import(lab, &format!("lab-e2e-timing-random-{number}"), usual)?);
        }
        Ok(keys)
    }

    pub(super) fn of(&self, class: Class) -> &[KeyId] {
        match class {
            Class::Fixed => &self.fixed,
            Class::Random => &self.random,
        }
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        for key in self.fixed.iter().chain(&self.random) {
            drop(Client::new(&self.lab.ctl_socket).ask(Request::Retire(*key))); // it goes with the lab at the latest
        }
    }
}

impl Kind {
    /// In PKCS#8.
    fn make(self) -> Result<[Vec<Vec<u8>>; 2]> {
        match self {
            Self::P256 => scalars(|scalar: [u8; 32]| ec(&ECDH_P256, &ECDSA_P256_SHA256_FIXED_SIGNING, &scalar)),
            Self::P384 => scalars(|scalar: [u8; 48]| ec(&ECDH_P384, &ECDSA_P384_SHA384_FIXED_SIGNING, &scalar)),
            Self::Ed25519 => {
                let mut lot = Lot::new();
                let seeds = (0..SEEDS).map(|_| lot.bytes::<32>()).collect::<Result<Vec<_>>>()?;
                extremes(seeds, ones_of_seed)?.map_each(|seed| {
                    let pair = Ed25519KeyPair::from_seed_unchecked(&seed)?;
                    Ok(pair.to_pkcs8v1()?.as_ref().to_vec())
                })
            }
            Self::Rsa2048 => {
                let pairs = (0..PAIRS).map(|_| Ok(RsaKeyPair::generate(KeySize::Rsa2048)?));
                let der = |pair: Result<RsaKeyPair>| Ok(AsDer::<Pkcs8V1Der<'_>>::as_der(&pair?)?.as_ref().to_vec());
                let pairs = pairs.map(der).collect::<Result<Vec<_>>>()?;
                let mut ones = Vec::new();
                for pair in pairs {
                    ones.push((ones_of_exponents(&pair)?, pair));
                }
                extremes(ones, |(ones, _)| *ones)?.map_each(|(_, pair)| Ok(pair))
            }
        }
    }
}

/// Scalars whose upper half is zero, and random ones.
fn scalars<const N: usize>(pkcs8: impl Fn([u8; N]) -> Result<Vec<u8>>) -> Result<[Vec<Vec<u8>>; 2]> {
    let mut lot = Lot::new();
    let mut draw = |zeros: usize| {
        let mut scalar = lot.bytes::<N>()?;
        scalar[..zeros].fill(0);
        pkcs8(scalar)
    };
    let short = (0..EACH).map(|_| draw(N / 2)).collect::<Result<_>>()?;
    let random = (0..EACH).map(|_| draw(0)).collect::<Result<_>>()?;
    Ok([short, random])
}

fn ec(agreement: &'static Algorithm, signing: &'static EcdsaSigningAlgorithm, scalar: &[u8]) -> Result<Vec<u8>> {
    let public = PrivateKey::from_private_key(agreement, scalar)?.compute_public_key()?;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, scalar, public.as_ref())?;
    Ok(pair.to_pkcs8v1()?.as_ref().to_vec())
}

/// Those with the least and those with the most of something.
fn extremes<T>(mut all: Vec<T>, measure: impl Fn(&T) -> u32) -> Result<Extremes<T>> {
    all.sort_by_key(measure);
    if all.len() < 2 * EACH {
        bail!("too few keys");
    }
    let most = all.split_off(all.len() - EACH);
    all.truncate(EACH);
    Ok(Extremes([all, most]))
}

struct Extremes<T>([Vec<T>; 2]);

impl<T> Extremes<T> {
    fn map_each(self, map: impl Fn(T) -> Result<Vec<u8>>) -> Result<[Vec<Vec<u8>>; 2]> {
        let [least, most] = self.0;
        let mapped = |all: Vec<T>| all.into_iter().map(&map).collect::<Result<_>>();
        Ok([mapped(least)?, mapped(most)?])
    }
}

/// How many ones the scalar of a seed has (RFC 8032, 5.1.5), whatever is cleared or set in every one.
fn ones_of_seed(seed: &[u8; 32]) -> u32 {
    digest(&SHA512, seed)
        .as_ref()
        .iter()
        .take(31)
        .skip(1)
        .map(|byte| byte.count_ones())
        .sum()
}

/// How many ones dP and dQ have (RFC 8017, A.1.2).
fn ones_of_exponents(pkcs8: &[u8]) -> Result<u32> {
    let numbers = SliceReader::new(pkcs8)?.sequence(|fields| {
        fields.decode::<u8>()?;
        fields.tlv_bytes()?;
        let key = fields.decode::<&OctetStringRef>()?.as_bytes();
        SliceReader::new(key)?.sequence(|fields| {
            fields.decode::<u8>()?;
            (0..8)
                .map(|_| fields.decode())
                .collect::<der::Result<Vec<UintRef<'_>>>>()
        })
    });
    let numbers = numbers.map_err(|error: der::Error| anyhow!("no RSA key: {error}"))?;
    let exponents = numbers.get(5..7).ok_or_else(|| anyhow!("no dP, no dQ"))?;
    let bytes = exponents.iter().flat_map(|number| number.as_bytes());
    Ok(bytes.map(|byte| byte.count_ones()).sum())
}

fn import(lab: &Lab, name: &str, pkcs8: Vec<u8>) -> Result<KeyId> {
    let request = Request::Import(Import {
        name: name.parse().map_err(|_| anyhow!("no name"))?,
        usage: Usage::Digest,
        dns_names: vec!["e2e.lab.test".parse().map_err(|_| anyhow!("no DNS name"))?]
            .try_into()
            .map_err(|_| anyhow!("too many names"))?,
        clients: vec![WEB_SERVERS.parse().map_err(|_| anyhow!("no name"))?]
            .try_into()
            .map_err(|_| anyhow!("too many clients"))?,
        sealed: None,
        pkcs8: pkcs8.try_into().map_err(|_| anyhow!("a key that is too long"))?,
    });
    match Client::new(&lab.ctl_socket).ask(request) {
        Ok((Reply::Imported(key), _)) => Ok(key.id),
        Ok(_) => bail!("another answer than to an import"),
        Err(error) => bail!("{error}"),
    }
}

/// Keys of a class.
const EACH: usize = 8;
/// Random seeds, of which the extreme ones are taken: some 80 and 160 ones of 240.
const SEEDS: usize = 50_000;
/// RSA keys, of which a quarter each is taken: their exponents differ by some 50 ones of 1,000.
const PAIRS: usize = 32;
