//! Certificates for one guest, until all are there or it says that its memory is full.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use enclave_wire::KeyType;
use enclave_wire::control::{ControlError, KeyInfo};
use serde::Serialize;

use super::agent::{Agent, Refused};
use super::authority::Authority;
use super::client::{Client, Credential};
use super::crowd::{self, Crowd};
use super::guest::{Cpu, Guest};
use super::plan::{FillPlan, Kind};

/// What a guest of one size held.
#[derive(Clone, Debug, Serialize)]
pub struct Fill {
    /// The guest's memory.
    pub mebibytes: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Certificates that were installed.
    pub installed: usize,
    /// Bytes of one chain: leaf and issuer.
    pub chain_bytes: usize,
    /// Bytes of the guest's memory that were in use once it served and held no key.
    pub used_at_ready: u64,
    /// What was seen at each mark that was reached.
    pub marks: Vec<Mark>,
    /// What the guest stood besides.
    pub crowd: Crowd,
}

/// How filling ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Outcome {
    /// All certificates fit.
    All,
    /// The guest refused another with `MemoryFull`, again and again, and went on signing with every key that it had.
    Full,
    /// The service does not come up with so little memory.
    NoBoot {
        /// What was said last.
        why: String,
    },
    /// The guest ended or fell silent: a defect.
    Ended {
        /// What was said last.
        why: String,
    },
}

/// So many certificates, each of which has signed once.
#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    /// How many.
    pub certificates: usize,
    /// Bytes of the guest's memory that were in use.
    pub used: u64,
    /// Processor time for making them, from the first on: key (or import), request and chain.
    pub making: Cpu,
    /// Processor time for one signature of each.
    pub signing: Cpu,
    /// How long making took.
    pub making_s: f64,
}

/// Fills a guest, and ends it.
pub fn fill(plan: &FillPlan) -> Result<Fill> {
    let mut report = Fill {
        mebibytes: plan.machine.mebibytes,
        outcome: Outcome::All,
        installed: 0,
        chain_bytes: 0,
        used_at_ready: 0,
        marks: Vec::new(),
        crowd: Crowd::NotTried,
    };
    let keys = Keys::prepare(plan.kind, plan.marks.last().copied().unwrap_or_default())?;
    let credential = Credential::new()?;
    let mut guest = Guest::start(&plan.machine)?;
    let mut filling = match Filling::begin(keys, &mut guest, &credential) {
        Ok(filling) => filling,
        Err(error) => {
            let why = format!("{error:#}");
            report.outcome = Outcome::NoBoot { why };
            return Ok(report);
        }
    };
    report.used_at_ready = filling.guest.used()?;
    let filled = filling.run(&plan.marks, &mut report);
    report.installed = filling.keys.len();
    report.chain_bytes = filling.chain_bytes;
    match filled {
        Ok(outcome) => {
            report.outcome = outcome;
            report.crowd = match filling.keys.first() {
                Some(oldest) => crowd::come(
                    plan.crowd,
                    filling.guest,
                    &mut filling.agent,
                    &mut filling.client,
                    oldest,
                )
                .unwrap_or_else(|error| Crowd::Ended {
                    why: filling.guest.why(&error),
                }),
                None => Crowd::NotTried,
            };
        }
        Err(error) => {
            let why = filling.guest.why(&error);
            report.outcome = Outcome::Ended { why };
        }
    }
    Ok(report)
}

/// Where keys come from.
enum Keys {
    /// The guest makes them.
    P256,
    /// They are here, in PKCS#8: a new one each, since the service takes no key twice.
    Rsa2048(Vec<Vec<u8>>),
}

impl Keys {
    fn prepare(kind: Kind, count: usize) -> Result<Self> {
        Ok(match kind {
            Kind::P256 => Self::P256,
            Kind::Rsa2048 => Self::Rsa2048((0..count).map(|_| rsa_key()).collect::<Result<_>>()?),
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Self::P256 => Kind::P256,
            Self::Rsa2048(_) => Kind::Rsa2048,
        }
    }
}

struct Filling<'a> {
    source: Keys,
    guest: &'a mut Guest,
    agent: Agent,
    client: Client,
    authority: Authority,
    /// With a chain, in the order in which they came.
    keys: Vec<KeyInfo>,
    /// Of them, how many have signed.
    signed: usize,
    chain_bytes: usize,
}

