//! What the processes of a swarm tell each other while they run: a page of shared memory. A swarm
//! of one process uses it the same way.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::plan::PROCESSES_MAX;
use crate::sys::SharedMemory;

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

/// Where things are on the page. Each worker has a line of the cache to itself.
const STAGE: usize = 0;
const BEGIN: usize = 1;
const END: usize = 2;
const PUBLISHED: usize = 3;
const COMPLETED: usize = 4;
const LINE: usize = 8;
const WORKERS: usize = LINE;
const ARRIVED: usize = WORKERS + PROCESSES_MAX * LINE;
const LENGTH: usize = ARRIVED + PUBLISHES_MAX;

pub struct Page(SharedMemory);

/// What one process says of itself.
pub struct Worker<'a> {
    /// Clients that are connected.
    pub live: &'a AtomicU64,
    /// Deliveries since its start.
    pub deliveries: &'a AtomicU64,
    pub latency_p50_ns: &'a AtomicU64,
    pub latency_p99_ns: &'a AtomicU64,
    /// The stage (plus one) in which nothing is under way; 0 while something is.
    settled: &'a AtomicU64,
}

impl Worker<'_> {
    pub fn set_settled(&self, stage: Stage, is_settled: bool) {
        self.settled.store(if is_settled { stage as u64 + 1 } else { 0 }, Release);
    }

    /// Whether it said so at this stage; what it said at an earlier one does not count.
    pub fn is_settled(&self, stage: Stage) -> bool {
        self.settled.load(Acquire) == stage as u64 + 1
    }
}

impl Page {
    pub fn new() -> io::Result<Page> {
        SharedMemory::new(LENGTH).map(Page)
    }

    pub fn stage(&self) -> Stage {
        STAGES[self.0[STAGE].load(Acquire) as usize]
    }

    pub fn set_stage(&self, stage: Stage) {
        self.0[STAGE].store(stage as u64, Release);
    }

    /// When what is measured begins and ends; set before the stage that it belongs to.
    pub fn set_begin(&self, now_ns: u64) {
        self.0[BEGIN].store(now_ns, Relaxed);
    }

    pub fn set_end(&self, now_ns: u64) {
        self.0[END].store(now_ns, Relaxed);
    }

    pub fn begin_ns(&self) -> u64 {
        self.0[BEGIN].load(Relaxed)
    }

    pub fn end_ns(&self) -> u64 {
        self.0[END].load(Relaxed)
    }

    pub fn worker(&self, worker: usize) -> Worker<'_> {
        let [live, deliveries, latency_p50_ns, latency_p99_ns, settled, ..] =
            &self.0[WORKERS + worker * LINE..]
        else {
            unreachable!("workers are followed by the publishes")
        };
        Worker { live, deliveries, latency_p50_ns, latency_p99_ns, settled }
    }

    /// How many publishes to everybody there are.
    pub fn published(&self) -> u32 {
        self.0[PUBLISHED].load(Acquire) as u32
    }

    /// How many of them have not arrived everywhere.
    pub fn under_way(&self) -> usize {
        (self.0[PUBLISHED].load(Relaxed) - self.0[COMPLETED].load(Acquire)) as usize
    }

    /// A publish begins: its number, unless too many are under way. One process alone publishes.
    pub fn publish(&self) -> Option<u32> {
        if self.under_way() >= PUBLISHES_MAX {
            return None;
        }
        let sequence = self.published();
        self.arrivals(sequence).store(0, Relaxed);
        self.0[PUBLISHED].store(u64::from(sequence) + 1, Release);
        Some(sequence)
    }

    /// A publish has arrived at all clients of one of so many workers. Whether it was the last.
    pub fn arrived(&self, sequence: u32, workers: usize) -> bool {
        let before = self.arrivals(sequence).fetch_add(1, Acquire);
        let is_last = before as usize + 1 == workers;
        if is_last {
            self.0[COMPLETED].fetch_add(1, Release);
        }
        is_last
    }

    /// For a publish under way, how many workers' clients have it all.
    fn arrivals(&self, sequence: u32) -> &AtomicU64 {
        &self.0[ARRIVED + sequence as usize % PUBLISHES_MAX]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_over_when_all_workers_have_it() {
        let page = Page::new().unwrap();
        assert_eq!((page.publish(), page.publish()), (Some(0), Some(1)));
        assert!(!page.arrived(1, 2));
        assert_eq!(page.under_way(), 2);
        assert!(page.arrived(1, 2));
        assert_eq!((page.under_way(), page.published()), (1, 2));
    }

    #[test]
    fn no_more_can_be_under_way_than_there_is_room_for() {
        let page = Page::new().unwrap();
        for _ in 0..PUBLISHES_MAX {
            assert!(page.publish().is_some());
        }
        assert_eq!(page.publish(), None);
        page.arrived(0, 1);
        assert_eq!(page.publish(), Some(PUBLISHES_MAX as u32));
    }

    #[test]
    fn a_word_of_an_earlier_stage_does_not_count() {
        let page = Page::new().unwrap();
        let worker = page.worker(PROCESSES_MAX - 1);
        worker.set_settled(Stage::Measure, true);
        assert!(worker.is_settled(Stage::Measure) && !worker.is_settled(Stage::Drain));
        worker.set_settled(Stage::Measure, false);
        assert!(!worker.is_settled(Stage::Measure));
    }

    #[test]
    fn stages_follow_each_other() {
        let page = Page::new().unwrap();
        assert_eq!(page.stage(), Stage::Connect);
        for stage in STAGES {
            page.set_stage(stage);
            assert_eq!(page.stage(), stage);
        }
    }
}
