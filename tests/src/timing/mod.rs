//! Whether times tell two classes of requests apart: what is measured over a socket, and what statistics say of it.
//!
//! The order of the classes is drawn by lot, request by request, so what disturbs the machine disturbs both alike.
//!
//! | file | |
//! |---|---|
//! | [`measure()`] | two classes of signatures, timed one by one over the signing socket |
//! | [`welch`] | Welch's t-test on cropped times, as dudect does it |
//! | [`rank`] | Mann and Whitney's test, by ranks |

pub mod rank;
pub mod welch;

use std::time::Instant;

use anyhow::{Result, ensure};
use enclave_wire::signing::{Request, Sign};
use enclave_wire::{KeyId, Mechanism};

use crate::lab::signing::Connection;
use crate::signbench::cpu::Pinned;

/// One of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What is fixed, or of an odd kind.
    Fixed,
    /// What is random.
    Random,
}

/// A request's class, and how many nanoseconds its reply took.
pub type Time = (Class, u64);

/// Times so many signatures, each of a class that is drawn by lot. `request` says what is signed with which key; it draws whatever it draws
/// for both classes, so that neither comes to the socket another way.
pub fn measure(
    connection: &mut Connection,
    mechanism: Mechanism,
    count: usize,
    mut request: impl FnMut(Class, &mut Lot) -> Result<(KeyId, Vec<u8>)>,
) -> Result<Vec<Time>> {
    let mut lot = Lot::new();
    let mut times = Vec::with_capacity(count);
    for number in 0..count + WARM_UP {
        let class = lot.class()?;
        let (key, input) = request(class, &mut lot)?;
        let sign = Request::Sign(Sign {
            key,
            mechanism,
            input: &input,
        });
        let began = Instant::now();
        let reply = connection.exchange(&sign)?;
        let nanoseconds = u64::try_from(began.elapsed().as_nanos())?;
        ensure!(reply.0.len() >= SIGNED, "no signature came: {reply:?}");
        if number >= WARM_UP {
            times.push((class, nanoseconds));
        }
    }
    Ok(times)
}

/// Keeps all threads of this process and of another on one core until it is dropped: a reply then takes what its work takes, without the
/// time in which a second core wakes up.
pub fn on_one_core(other: u32) -> Result<impl Drop> {
    let mut pinned = Pinned::default();
    for pid in [other, std::process::id()] {
        pinned.pin(pid, 0)?;
    }
    Ok(pinned)
}

/// Random numbers, of which a block is drawn at once.
pub struct Lot {
    block: [u8; BLOCK],
    used: usize,
}

impl Lot {
    /// Nothing is drawn yet.
    #[expect(clippy::new_without_default, reason = "a lot that is drawn has no default")]
    pub fn new() -> Self {
        Self {
            block: [0; BLOCK],
            used: BLOCK,
        }
    }

    /// Bytes that nobody drew before.
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        if BLOCK - self.used < N {
            aws_lc_rs::rand::fill(&mut self.block)?;
            self.used = 0;
        }
        let mut drawn = [0; N];
        drawn.copy_from_slice(&self.block[self.used..self.used + N]);
        self.used += N;
        Ok(drawn)
    }

    /// Either class, each as likely.
    pub fn class(&mut self) -> Result<Class> {
        let [byte] = self.bytes()?;
        Ok(if byte & 1 == 0 { Class::Fixed } else { Class::Random })
    }

    /// One of these, each as likely as far as 65,536 can be divided.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> Result<&'a T> {
        let number = usize::from(u16::from_be_bytes(self.bytes()?));
        ensure!(!all.is_empty(), "nothing to draw from");
        Ok(&all[number % all.len()])
    }

    /// These in another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) -> Result<()> {
        for last in (1..all.len()).rev() {
            let number = usize::from(u16::from_be_bytes(self.bytes()?));
            all.swap(last, number % (last + 1));
        }
        Ok(())
    }
}

/// Caches and branch predictors have seen the work by then.
const WARM_UP: usize = 1_000;
/// The shortest reply with a signature; a refusal has 15 bytes.
const SIGNED: usize = 14 + 64;
const BLOCK: usize = 4_096;
