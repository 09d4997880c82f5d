//! Welch's t-test of two classes of times, on all of them and on those below each of several percentiles.
//!
//! So does dudect (Reparaz, Balasch and Verbauwhede 2017): interrupts make the longest times, and hide a small difference among the
//! shorter ones until the longest are left out. It calls |t| above 4.5 suspicious, and above 10 a leak without doubt.

use super::{Class, Time};

/// What speaks most for a difference.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// Welch's t, its sign dropped.
    pub t: f64,
    /// By how many nanoseconds the means differ there.
    pub difference: f64,
    /// The smallest difference that would have been found by any cropping: one that makes t as large as [`DEFINITE`].
    pub visible: f64,
    /// How many of a hundred times were kept.
    pub kept: u8,
}

/// The largest |t| of all croppings; none where a class has next to nothing.
#[must_use]
pub fn evidence(times: &[Time]) -> Option<Evidence> {
    let mut sorted: Vec<u64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let cropped = CROPS.iter().filter_map(|&kept| {
        let last = (sorted.len() * usize::from(kept) / 100).checked_sub(1)?;
        at_most(times, *sorted.get(last)?, kept)
    });
    cropped.reduce(|one, other| Evidence {
        visible: one.visible.min(other.visible),
        ..if one.t < other.t { other } else { one }
    })
}

fn at_most(times: &[Time], bound: u64, kept: u8) -> Option<Evidence> {
    let (mut fixed, mut random) = (Moments::default(), Moments::default());
    for (class, time) in times.iter().filter(|(_, time)| *time <= bound) {
        match class {
            Class::Fixed => fixed.add(*time as f64),
            Class::Random => random.add(*time as f64),
        }
    }
    let error = (fixed.error()? + random.error()?).sqrt();
    let difference = fixed.mean - random.mean;
    let t = if difference == 0.0 {
        0.0
    } else {
        difference.abs() / error
    };
    Some(Evidence {
        t,
        difference,
        visible: DEFINITE * error,
        kept,
    })
}

/// Count, mean and squared deviations, as Welford sums them up.
#[derive(Default)]
struct Moments {
    count: f64,
    mean: f64,
    deviations: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let from_old = value - self.mean;
        self.mean += from_old / self.count;
        self.deviations += from_old * (value - self.mean);
    }

    /// The variance of the mean.
    fn error(&self) -> Option<f64> {
        (self.count >= FEW).then(|| self.deviations / (self.count - 1.0) / self.count)
    }
}

/// Above this, dudect's authors call a difference certain.
pub const DEFINITE: f64 = 10.0;
/// Of a hundred times the shortest so many.
const CROPS: [u8; 11] = [100, 99, 98, 95, 90, 80, 70, 60, 50, 30, 10];
/// Of fewer, a mean says nothing.
const FEW: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::super::Lot;
    use super::*;

    /// Some 20 µs with a tail, as a socket makes them; the class of fixed ones takes `longer` nanoseconds more.
    fn times(count: usize, longer: u64) -> Vec<Time> {
        let mut lot = Lot::new();
        let mut one = || {
            let class = lot.class().unwrap();
            let noise: u64 = lot.bytes::<8>().unwrap().into_iter().map(u64::from).sum();
            let [tail, far] = lot.bytes().unwrap();
            let tail = if tail < 5 { u64::from(far) * 1_000 } else { 0 };
            let own = if class == Class::Fixed { longer } else { 0 };
            (class, 20_000 + noise + tail + own)
        };
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn one_distribution_is_no_evidence() {
        let evidence = evidence(&times(50_000, 0)).unwrap();
        // One in ten million such samples is further off.
        assert!(evidence.t < 5.5, "{evidence:?}");
    }

    #[test]
    fn a_shift_that_interrupts_hide_is_found_among_the_shorter_times() {
        let times = times(50_000, 40);
        let all = at_most(&times, u64::MAX, 100).unwrap();
        assert!(all.t < DEFINITE, "{all:?}");
        let found = evidence(&times).unwrap();
        assert!(found.t > DEFINITE && found.kept < 100, "{found:?}");
    }

    #[test]
    fn t_is_welchs() {
        let of = |class, times: &[u64]| {
            times
                .repeat(100)
                .into_iter()
                .map(|time| (class, time))
                .collect::<Vec<_>>()
        };
        // Means 2 and 5, variances 2/3 and 2 (of 300, divided by 299).
        let times = [of(Class::Fixed, &[1, 2, 3]), of(Class::Random, &[5, 3, 5, 7, 5])].concat();
        let found = at_most(&times, u64::MAX, 100).unwrap();
        let error = (200.0_f64 / 299.0 / 300.0 + 800.0 / 499.0 / 500.0).sqrt();
        assert!((found.t - 3.0 / error).abs() < 1e-9, "{found:?}");
        assert!((found.difference + 3.0).abs() < 1e-9, "{found:?}");
        assert!(evidence(&times[..150]).is_none(), "one class has too few");
    }
}
