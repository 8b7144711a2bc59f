//! An open loop: what is due when, whether or not anybody is ready for it.

/// Times at equal distances.
pub struct Schedule {
    interval_ns: f64,
    begin_ns: u64,
    count: u64,
}

impl Schedule {
    pub fn new(rate: f64, begin_ns: u64) -> Schedule {
        Schedule { interval_ns: 1e9 / rate, begin_ns, count: 0 }
    }

    /// The next time; it stays the next one until it is taken.
    pub fn next_ns(&self) -> u64 {
        self.begin_ns + (self.count as f64 * self.interval_ns) as u64
    }

    pub fn take(&mut self) {
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_does_not_drift_and_does_not_skip_what_is_late() {
        let mut schedule = Schedule::new(3.0, 1_000);
        let mut due = Vec::new();
        while schedule.next_ns() <= 2_000_001_000 {
            due.push(schedule.next_ns());
            schedule.take();
        }
        assert_eq!(due.len(), 7);
        assert_eq!((due[0], due[1], due[3]), (1_000, 333_334_333, 1_000_001_000));
    }
}
