//! How often something took how long.

use std::time::Duration;

/// The first bucket ends at 2 to this power of microseconds: 16 µs.
const FIRST_POWER: u32 = 4;

/// Each bucket is twice as wide as the one before; what took more than 8.4 s is in the last.
const BUCKETS: usize = 21;

/// Counts of durations, from 16 µs to 8.4 s in steps of a factor of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

impl Histogram {
    /// One more that took so long.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let power = u64::BITS - micros.saturating_sub(1).leading_zeros();
        let place = power.saturating_sub(FIRST_POWER) as usize;
        self.counts[place.min(BUCKETS - 1)] += 1;
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// How many took so many seconds or less, for each bucket but the last, which has no end.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut count = 0;
        self.counts[..BUCKETS - 1].iter().zip(FIRST_POWER..).map(move |(more, power)| {
            count += more;
            ((1u64 << power) as f64 / 1e6, count)
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long all of them took, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_does_not_end_before_it() {
        for (micros, bound) in [
            (0, 0.000_016),
            (16, 0.000_016),
            (17, 0.000_032),
            (32, 0.000_032),
            (33, 0.000_064),
            (1_000_000, 1.048_576),
            (8_388_608, 8.388_608),
        ] {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(micros));
            let first = histogram.cumulative().find(|(_, count)| *count == 1);
            assert_eq!(first, Some((bound, 1)), "{micros}");
            assert_eq!((histogram.count(), histogram.sum_us()), (1, micros));
        }
    }

    #[test]
    fn what_takes_longer_than_every_bucket_is_counted_all_the_same() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_micros(8_388_609));
        histogram.record(Duration::MAX);
        assert!(histogram.cumulative().all(|(_, count)| count == 0));
        assert_eq!((histogram.count(), histogram.sum_us()), (2, u64::MAX));
    }
}
