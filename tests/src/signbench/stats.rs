//! Medians and their kin.

use serde::Serialize;

/// A median with the quartiles around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter of the values lie below.
    pub q1: f64,
    /// Half of the values lie below.
    pub median: f64,
    /// Three quarters of the values lie below.
    pub q3: f64,
}

impl Spread {
    /// Of any number of values but none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        Some(Self {
            q1: at(&values, 0.25)?,
            median: at(&values, 0.5)?,
            q3: at(&values, 0.75)?,
        })
    }
}

/// The value that so many of a hundred do not exceed.
pub(super) fn percentile(sorted: &[u32], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().map_or(f64::NAN, f64::from)
}

/// Between two values in proportion.
fn at(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values_in_proportion() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                q1: 1.75,
                median: 2.5,
                q3: 3.25
            }
        );
        assert_eq!(
            Spread::of(vec![7.0]).unwrap(),
            Spread {
                q1: 7.0,
                median: 7.0,
                q3: 7.0
            }
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let values: Vec<u32> = (0..200).collect();
        assert_eq!(percentile(&values, 50), 100.0);
        assert_eq!(percentile(&values, 99), 198.0);
        assert_eq!(percentile(&values[..1], 99), 0.0);
        assert!(percentile(&[], 50).is_nan());
    }
}
