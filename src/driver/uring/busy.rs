//! Which connections are received from by one lasting operation, and which by a poll.
//!
//! A lasting receive costs nothing per arrival, but 864 bytes of the kernel's memory; a poll costs
//! 256, but each arrival takes a second entry into the kernel, for a receive that ends at once. So
//! a connection is *busy* from its beginning, since there is a handshake to come, and a client that
//! comes and goes never pays for a poll. One that says nothing for a while becomes *quiet*; and
//! busy again when its arrivals follow one another.
//!
//! Time is counted in epochs, for which no clock is read but the one that a turn reads anyway. A
//! driver without busy connections is never woken for this.

use super::Uring;
use crate::base::clock::Time;
use crate::base::fit::Fit;
use crate::base::slab::Key;

/// An epoch has 2 to this power microseconds, which is about a second.
const EPOCH_BITS: u32 = 20;

/// A connection is silent when its last arrival is so many epochs ago: one has passed without any.
const SILENT_EPOCHS: u8 = 2;

/// A quiet connection is busy when so many arrivals in a row came before it was silent again. An
/// answer to a heartbeat, or a question and what follows from it, are fewer.
const BUSY_ARRIVALS: u8 = 4;

/// So many busy connections are looked at in a turn, since others wait for its end.
const LOOKS_PER_TURN: usize = 64;

/// Busy connections whose queue keeps its memory.
const BUSY_LEAST: usize = 512;

/// The low bits of the number of an epoch. An old one may pass for a recent one; then a connection
/// is quiet, or busy, a little later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u8);

impl Epoch {
    /// The epoch of a moment.
    pub fn of(time: Time) -> Epoch {
        Epoch((time.as_micros() >> EPOCH_BITS) as u8)
    }

    fn since(self, earlier: Epoch) -> u8 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// How much a connection is used.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Whether it is received from by one lasting operation. Exactly then it is queued.
    busy: bool,
    /// When bytes arrived last.
    last: Epoch,
    /// Arrivals in a row while it is quiet, each before it was silent again.
    row: u8,
}

impl Pace {
    /// A connection begins busy.
    pub fn new(epoch: Epoch) -> Pace {
        Pace { busy: true, last: epoch, row: 0 }
    }

    /// Whether one lasting operation is worth its memory.
    pub fn is_busy(self) -> bool {
        self.busy
    }

    /// Takes note of an arrival, and says whether it makes the connection busy.
    pub fn arrived(&mut self, epoch: Epoch) -> bool {
        let first = epoch.since(self.last) >= SILENT_EPOCHS;
        self.last = epoch;
        if self.busy {
            return false;
        }
        self.row = if first { 1 } else { self.row + 1 };
        self.busy = self.row >= BUSY_ARRIVALS;
        self.busy
    }

    /// Whether it stays busy; if not, it is quiet from now on.
    fn goes_on(&mut self, epoch: Epoch) -> bool {
        if epoch.since(self.last) >= SILENT_EPOCHS {
            (self.busy, self.row) = (false, 0);
        }
        self.busy
    }
}

impl Uring {
    /// Takes note of the time.
    pub(super) fn pass(&mut self, now: Time) {
        self.epoch = Epoch::of(now);
        #[cfg(test)]
        if let Some(epoch) = self.epoch_held {
            self.epoch = epoch;
        }
    }

    /// Queues a connection that is busy from now on.
    pub(super) fn queue_busy(&mut self, key: Key) {
        self.busy.push_back((key, self.epoch));
    }

    /// Looks at busy connections that were not looked at for a while, and makes the silent ones
    /// quiet.
    pub(super) fn look_at_busy(&mut self) {
        for _ in 0..LOOKS_PER_TURN {
            let due = |&&(_, queued): &&(Key, Epoch)| self.epoch.since(queued) >= SILENT_EPOCHS;
            let Some(&(key, _)) = self.busy.front().filter(due) else { break };
            self.busy.pop_front();
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.receive.pace.goes_on(self.epoch) {
                self.queue_busy(key);
            } else {
                self.update_receive(key);
            }
        }
        // The crowd that made it large may be quiet.
        self.busy.fit(BUSY_LEAST);
    }

    /// When the next busy connection should be looked at, as seen from now.
    pub(super) fn next_look(&self, now: Time) -> Option<Time> {
        let &(_, queued) = self.busy.front()?;
        let left = SILENT_EPOCHS.saturating_sub(self.epoch.since(queued));
        let epoch = (now.as_micros() >> EPOCH_BITS) + u64::from(left);
        Some(Time::from_micros(epoch << EPOCH_BITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that has become quiet in that epoch.
    fn quiet(epoch: u8) -> Pace {
        let mut pace = Pace::new(Epoch(epoch.wrapping_sub(SILENT_EPOCHS)));
        assert!(!pace.goes_on(Epoch(epoch)));
        pace
    }

    #[test]
    fn a_connection_is_busy_until_an_epoch_has_passed_without_an_arrival() {
        let mut pace = Pace::new(Epoch(254));
        assert!(pace.is_busy() && pace.goes_on(Epoch(255)));
        assert!(!pace.arrived(Epoch(255)), "it is busy already");
        assert!(pace.goes_on(Epoch(0)) && pace.is_busy());
        assert!(!pace.goes_on(Epoch(1)) && !pace.is_busy());
    }

    #[test]
    fn arrivals_that_follow_one_another_make_a_connection_busy() {
        let mut pace = quiet(255);
        let arrivals = [3, 4, 4, 5].map(|epoch| pace.arrived(Epoch(epoch)));
        assert_eq!(arrivals, [false, false, false, true]);
        assert!(pace.is_busy());
    }

    #[test]
    fn arrivals_with_silence_between_them_do_not() {
        let mut pace = quiet(0);
        for epoch in [2, 3, 4, 6, 6, 7, 9, 11, 13, 15, 16] {
            assert!(!pace.arrived(Epoch(epoch)), "{epoch}");
        }
    }

    #[test]
    fn an_epoch_is_about_a_second() {
        let epoch = |micros| Epoch::of(Time::from_micros(micros));
        assert_eq!(epoch(0), epoch(1_000_000));
        assert_eq!(epoch(5_300_000).since(epoch(3_000_000)), 3);
        assert_eq!(epoch(1 << 28), epoch(0), "only the low bits count");
    }
}
