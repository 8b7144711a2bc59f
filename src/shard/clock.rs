//! The time of a shard: that of its driver, less what the shard itself has stood still.
//!
//! While a handler blocks, or the process is stopped, clients go on answering, and nobody reads it.
//! No deadline of theirs may pass meanwhile, and here none does: beyond a tenth of a second in
//! which it was not at work on what is due, time stands still for the shard. Only what the *server*
//! owes goes by the clock on the wall: sessions are told how long it was, so that their pings leave
//! at once ([`Session::resumed`](crate::session::Session::resumed)).

use std::time::Duration;

use crate::base::clock::Time;
use crate::base::stats::Stats;

/// What a turn may take, and how late it may begin, without time standing still.
const PATIENCE: Duration = Duration::from_millis(100);

/// When that much was forgiven since they were last told, sessions are told: a shard that stands
/// still a little in every turn does not look at all of them each time.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The clock of one shard.
#[derive(Debug, Default)]
pub struct Clock {
    /// How far it is behind the driver's.
    stalled: Duration,
    /// What of that sessions were not told.
    untold: Duration,
    /// When the driver was to give the turn back; its time, as all of these.
    expected: Time,
    /// When it did.
    began: Time,
    /// When the latest turn ended.
    ended: Time,
}

impl Clock {
    /// The time of the shard at a time of the driver.
    pub fn at(&self, driver: Time) -> Time {
        driver.before(self.stalled)
    }

    /// When it will be that time, by the driver.
    pub fn by_driver(&self, due: Time) -> Time {
        due.after(self.stalled)
    }

    /// The shard begins to work. What was before is no time in which it stood still.
    pub fn starts(&mut self, driver: Time) {
        self.ended = driver;
    }

    /// The shard waits, until then at most.
    pub fn waits(&mut self, until: Option<Time>) {
        self.expected = until.map_or(Time::NEVER, |until| until.max(self.ended));
    }

    /// It is at work again. Gives its time.
    pub fn woke(&mut self, driver: Time, stats: &mut Stats) -> Time {
        self.began = driver;
        self.forgive(driver.since(self.expected), stats);
        self.at(driver)
    }

    /// A turn has ended. Gives how long it took.
    pub fn ends(&mut self, driver: Time, stats: &mut Stats) -> Duration {
        self.ended = driver;
        let took = driver.since(self.began);
        stats.turn_longest_us = stats.turn_longest_us.max(micros(took));
        self.forgive(took, stats);
        took
    }

    fn forgive(&mut self, idle: Duration, stats: &mut Stats) {
        let stall = idle.saturating_sub(PATIENCE);
        if stall.is_zero() {
            return;
        }
        stats.stalls += 1;
        stats.stalled_us += micros(stall);
        self.stalled += stall;
        self.untold += stall;
    }

    /// How long it has stood still, when sessions are to be told.
    pub fn tell(&mut self) -> Option<Duration> {
        (self.untold >= WORTH_TELLING).then(|| std::mem::take(&mut self.untold))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    /// A clock after one turn, whose wait was to end, and ended, and whose work ended then.
    fn turn(until: Option<u64>, woke: u64, ends: u64) -> (Clock, Stats) {
        let (mut clock, mut stats) = (Clock::default(), Stats::default());
        clock.waits(until.map(at));
        clock.woke(at(woke), &mut stats);
        clock.ends(at(ends), &mut stats);
        (clock, stats)
    }

    #[test]
    fn a_turn_that_is_in_time_and_short_stops_no_clock() {
        for (until, woke, ends) in
            [(Some(50), 50, 60), (Some(50), 150, 250), (None, 90_000, 90_100)]
        {
            let (clock, stats) = turn(until, woke, ends);
            assert_eq!(clock.at(at(ends)), at(ends));
            assert_eq!((stats.stalls, stats.stalled_us), (0, 0));
            assert_eq!(stats.turn_longest_us, (ends - woke) * 1000);
        }
    }

    #[test]
    fn a_shard_that_begins_long_after_its_process_has_not_stood_still() {
        let (mut clock, mut stats) = (Clock::default(), Stats::default());
        clock.starts(at(60_000));
        clock.waits(Some(Time::ZERO));
        assert_eq!(clock.woke(at(60_010), &mut stats), at(60_010));
        assert_eq!(stats.stalls, 0);
    }

    #[test]
    fn m60_what_a_turn_takes_beyond_a_tenth_of_a_second_is_no_time() {
        let (mut clock, stats) = turn(Some(50), 50, 5_150);
        assert_eq!(clock.at(at(5_150)), at(150));
        assert_eq!((stats.stalls, stats.stalled_us), (1, 5_000_000));
        assert_eq!(clock.by_driver(at(1_000)), at(6_000));
        assert_eq!(clock.tell(), Some(Duration::from_secs(5)));
        assert_eq!(clock.tell(), None, "they are told once");
    }

    #[test]
    fn m66_what_a_turn_begins_too_late_is_no_time() {
        let (clock, stats) = turn(Some(2_000), 62_100, 62_100);
        assert_eq!(clock.at(at(62_100)), at(2_100));
        assert_eq!((stats.stalls, stats.turn_longest_us), (1, 0));
    }

    #[test]
    fn a_wait_that_was_over_before_it_began_is_late_from_its_beginning() {
        let (mut clock, mut stats) = turn(Some(0), 40, 1_000_000);
        let before = clock.at(at(1_000_000));
        clock.waits(Some(Time::ZERO));
        assert_eq!(clock.woke(at(1_000_050), &mut stats), before.after(Duration::from_millis(50)));
    }

    #[test]
    fn many_short_stalls_are_told_together() {
        let (mut clock, mut stats) = (Clock::default(), Stats::default());
        let mut told = Vec::new();
        for millis in (1..=9).map(|turn| turn * 250) {
            clock.waits(Some(Time::ZERO));
            clock.woke(at(millis), &mut stats);
            clock.ends(at(millis), &mut stats);
            told.extend(clock.tell());
        }
        assert_eq!(told, [Duration::from_millis(1_050)]);
        assert_eq!(stats.stalls, 9);
    }
}
