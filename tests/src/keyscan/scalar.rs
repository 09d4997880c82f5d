//! Elliptic curves: a window d of memory with d·G = Q is the private scalar of the public key Q.
//!
//! A multiplication a window would be far too slow, so windows share their work. Write S(i) for the sum of b(k)·256^-k·G
//! over the bytes b(k) before i. The big-endian window at i then is 256^(31+i) · (S(i+32) − S(i)) for a 32-byte scalar,
//! so it is Q exactly if S(i+32) − S(i) = 256^-(31+i)·Q. The right side does not depend on the memory, and one table
//! lookup and one addition lead from S(i) to S(i+1): two additions and a comparison a window. Little-endian windows are
//! big-endian windows of the reversed bytes.
//!
//! A window is taken modulo the group order, which only adds encodings of the same scalar.

use std::ops::Range;

use p256::elliptic_curve::group::Group;
use p256::elliptic_curve::{CurveArithmetic, CurveGroup, Field};

use super::{Found, Order, WindowSearch, windows};

/// Looks for the private scalars of several public keys on the curve `C`.
pub(super) struct ScalarSearch<C: CurveArithmetic> {
    /// Length of a scalar in bytes.
    len: usize,
    /// `steps[256 * k + b]` is b·256^-k·G.
    steps: Vec<C::AffinePoint>,
    /// The index of the key, and 256^-(len-1+i)·Q for each position i of a window in its piece.
    keys: Vec<(usize, Vec<C::AffinePoint>)>,
}

impl<C: CurveArithmetic> ScalarSearch<C> {
    /// A search for scalars of `len` bytes. Builds the table, which is some megabytes and some tens of milliseconds.
    pub(super) fn new(len: usize) -> Self {
        let mut points = Vec::with_capacity((PIECE + len) * 256);
        for unit in positions::<C>(C::ProjectivePoint::generator()).take(PIECE + len - 1) {
            let mut multiple = C::ProjectivePoint::identity();
            for _ in 0..256 {
                points.push(multiple);
                multiple += unit;
            }
        }
        Self {
            len,
            steps: normalise::<C>(&points),
            keys: Vec::new(),
        }
    }

    /// Adds the public key with this index.
    pub(super) fn add(&mut self, key: usize, public: C::ProjectivePoint) {
        let wanted: Vec<_> = positions::<C>(public).skip(self.len - 1).take(PIECE).collect();
        self.keys.push((key, normalise::<C>(&wanted)));
    }
}

impl<C: CurveArithmetic> WindowSearch for ScalarSearch<C> {
    fn window_len(&self) -> usize {
        self.len
    }

    fn search(&self, bytes: &[u8], found: &mut Vec<Found>) {
        self.search_big_endian(bytes, |key, offset| {
            found.push(Found {
                key,
                component: "scalar",
                order: Order::Big,
                offset,
            });
        });
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        self.search_big_endian(&reversed, |key, from_end| {
            let offset = bytes.len() - self.len - from_end;
            found.push(Found {
                key,
                component: "scalar",
                order: Order::Little,
                offset,
            });
        });
    }
}

impl<C: CurveArithmetic> ScalarSearch<C> {
    fn search_big_endian(&self, bytes: &[u8], mut found: impl FnMut(usize, usize)) {
        let mut sums = Vec::with_capacity(PIECE + self.len);
        for run in windows::join(windows::runs(bytes, self.len), MAX_GAP) {
            for piece in pieces(run) {
                self.sum_up(&bytes[piece.start..piece.end + self.len - 1], &mut sums);
                let windows: Vec<_> = sums[self.len..]
                    .iter()
                    .zip(&sums)
                    .map(|(end, begin)| *end - *begin)
                    .collect();
                for (position, window) in normalise::<C>(&windows).into_iter().enumerate() {
                    for (key, _) in self.keys.iter().filter(|(_, wanted)| window == wanted[position]) {
                        found(*key, piece.start + position);
                    }
                }
            }
        }
    }

    /// S(0), S(1), … of these bytes.
    fn sum_up(&self, bytes: &[u8], sums: &mut Vec<C::ProjectivePoint>) {
        let mut sum = C::ProjectivePoint::identity();
        sums.clear();
        sums.push(sum);
        for (byte, steps) in bytes.iter().zip(self.steps.chunks_exact(256)) {
            sum += steps[usize::from(*byte)];
            sums.push(sum);
        }
    }
}

