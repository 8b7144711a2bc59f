//! When the state file was written: the next server counts the time since then as time away.
//!
//! A wall clock is set, at times by hours, while a server is started anew. As long as the machine
//! was not, the time since its start says how long that took; only else it is the wall clock.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::driver::sys;

/// What all clocks said at one time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Moment {
    /// By the wall clock.
    pub since_1970_ms: u64,
    /// `None` where the kernel does not tell it.
    pub since_boot: Option<SinceBoot>,
}

/// How long a machine had been running.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SinceBoot {
    /// Another one for each start of each machine.
    boot_id: String,
    ms: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Moment {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { since_1970_ms: milliseconds(since_1970), since_boot: SinceBoot::now() }
    }

    /// How long it is from an earlier one to this one: no time where a clock has gone backwards.
    pub fn since(&self, earlier: &Moment) -> Duration {
        let by_boot = match (&self.since_boot, &earlier.since_boot) {
            (Some(now), Some(then)) if now.boot_id == then.boot_id => now.ms.checked_sub(then.ms),
            _ => None,
        };
        let by_wall = || self.since_1970_ms.saturating_sub(earlier.since_1970_ms);
        Duration::from_millis(by_boot.unwrap_or_else(by_wall))
    }
}

impl SinceBoot {
    fn now() -> Option<SinceBoot> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let ms = milliseconds(sys::time_since_boot().ok()?);
        Some(SinceBoot { boot_id: boot_id.trim().to_owned(), ms })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn moment(since_1970_ms: u64, since_boot: Option<(&str, u64)>) -> Moment {
        let since_boot = since_boot.map(|(id, ms)| SinceBoot { boot_id: id.to_owned(), ms });
        Moment { since_1970_ms, since_boot }
    }

    #[test]
    fn m66_a_wall_clock_that_jumps_counts_only_where_the_machine_was_started_anew() {
        let written = moment(100 * HOUR_MS, Some(("a", 5_000)));
        for (now, away_ms) in [
            (moment(100 * HOUR_MS + 300, Some(("a", 5_300))), 300),
            (moment(98 * HOUR_MS, Some(("a", 5_300))), 300),
            (moment(124 * HOUR_MS, Some(("a", 5_300))), 300),
            (moment(0, Some(("a", 5_300))), 300),
            (moment(u64::MAX, Some(("a", 5_300))), 300),
            // Another machine, or the same after a start.
            (moment(100 * HOUR_MS + 300, Some(("b", 9_000))), 300),
            (moment(98 * HOUR_MS, Some(("b", 9_000))), 0),
            (moment(124 * HOUR_MS, None), 24 * HOUR_MS),
            // A container with a clock of its own.
            (moment(100 * HOUR_MS + 300, Some(("a", 4_000))), 300),
            (moment(0, Some(("a", 4_000))), 0),
        ] {
            assert_eq!(now.since(&written), Duration::from_millis(away_ms), "{now:?}");
        }
    }

    #[test]
    fn m66_a_moment_knows_the_start_of_the_machine() {
        let (one, other) = (Moment::now(), Moment::now());
        let (one, other) = (one.since_boot.unwrap(), other.since_boot.unwrap());
        assert_eq!((one.boot_id.len(), &one.boot_id), (36, &other.boot_id));
        assert!(one.ms > 0 && one.ms <= other.ms);
    }
}
