//! Time as a value: whoever drives a state machine says what time it is.

use std::time::Duration;

/// A moment on the monotonic clock of a driver, in whole microseconds since that driver's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The epoch itself.
    pub const ZERO: Time = Time(0);

    /// The end of time: a deadline that does not come.
    pub const NEVER: Time = Time(u64::MAX);

    /// The moment that lies `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The moment `duration` later; the end of time when that cannot be expressed.
    pub fn after(self, duration: Duration) -> Time {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }

    /// The moment `duration` earlier; the epoch when that comes before it.
    pub fn before(self, duration: Duration) -> Time {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_sub(micros))
    }

    /// How long it is from `earlier` to this moment; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_beyond_the_end_of_time_is_the_end_of_time() {
        let end = Time::from_micros(10).after(Duration::MAX);
        assert_eq!(end, Time::NEVER);
        assert!(end.after(Duration::from_secs(1)) == end);
    }

    #[test]
    fn time_that_ran_backwards_counts_as_no_time() {
        let (early, late) = (Time::from_micros(5), Time::from_micros(9));
        assert_eq!(late.since(early), Duration::from_micros(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