impl<'a> Filling<'a> {
    /// Until the guest serves, without a key.
    fn begin(source: Keys, guest: &'a mut Guest, credential: &Credential) -> Result<Self> {
        let mut agent = Agent::new(guest.dialled()?)?;
        agent.begin(credential)?;
        agent.ready()?;
        let client = Client::authenticate(guest.connect()?, credential)?;
        Ok(Self {
            source,
            guest,
            agent,
            client,
            authority: Authority::new()?,
            keys: Vec::new(),
            signed: 0,
            chain_bytes: 0,
        })
    }

    fn run(&mut self, marks: &[usize], report: &mut Fill) -> Result<Outcome> {
        let begun = self.guest.cpu()?;
        let mut signing = begun.since(begun);
        let mut making_s = 0.0;
        for &mark in marks {
            let begin = Instant::now();
            while self.keys.len() < mark {
                if !self.add()? {
                    self.prove_that_the_others_stay()?;
                    return Ok(Outcome::Full);
                }
            }
            making_s += begin.elapsed().as_secs_f64();
            let made = self.guest.cpu()?;
            self.sign_once_each()?;
            let now = self.guest.cpu()?;
            let before = signing;
            signing = signing.plus(now.since(made));
            report.marks.push(Mark {
                certificates: mark,
                used: self.guest.used()?,
                making: made.since(begun).since(before),
                signing,
                making_s,
            });
        }
        Ok(Outcome::All)
    }

    /// One more certificate. False: the guest has no memory for it, and said so.
    fn add(&mut self) -> Result<bool> {
        match self.certificate() {
            Ok(key) => self.keys.push(key),
            Err(Refused::By(ControlError::MemoryFull)) => return Ok(false),
            Err(error) => return Err(anyhow::Error::from(error).context(format!("certificate {}", self.keys.len()))),
        }
        Ok(true)
    }

    fn certificate(&mut self) -> Result<KeyInfo, Refused> {
        let number = self.keys.len();
        let (name, host) = (format!("lab-{number}"), format!("host-{number}.example"));
        let key = match &mut self.source {
            Keys::P256 => self.agent.create(&name, KeyType::P256, &host)?,
            Keys::Rsa2048(keys) => {
                let key = keys.pop().context("more keys than marks")?;
                self.agent.import(&name, &host, key)?
            }
        };
        let request = self.agent.request(key.id)?;
        let chain = self.authority.issue(&request, self.source.kind(), &host)?;
        self.chain_bytes = chain.certificates().iter().map(|c| c.as_bytes().len()).sum();
        self.agent.install(key.id, chain)?;
        Ok(key)
    }

    fn sign_once_each(&mut self) -> Result<()> {
        for key in self.keys.get(self.signed..).unwrap_or_default() {
            self.client.sign(key)?;
        }
        self.signed = self.keys.len();
        Ok(())
    }

    /// A refusal ends nothing: the guest refuses again as often as it is asked, and signs with the first key and the last.
    fn prove_that_the_others_stay(&mut self) -> Result<()> {
        for _ in 0..AGAIN {
            match self.agent.create("lab-one-more", KeyType::P256, "one-more.example") {
                Err(Refused::By(ControlError::MemoryFull)) => {}
                Err(Refused::Broken(error)) => return Err(error),
                // Memory that a request held may be free again a moment later; a key that comes then is one that had room.
                Ok(_) => {}
                Err(Refused::By(other)) => bail!("refused with {other:?}"),
            }
        }
        self.sign_once_each()?;
        if let Some(oldest) = self.keys.first() {
            self.client.sign(oldest)?;
        }
        self.guest.must_run()
    }
}

fn rsa_key() -> Result<Vec<u8>> {
    let key = KeyPair::generate(KeySize::Rsa2048).ok().context("no RSA key")?;
    let der: Pkcs8V1Der<'_> = key.as_der().ok().context("no PKCS#8")?;
    Ok(der.as_ref().to_vec())
}

/// How often a full guest is asked again.
const AGAIN: usize = 20;
