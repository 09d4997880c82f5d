//! What the service counted and measured since its start. Numbers only: what they say of one client is no business of another's.

use super::forms::Listed;
use crate::codec::{Decode, DecodeError, Encode, Reader, Writer, message};
use crate::identity::KeyId;
use crate::mechanism::Mechanism;

message! {
    /// What the service counted since its start.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Counters {
        /// Connections of the signing plane, now.
        connections: u32,
        /// Connections accepted.
        accepted: u64,
        /// Connections and requests refused as busy.
        busy: u64,
        /// Handshakes that failed.
        authentication_failures: u64,
        /// Frames refused.
        malformed: u64,
        /// Deadlines that a peer missed.
        deadlines: u64,
        /// RSA operations, the only ones that wait for a thread.
        queue: Queue,
        /// Connections to the agent, the present one included: one more than it was lost.
        control_connections: u64,
        /// Lines of the service's log that PID 1 did not take in time; what PID 1 drops stands in the log itself.
        log_lines_dropped: u64,
        /// Seconds since the NSM last gave a document; none before the first.
        attestation_age_s: Option<u64>,
        /// The machine's memory.
        memory: Memory,
        /// By mechanism, in the order of their bytes: those that were used.
        mechanisms: Listed<MechanismTimes, 32>,
        /// By key and mechanism, most used first, as far as a frame holds them.
        keys: Listed<KeyCounters, 1024>,
    }
}

message! {
    /// Operations that wait for a thread.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Queue {
        /// That run now.
        running: u32,
        /// That wait now.
        waiting: u32,
        /// The most that waited at once.
        waiting_most: u32,
        /// That were run.
        done: u64,
        /// That found no place to wait. They are among those refused as busy.
        shed: u64,
    }
}

message! {
    /// The machine's memory, in bytes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Memory {
        /// What the kernel says can be had; none where it does not say.
        available: Option<u64>,
        /// What is kept for connections and requests: with less, no key is taken (`MemoryFull`).
        reserved: u64,
    }
}

message! {
    /// How long the signatures of one mechanism took, all keys together. Only those that were made are measured.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct MechanismTimes {
        /// The mechanism.
        mechanism: Mechanism,
        /// Of making the signature alone.
        execution: Histogram,
        /// From the request, whole and decoded, to its reply, written to the socket.
        total: Histogram,
    }
}

/// Times, by how many fell into each of the ranges that [`Histogram::BOUNDS_US`] divides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// How many were above the bound before and not above this one; the last counts those above all bounds. Not cumulative.
    pub counts: [u64; BUCKETS],
    /// The sum of all, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// The upper bounds, in microseconds; each belongs to its range.
    pub const BOUNDS_US: [u64; BUCKETS - 1] = [
        10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000,
    ];

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each bound in microseconds, and how many are not above it. Those above all bounds are missing: [`Histogram::count`] has them.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut sum = 0u64;
        Self::BOUNDS_US.iter().zip(&self.counts).map(move |(bound, count)| {
            sum = sum.saturating_add(*count);
            (*bound, sum)
        })
    }
}

impl Decode for Histogram {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut counts = [0; BUCKETS];
        for count in &mut counts {
            *count = u64::decode(reader)?;
        }
        Ok(Self {
            counts,
            sum_us: u64::decode(reader)?,
        })
    }
}

impl Encode for Histogram {
    fn encode(&self, writer: &mut Writer) {
        self.counts.iter().for_each(|count| count.encode(writer));
        self.sum_us.encode(writer);
    }
}

message! {
    /// What one key did by one mechanism.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct KeyCounters {
        /// The key.
        key: KeyId,
        /// The mechanism.
        mechanism: Mechanism,
        /// Signatures made.
        signed: u64,
        /// Requests that the usage refused.
        refused: u64,
        /// Signatures that failed.
        failed: u64,
    }
}

/// Ranges of a histogram.
const BUCKETS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::limit;

    #[test]
    fn cumulative_counts_leave_out_what_is_above_all_bounds() {
        let mut counts = [0; BUCKETS];
        (counts[0], counts[2], counts[14]) = (1, 2, 4);
        let histogram = Histogram { counts, sum_us: 9 };
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative[..3], [(10, 1), (20, 1), (50, 3)]);
        assert_eq!((cumulative[13], histogram.count()), ((1_000_000, 3), 7));
        assert!(Histogram::BOUNDS_US.is_sorted_by(|one, next| one < next));
    }

    /// The most that a service can say fits one frame of the control plane.
    #[test]
    fn everything_counted_fits_a_frame() {
        let times = |mechanism: &Mechanism| MechanismTimes {
            mechanism: *mechanism,
            execution: Histogram::default(),
            total: Histogram::default(),
        };
        let count = KeyCounters {
            key: KeyId([0; 32]),
            mechanism: Mechanism::Ecdsa,
            signed: 0,
            refused: 0,
            failed: 0,
        };
        let counters = Counters {
            attestation_age_s: Some(0),
            memory: Memory {
                available: Some(0),
                reserved: 0,
            },
            mechanisms: Mechanism::ALL.iter().map(times).collect::<Vec<_>>().try_into().unwrap(),
            keys: vec![count; 1_024].try_into().unwrap(),
            ..Counters::default()
        };
        assert!(counters.to_bytes().len() < limit::CONTROL / 2);
    }
}
