//! What the processes of a swarm tell each other while they run: a page of shared memory. A swarm
//! of one process uses it the same way.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::plan::PROCESSES_MAX;
use crate::sys::Shareable;

/// How far a run is. Whoever conducts moves it on, the workers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Clients connect.
    Connect,
    /// All have; nothing is said, so that memory can be read.
    Settle,
    /// As if measured.
    Warmup,
    /// Measured.
    Measure,
    /// Nothing new is begun; what is under way arrives.
    Drain,
    /// Over.
    Done,
}

const STAGES: [Stage; 6] =
    [Stage::Connect, Stage::Settle, Stage::Warmup, Stage::Measure, Stage::Drain, Stage::Done];

/// Publishes to everybody that can be under way at the same time.
pub const PUBLISHES_MAX: usize = 1 << 16;

/// What one process says of itself.
#[derive(Default)]
pub struct Worker {
    /// Clients that are connected.
    pub live: AtomicU32,
    /// The stage (plus one) in which nothing is under way; 0 while something is.
    settled: AtomicU32,
    /// Deliveries since its start.
    pub deliveries: AtomicU64,
    pub latency_p50_ns: AtomicU64,
    pub latency_p99_ns: AtomicU64,
}

impl Worker {
    pub fn set_settled(&self, stage: Stage, is_settled: bool) {
        self.settled.store(if is_settled { stage as u32 + 1 } else { 0 }, Release);
    }

    /// Whether it said so at this stage; what it said at an earlier one does not count.
    pub fn is_settled(&self, stage: Stage) -> bool {
        self.settled.load(Acquire) == stage as u32 + 1
    }
}

#[repr(C)]
pub struct Page {
    stage: AtomicU32,
    begin_ns: AtomicU64,
    end_ns: AtomicU64,
    pub workers: [Worker; PROCESSES_MAX],
    /// How many publishes to everybody were begun, and how many have arrived everywhere.
    published: AtomicU32,
    completed: AtomicU32,
    /// For each publish under way, how many workers' clients have it all.
    arrived: [AtomicU32; PUBLISHES_MAX],
}

// SAFETY: every field is an atomic integer or an array or struct of them, and zero is a value of
// an atomic integer.
unsafe impl Shareable for Page {}

impl Page {
    pub fn stage(&self) -> Stage {
        STAGES[self.stage.load(Acquire) as usize]
    }

    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u32, Release);
    }

    /// When what is measured begins and ends; set before the stage that it belongs to.
    pub fn set_begin(&self, now_ns: u64) {
        self.begin_ns.store(now_ns, Relaxed);
    }

    pub fn set_end(&self, now_ns: u64) {
        self.end_ns.store(now_ns, Relaxed);
    }

    pub fn begin_ns(&self) -> u64 {
        self.begin_ns.load(Relaxed)
    }

    pub fn end_ns(&self) -> u64 {
        self.end_ns.load(Relaxed)
    }

    /// How many publishes to everybody there are.
    pub fn published(&self) -> u32 {
        self.published.load(Acquire)
    }

    /// How many of them have not arrived everywhere.
    pub fn under_way(&self) -> usize {
        self.published.load(Relaxed).wrapping_sub(self.completed.load(Acquire)) as usize
    }

    /// A publish begins: its number, unless too many are under way. One process alone publishes.
    pub fn publish(&self) -> Option<u32> {
        if self.under_way() >= PUBLISHES_MAX {
            return None;
        }
        let sequence = self.published.load(Relaxed);
        self.arrived[sequence as usize % PUBLISHES_MAX].store(0, Relaxed);
        self.published.store(sequence + 1, Release);
        Some(sequence)
    }

    /// A publish has arrived at all clients of one of so many workers. Whether it was the last.
    pub fn arrived(&self, sequence: u32, workers: usize) -> bool {
        let before = self.arrived[sequence as usize % PUBLISHES_MAX].fetch_add(1, Acquire);
        let is_last = before as usize + 1 == workers;
        if is_last {
            self.completed.fetch_add(1, Release);
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Shared;

    #[test]
    fn a_publish_is_over_when_all_workers_have_it() {
        let page: Shared<Page> = Shared::new().unwrap();
        assert_eq!((page.publish(), page.publish()), (Some(0), Some(1)));
        assert!(!page.arrived(1, 2));
        assert_eq!(page.under_way(), 2);
        assert!(page.arrived(1, 2));
        assert_eq!((page.under_way(), page.published()), (1, 2));
    }

    #[test]
    fn no_more_can_be_under_way_than_there_is_room_for() {
        let page: Shared<Page> = Shared::new().unwrap();
        for _ in 0..PUBLISHES_MAX {
            assert!(page.publish().is_some());
        }
        assert_eq!(page.publish(), None);
        page.arrived(0, 1);
        assert_eq!(page.publish(), Some(PUBLISHES_MAX as u32));
    }

    #[test]
    fn a_word_of_an_earlier_stage_does_not_count() {
        let worker = Worker::default();
        worker.set_settled(Stage::Measure, true);
        assert!(worker.is_settled(Stage::Measure) && !worker.is_settled(Stage::Drain));
        worker.set_settled(Stage::Measure, false);
        assert!(!worker.is_settled(Stage::Measure));
    }

    #[test]
    fn stages_follow_each_other() {
        let page: Shared<Page> = Shared::new().unwrap();
        assert_eq!(page.stage(), Stage::Connect);
        for stage in STAGES {
            page.set_stage(stage);
            assert_eq!(page.stage(), stage);
        }
    }
}
