//! RSA: a window of memory that divides the modulus is one of its two prime factors.

use super::{Found, Order, WindowSearch, windows};

/// Looks for the prime factors of several moduli of one size.
pub(super) struct FactorSearch {
    /// Length of a factor in bytes: half of the modulus.
    len: usize,
    /// The index of the key, and its modulus as 64-bit limbs, least significant first.
    moduli: Vec<(usize, Vec<u64>)>,
}

impl FactorSearch {
    /// A search for the factors of moduli of `modulus_len` bytes, which is a multiple of 16.
    pub(super) fn new(modulus_len: usize) -> Self {
        Self {
            len: modulus_len / 2,
            moduli: Vec::new(),
        }
    }

    /// Adds the modulus, in big-endian bytes, of the key with this index.
    pub(super) fn add(&mut self, key: usize, modulus: &[u8]) {
        self.moduli.push((key, limbs(modulus, Order::Big)));
    }
}

impl WindowSearch for FactorSearch {
    fn window_len(&self) -> usize {
        self.len
    }

    fn search(&self, bytes: &[u8], found: &mut Vec<Found>) {
        let mut scratch = vec![0; self.len / 4];
        for offset in windows::runs(bytes, self.len).into_iter().flatten() {
            let window = &bytes[offset..offset + self.len];
            for order in [Order::Little, Order::Big] {
                if !may_be_factor(window, order) {
                    continue;
                }
                let candidate = limbs(window, order);
                for (key, modulus) in &self.moduli {
                    if divides(modulus, &candidate, &mut scratch) {
                        found.push(Found {
                            key: *key,
                            component: "factor",
                            order,
                            offset,
                        });
                    }
                }
            }
        }
    }
}

/// Both factors of a modulus of 2n bits are odd and have exactly n bits.
fn may_be_factor(window: &[u8], order: Order) -> bool {
    let (low, high) = match order {
        Order::Little => (window.first(), window.last()),
        Order::Big => (window.last(), window.first()),
    };
    low.is_some_and(|byte| byte & 1 == 1) && high.is_some_and(|byte| byte & 0x80 != 0)
}

/// Whether `modulus` is `divisor` times a number of the same length as `divisor`, which is odd and half as long.
///
/// Exact division from the low end: the inverse of the divisor modulo 2^64 gives one limb of the quotient after the
/// other, and what is left is zero exactly if it divides. No estimate, no correction, no normalisation.
fn divides(modulus: &[u64], divisor: &[u64], rest: &mut [u64]) -> bool {
    rest.copy_from_slice(modulus);
    let inverse = inverse_mod_2_64(divisor[0]);
    let half = divisor.len();
    let mut owed = false;
    for i in 0..half {
        let quotient = rest[i].wrapping_mul(inverse);
        let mut borrow = 0;
        for (limb, factor) in rest[i..i + half].iter_mut().zip(divisor) {
            let (low, high) = quotient.carrying_mul(*factor, borrow);
            let (difference, below) = limb.overflowing_sub(low);
            *limb = difference;
            // No overflow: `high` is u64::MAX only with `low` = 0, which cannot borrow.
            borrow = high + u64::from(below);
        }
        (rest[i + half], owed) = rest[i + half].borrowing_sub(borrow, owed);
    }
    !owed && rest.iter().all(|limb| *limb == 0)
}

/// Newton's iteration: `odd` is its own inverse modulo 8, and each step doubles the number of right bits.
fn inverse_mod_2_64(odd: u64) -> u64 {
    (0..5).fold(odd, |inverse, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)))
    })
}

fn limbs(bytes: &[u8], order: Order) -> Vec<u64> {
    let limb = |chunk: &[u8]| {
        let from_top = |value, byte: &u8| (value << 8) | u64::from(*byte);
        match order {
            Order::Little => chunk.iter().rev().fold(0, from_top),
            Order::Big => chunk.iter().fold(0, from_top),
        }
    };
    match order {
        Order::Little => bytes.chunks(8).map(limb).collect(),
        Order::Big => bytes.rchunks(8).map(limb).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyscan::testkeys;

    #[test]
    fn inverse() {
        for odd in [1, 3, 0x1234_5678_9abc_def1, u64::MAX] {
            assert_eq!(odd.wrapping_mul(inverse_mod_2_64(odd)), 1);
        }
    }

    #[test]
    fn exact_division() {
        // 0xffff…ff (127 bits) · 3, and its neighbours: divisor and quotient of one limb each.
        let (divisor, quotient) = (0xffff_ffff_ffff_ffc5_u64, 0x8000_0000_0000_001d_u64);
        let (low, high) = divisor.carrying_mul(quotient, 0);
        let mut scratch = [0; 2];
        assert!(divides(&[low, high], &[divisor], &mut scratch));
        assert!(divides(&[low, high], &[quotient], &mut scratch));
        assert!(!divides(&[low + 2, high], &[divisor], &mut scratch));
        assert!(!divides(&[low, high - 1], &[divisor], &mut scratch));
        assert!(!divides(&[low, high + 1], &[divisor], &mut scratch));
        assert!(!divides(&[low, high], &[divisor - 2], &mut scratch));
    }

    #[test]
    fn planted_factors_are_found_in_both_orders_at_odd_offsets() {
        let rsa = testkeys::rsa_2048();
        let mut search = FactorSearch::new(256);
        search.add(7, &rsa.modulus);
        let mut bytes = testkeys::noise(4096);
        for (order, factor, offset) in [(Order::Big, &rsa.p, 333), (Order::Little, &rsa.q, 1001)] {
            bytes[offset..offset + 128].copy_from_slice(&order.of(factor));
        }
        let mut found = Vec::new();
        search.search(&bytes, &mut found);
        let hit = |order, offset| Found {
            key: 7,
            component: "factor",
            order,
            offset,
        };
        assert_eq!(found, [hit(Order::Big, 333), hit(Order::Little, 1001)]);
    }

    #[test]
    fn noise_and_a_damaged_factor_are_nothing() {
        let rsa = testkeys::rsa_2048();
        let mut search = FactorSearch::new(256);
        search.add(0, &rsa.modulus);
        let mut bytes = testkeys::noise(4096);
        let mut damaged = Order::Little.of(&rsa.p);
        damaged[64] ^= 1;
        bytes[100..228].copy_from_slice(&damaged);
        let mut found = Vec::new();
        search.search(&bytes, &mut found);
        assert_eq!(found, []);
    }
}
