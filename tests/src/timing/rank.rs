//! Mann and Whitney's test: whether values of one sample tend to be above those of another. It goes by ranks, so a time that an
//! interrupt made very long weighs no more than one that is a little long.

/// The standard score of the first sample's ranks: above 0 where its values tend to be larger. Ties share their ranks.
#[must_use]
pub fn score(one: &[u64], other: &[u64]) -> f64 {
    let (first, second) = (one.len() as f64, other.len() as f64);
    let all = first + second;
    let mut values: Vec<(u64, bool)> = one.iter().map(|value| (*value, true)).collect();
    values.extend(other.iter().map(|value| (*value, false)));
    values.sort_unstable();
    let (mut below, mut ranks, mut ties) = (0.0, 0.0, 0.0);
    for equal in values.chunk_by(|(one, _), (other, _)| one == other) {
        let count = equal.len() as f64;
        let of_first = equal.iter().filter(|(_, is_first)| *is_first).count() as f64;
        ranks += of_first * (below + (count + 1.0) / 2.0);
        ties += count.powi(3) - count;
        below += count;
    }
    let variance = first * second / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let surplus = ranks - first * (all + 1.0) / 2.0;
    if surplus == 0.0 { 0.0 } else { surplus / variance.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::super::Lot;
    use super::*;

    fn noise(count: usize, longer: u64) -> Vec<u64> {
        let mut lot = Lot::new();
        let mut one = || lot.bytes::<8>().unwrap().into_iter().map(u64::from).sum::<u64>() + longer;
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn the_score_is_that_of_the_textbook() {
        // By hand: the three 2 share the ranks 2, 3 and 4.
        let (one, other) = ([1, 2, 2, 5], [2, 3, 4, 6]);
        let ranks = 1.0 + 3.0 + 3.0 + 7.0;
        let variance = 16.0 / 12.0 * (9.0 - 24.0 / 56.0_f64);
        assert!((score(&one, &other) - (ranks - 18.0) / variance.sqrt()).abs() < 1e-12);
        assert!((score(&one, &other) + score(&other, &one)).abs() < 1e-12);
        assert_eq!(score(&[7; 9], &[7; 9]), 0.0);
    }

    #[test]
    fn one_distribution_has_no_score_and_a_shift_has() {
        // One in ten million such samples is further off.
        assert!(score(&noise(10_000, 0), &noise(10_000, 0)).abs() < 5.5);
        assert!(score(&noise(10_000, 40), &noise(10_000, 0)) > 8.0);
    }
}
