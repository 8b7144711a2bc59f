//! How long a broadcast takes until it has reached the last client of the shard. One at a time is
//! measured, so that it costs nothing for each recipient.
//!
//! ```text
//! emitted ─▶ its batch is in the queues of all ─▶ each connection with something queued by then
//!                                                 was flushed once ─▶ the turn ends
//! ```
//! A client for whom the kernel had no room is behind: it is not waited for.

use std::time::Duration;

use crate::base::clock::Time;

use super::batch::BatchTally;

/// Takes the time of a broadcast, if it was started for one.
#[derive(Debug, Default)]
pub struct Stopwatch(Option<Running>);

#[derive(Debug)]
struct Running {
    begun: Time,
    /// The batches before that of the broadcast.
    before: BatchTally,
    /// Connections that are still to be flushed, once it is in all queues.
    left: Option<usize>,
}

impl Stopwatch {
    /// Whether it may be started.
    pub fn is_free(&self) -> bool {
        self.0.is_none()
    }

    /// A broadcast that has begun then is in the batch behind these.
    pub fn starts(&mut self, begun: Option<Time>, before: BatchTally) {
        self.0 = begun.map(|begun| Running { begun, before, left: None });
    }

    /// This has become of batches by now, and so many connections are to be flushed.
    pub fn queued(&mut self, batches: BatchTally, dirty: usize) {
        let Some(running) = &mut self.0 else { return };
        if running.left.is_some() || batches.queued == running.before.queued {
            return;
        }
        running.left = Some(dirty);
        if batches.recipients == running.before.recipients {
            // It was for nobody here.
            self.0 = None;
        }
    }

    /// So many connections were flushed, those first that were to be first.
    pub fn flushed(&mut self, connections: usize) {
        if let Some(Running { left: Some(left), .. }) = &mut self.0 {
            *left = left.saturating_sub(connections);
        }
    }

    /// The turn ends. Gives how long the broadcast took, if it is over.
    pub fn stops(&mut self, now: Time) -> Option<Duration> {
        let running = self.0.take_if(|running| running.left == Some(0))?;
        Some(now.since(running.begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    fn tally(queued: u64, recipients: u64) -> BatchTally {
        BatchTally { queued, recipients }
    }

    #[test]
    fn a_broadcast_is_over_when_all_that_was_queued_with_it_was_flushed() {
        let mut watch = Stopwatch::default();
        watch.starts(Some(at(100)), tally(7, 70));
        watch.queued(tally(7, 70), 900);
        watch.flushed(512);
        assert_eq!(watch.stops(at(200)), None, "its batch still waits for some");
        watch.queued(tally(8, 1_070), 600);
        watch.flushed(512);
        assert_eq!(watch.stops(at(300)), None);
        assert!(!watch.is_free());
        watch.queued(tally(9, 2_070), 5_000);
        watch.flushed(512);
        assert_eq!(watch.stops(at(400)), Some(Duration::from_micros(300)));
        assert!(watch.is_free() && watch.stops(at(500)).is_none());
    }

    #[test]
    fn a_broadcast_for_nobody_is_not_measured() {
        let mut watch = Stopwatch::default();
        watch.starts(Some(at(100)), tally(0, 0));
        watch.queued(tally(1, 0), 0);
        watch.flushed(0);
        assert!(watch.stops(at(200)).is_none() && watch.is_free());
    }
}