/// `point`, 256^-1·`point`, 256^-2·`point`, …
fn positions<C: CurveArithmetic>(point: C::ProjectivePoint) -> impl Iterator<Item = C::ProjectivePoint> {
    // The order is a prime above 256, so there is an inverse.
    let shift = C::Scalar::from(256_u64).invert().unwrap_or(C::Scalar::ONE);
    std::iter::successors(Some(point), move |last| Some(*last * shift))
}

fn normalise<C: CurveArithmetic>(points: &[C::ProjectivePoint]) -> Vec<C::AffinePoint> {
    let mut affine = vec![C::AffinePoint::default(); points.len()];
    C::ProjectivePoint::batch_normalize(points, &mut affine);
    affine
}

fn pieces(run: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = run.end;
    run.step_by(PIECE).map(move |start| start..end.min(start + PIECE))
}

/// Windows whose sums are computed together. More of them need a larger table, fewer repeat more additions: a piece
/// begins with as many as a scalar has bytes.
const PIECE: usize = 128;

/// A new run costs about 31 additions, a window two.
const MAX_GAP: usize = 15;

#[cfg(test)]
mod tests {
    use p256::NistP256;
    use p384::NistP384;
    use p521::NistP521;

    use super::*;
    use crate::keyscan::testkeys;

    fn search<C: CurveArithmetic>(public: C::ProjectivePoint, len: usize, bytes: &[u8]) -> Vec<(Order, usize)> {
        let mut search = ScalarSearch::<C>::new(len);
        search.add(3, public);
        let mut found = Vec::new();
        search.search(bytes, &mut found);
        assert!(found.iter().all(|hit| hit.key == 3 && hit.component == "scalar"));
        found.into_iter().map(|hit| (hit.order, hit.offset)).collect()
    }

    fn planted(scalar: &[u8], places: &[(Order, usize)]) -> Vec<u8> {
        let mut bytes = testkeys::noise(1500);
        for (order, offset) in places {
            bytes[*offset..*offset + scalar.len()].copy_from_slice(&order.of(scalar));
        }
        bytes
    }

    #[test]
    fn p256_scalars_are_found_in_both_orders_at_odd_offsets_and_across_pieces() {
        let scalar = testkeys::scalar(testkeys::p256_pem());
        let point = p256::SecretKey::from_slice(&scalar)
            .unwrap()
            .public_key()
            .to_projective();
        // 128 is where the second piece begins, 1468 the last window of all.
        let places = [
            (Order::Big, 101),
            (Order::Big, 801),
            (Order::Big, 1468),
            (Order::Little, 333),
            (Order::Little, 1),
        ];
        let mut found = search::<NistP256>(point, 32, &planted(&scalar, &places));
        found.sort();
        let mut places = places.to_vec();
        places.sort();
        assert_eq!(found, places);
    }

    #[test]
    fn noise_and_a_damaged_scalar_are_nothing() {
        let scalar = testkeys::scalar(testkeys::p256_pem());
        let point = p256::SecretKey::from_slice(&scalar)
            .unwrap()
            .public_key()
            .to_projective();
        let mut damaged = scalar;
        damaged[31] ^= 1;
        let bytes = planted(&damaged, &[(Order::Big, 77), (Order::Little, 777)]);
        assert_eq!(search::<NistP256>(point, 32, &bytes), []);
    }

    #[test]
    fn larger_curves() {
        let places = [(Order::Big, 101), (Order::Little, 999)];
        let scalar = testkeys::scalar(testkeys::p384_pem());
        let point = p384::SecretKey::from_slice(&scalar)
            .unwrap()
            .public_key()
            .to_projective();
        assert_eq!(search::<NistP384>(point, 48, &planted(&scalar, &places)), places);
        let scalar = testkeys::scalar(testkeys::p521_pem());
        let point = p521::SecretKey::from_slice(&scalar)
            .unwrap()
            .public_key()
            .to_projective();
        assert_eq!(search::<NistP521>(point, 66, &planted(&scalar, &places)), places);
    }

    #[test]
    fn pieces_cover_a_run() {
        assert_eq!(pieces(5..300).collect::<Vec<_>>(), [5..133, 133..261, 261..300]);
    }
}
