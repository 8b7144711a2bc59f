//! How often something may happen: token buckets.

use super::clock::Time;

/// How often something may happen: so many times at once, and then so many in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once, by one who was quiet before.
    pub burst: u32,
    /// In a second, for as long as one likes.
    pub per_second: u32,
}

/// How far the clocks of those who share an allowance may be apart: an hour.
const CLOCKS_APART_MS: u32 = 3_600_000;

/// A token bucket in eight bytes.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    tokens: u32,
    refilled_ms: u32,
}

impl Allowance {
    /// A whole burst.
    pub fn full(burst: u32, now: Time) -> Allowance {
        Allowance { tokens: burst, refilled_ms: millis(now) }
    }

    /// Takes a token; `false` when there is none.
    pub fn take(&mut self, rate: Rate, now: Time) -> bool {
        self.take_some(1, rate, now)
    }

    /// Takes so many tokens, or as many as there are; `false` when there were not enough.
    pub fn take_some(&mut self, count: u32, rate: Rate, now: Time) -> bool {
        self.refill(rate, now);
        let has_enough = self.tokens >= count;
        self.tokens = self.tokens.saturating_sub(count);
        has_enough
    }

    /// Whether nothing was taken for so long that it is as a new one.
    pub fn is_full(&mut self, rate: Rate, now: Time) -> bool {
        self.refill(rate, now);
        self.tokens >= rate.burst
    }

    fn refill(&mut self, rate: Rate, now: Time) {
        let elapsed_ms = millis(now).wrapping_sub(self.refilled_ms);
        // Shards, which may share one, do not agree on the time to the millisecond.
        if elapsed_ms > u32::MAX - CLOCKS_APART_MS {
            return;
        }
        let gained = u64::from(elapsed_ms) * u64::from(rate.per_second) / 1000;
        if gained > 0 {
            let tokens = u64::from(self.tokens) + gained;
            self.tokens = u32::try_from(tokens).unwrap_or(u32::MAX).min(rate.burst);
            self.refilled_ms = millis(now);
        }
    }
}

/// Milliseconds, wrapping every 49 days: only differences count.
fn millis(now: Time) -> u32 {
    (now.as_micros() / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 200, per_second: 100 };

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn m30_a_burst_and_then_a_rate() {
        let mut allowance = Allowance::full(RATE.burst, at(0));
        assert!((0..200).all(|_| allowance.take(RATE, at(5))));
        assert!(!allowance.take(RATE, at(5)));
        assert_eq!((0..5).filter(|_| allowance.take(RATE, at(25))).count(), 2);
        assert_eq!((0..500).filter(|_| allowance.take(RATE, at(60_000))).count(), 200);
    }

    #[test]
    fn a_clock_that_is_behind_another_one_gains_nothing() {
        let mut allowance = Allowance::full(RATE.burst, at(60_000));
        assert!(allowance.take_some(200, RATE, at(60_000)) && !allowance.take(RATE, at(1_000)));
        assert!(!allowance.take(RATE, at(60_005)) && allowance.take(RATE, at(60_010)));
    }

    #[test]
    fn several_tokens_are_taken_at_once_and_one_who_waits_has_them_all_again() {
        let mut allowance = Allowance::full(RATE.burst, at(0));
        assert!(allowance.take_some(150, RATE, at(0)) && !allowance.take_some(60, RATE, at(0)));
        assert!(!allowance.is_full(RATE, at(1_990)) && allowance.is_full(RATE, at(2_000)));
    }
}
