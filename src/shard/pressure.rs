//! Memory that runs short: what is done while there still is some.
//!
//! ```text
//! 80 % of what may be used ─▶ who is new is told to come back (503), and at once who has no
//!                             session and more of a request kept than its share
//! 90 %                     ─▶ nobody is accepted; who is not served is disconnected, and those for
//!                             whom most is kept, a second apart; and at once whoever has more
//!                             kept than its share and adds to it
//! ```
//! What is done at once is what holds: clients that ask for more than there is are faster than any
//! look. A share is what each may have of a small part, so that it does not matter how many they
//! are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::base::limits::Limits;
use crate::command::Command;
use crate::driver::memory::MemoryGauge;
use crate::error::{Error, Result};
use crate::proto::http::Fault;

use super::log;
use super::shared::Shared;
use super::state::State;

/// What new clients are told meanwhile.
pub(super) const SHORT_OF_MEMORY: Fault =
    Fault { status: 503, message: "The server is short of memory" };

/// Between two looks, while there is much.
const INTERVAL: Duration = Duration::from_millis(100);

/// The same from [`WATCH_PERCENT`] on: from there to [`CUT_PERCENT`] a fast network takes a moment.
const INTERVAL_CLOSE: Duration = Duration::from_millis(10);

/// From where it is looked at closely.
const WATCH_PERCENT: u64 = 50;

/// Allocators and the kernel take a moment with what is given back.
const BETWEEN_CUTS: Duration = Duration::from_secs(1);

/// The same from [`LAST_PERCENT`] on, where it is better to give up too many.
const BETWEEN_LAST_CUTS: Duration = Duration::from_millis(100);

/// A shortage is over for the log when there has been none for so long.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// From where nobody new is let in.
const SHED_PERCENT: u64 = 80;

/// From where clients are disconnected, until it would be [`SHED_PERCENT`].
const CUT_PERCENT: u64 = 90;

/// From where the next moment may be too late.
const LAST_PERCENT: u64 = 95;

/// What everybody's shares are, together. Who keeps no more than one is not worth disconnecting.
const SHARES_PERCENT: u64 = 5;

/// One share, where there are few clients.
const SHARE_BYTES_MAX: usize = 64 * 1024;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Shortage {
    /// There is enough.
    #[default]
    None,
    /// Nobody new is to be let in.
    High,
    /// What there is goes to those who keep little.
    Critical,
}

/// Whether the memory of the process runs short.
#[derive(Debug)]
pub struct Pressure {
    shortage: AtomicU8,
    share: AtomicUsize,
}

impl Default for Pressure {
    fn default() -> Pressure {
        Pressure { shortage: AtomicU8::default(), share: AtomicUsize::new(SHARE_BYTES_MAX) }
    }
}

impl Pressure {
    /// Whether nobody new is to be let in.
    pub fn is_high(&self) -> bool {
        self.shortage.load(Ordering::Relaxed) >= Shortage::High as u8
    }

    /// Whether nobody may add to much.
    pub fn is_critical(&self) -> bool {
        self.shortage.load(Ordering::Relaxed) == Shortage::Critical as u8
    }

    /// What may be kept for one client while memory runs short.
    pub fn share(&self) -> usize {
        self.share.load(Ordering::Relaxed)
    }

    /// Says how short it is.
    pub fn set(&self, shortage: Shortage) {
        self.shortage.store(shortage as u8, Ordering::Relaxed);
    }

    /// Says how many share how much.
    pub fn divide(&self, limit_bytes: u64, clients: usize) {
        self.share.store(share_of(limit_bytes, clients), Ordering::Relaxed);
    }
}

fn share_of(limit_bytes: u64, clients: usize) -> usize {
    let shares = usize::try_from(limit_bytes / 100 * SHARES_PERCENT).unwrap_or(usize::MAX);
    (shares / clients.max(1)).min(SHARE_BYTES_MAX)
}

/// How much may wait for a client in a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Beyond it the client is disconnected.
    pub queued_bytes: usize,
    /// The same, of what it has not taken when it could: beyond it the client lags.
    pub left_bytes: usize,
}

impl Patience {
    /// While there is enough memory.
    pub fn of(limits: &Limits) -> Patience {
        let left_bytes = limits.send_queue_soft_bytes;
        Patience { queued_bytes: limits.send_queue_bytes, left_bytes }
    }

    /// While there is hardly any.
    fn with_share(self, share: usize) -> Patience {
        Patience {
            // What is sent at once does not wait: a client that reads is no burden.
            queued_bytes: self.queued_bytes.min(SHARE_BYTES_MAX),
            left_bytes: self.left_bytes.min(share),
        }
    }
}

/// What a look at the memory leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finding {
    shortage: Shortage,
    /// What is to be given up.
    excess_bytes: u64,
    /// When to look again.
    interval: Duration,
    /// When to give up more at the earliest.
    between_cuts: Duration,
}

impl Finding {
    fn of(used_bytes: u64, limit_bytes: u64) -> Finding {
        let share = |percent| limit_bytes / 100 * percent;
        let (shortage, excess_bytes) = match used_bytes {
            used if used >= share(CUT_PERCENT) => (Shortage::Critical, used - share(SHED_PERCENT)),
            used if used >= share(SHED_PERCENT) => (Shortage::High, 0),
            _ => (Shortage::None, 0),
        };
        let is_close = used_bytes >= share(WATCH_PERCENT);
        let interval = if is_close { INTERVAL_CLOSE } else { INTERVAL };
        let is_last = used_bytes >= share(LAST_PERCENT);
        let between_cuts = if is_last { BETWEEN_LAST_CUTS } else { BETWEEN_CUTS };
        Finding { shortage, excess_bytes, interval, between_cuts }
    }
}

/// What is logged of shortages. Clients can have what is used come and go around a limit, many
/// times a second: all of that is one shortage.
#[derive(Debug, Default)]
struct Spell {
    is_told: bool,
    /// When memory was short for the last time.
    latest: Option<Instant>,
}

impl Spell {
    /// Whether memory runs short, if that is news.
    fn follow(&mut self, shortage: Shortage, now: Instant) -> Option<bool> {
        if shortage >= Shortage::High {
            self.latest = Some(now);
        }
        let is_short = self.latest.is_some_and(|latest| now - latest < OVER_AFTER);
        let is_news = is_short != std::mem::replace(&mut self.is_told, is_short);
        is_news.then_some(is_short)
    }
}

/// The thread that watches the memory of the process, until it is dropped.
#[derive(Debug)]
pub struct MemoryWatch {
    /// Dropped to end the thread, which sleeps on the other end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Watches what a gauge tells.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(shared: &Arc<Shared>, gauge: MemoryGauge) -> Result<MemoryWatch> {
        log::memory_is_watched(gauge.limit_bytes());
        let (stop, stopped) = channel();
        let shared = Arc::clone(shared);
        let watch = move || {
            let mut cut: Option<Instant> = None;
            let mut spell = Spell::default();
            let mut interval = INTERVAL;
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                // Without an answer nothing is known to be wrong.
                let used = gauge.used_bytes().unwrap_or(0);
                let finding = Finding::of(used, gauge.limit_bytes());
                interval = finding.interval;
                shared.pressure.divide(gauge.limit_bytes(), clients(&shared));
                shared.pressure.set(finding.shortage);
                if let Some(is_short) = spell.follow(finding.shortage, Instant::now()) {
                    log::memory(is_short, used, gauge.limit_bytes());
                }
                let is_due = cut.is_none_or(|cut| cut.elapsed() >= finding.between_cuts);
                if finding.excess_bytes > 0 && is_due {
                    cut = Some(Instant::now());
                    relieve(&shared, finding.excess_bytes);
                }
            }
        };
        let thread = thread::Builder::new().name("fanfare-memory".to_owned()).spawn(watch);
        Ok(MemoryWatch { stop: Some(stop), thread: Some(thread.map_err(Error::Thread)?) })
    }
}

/// How many there are: most have a session and a connection.
fn clients(shared: &Shared) -> usize {
    let sessions = shared.posts().iter().map(|post| post.clients.load(Ordering::Relaxed)).sum();
    shared.places.taken().max(sessions)
}

/// Asks each shard for its part.
pub fn relieve(shared: &Shared, excess_bytes: u64) {
    let shards = shared.posts().len().max(1);
    let part = usize::try_from(excess_bytes).unwrap_or(usize::MAX) / shards;
    for post in shared.posts() {
        // One whose mailbox is full is asked again in a second.
        let _ = post.mailbox.post(Command::Relieve(part));
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop = None;
        // It only looks: it has nothing to report.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

impl State {
    /// Looks how much may wait for a client in this turn.
    pub(super) fn follow_pressure(&mut self) {
        let patience = Patience::of(&self.shared.settings.options.limits);
        self.patience = match self.shared.pressure.is_critical() {
            true => patience.with_share(self.shared.pressure.share()),
            false => patience,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m53_first_nobody_new_is_let_in_and_then_what_is_kept_is_given_up() {
        let finding = |used| {
            let finding = Finding::of(used, 1_000);
            (finding.shortage, finding.excess_bytes, finding.interval)
        };
        assert_eq!(finding(499), (Shortage::None, 0, INTERVAL));
        assert_eq!(finding(799), (Shortage::None, 0, INTERVAL_CLOSE));
        assert_eq!(finding(800), (Shortage::High, 0, INTERVAL_CLOSE));
        assert_eq!(finding(899), (Shortage::High, 0, INTERVAL_CLOSE));
        assert_eq!(finding(900), (Shortage::Critical, 100, INTERVAL_CLOSE));
        assert_eq!(finding(1_200), (Shortage::Critical, 400, INTERVAL_CLOSE));
    }

    #[test]
    fn m53_the_shares_of_all_are_a_small_part_however_many_they_are() {
        assert_eq!(share_of(1 << 30, 10), SHARE_BYTES_MAX);
        for clients in [12_000, 1_000_000] {
            let all = share_of(256 << 20, clients) * clients;
            assert!(all <= (256 << 20) / 20, "{all} bytes for {clients}");
        }
        assert_eq!(share_of(0, 0), 0);
    }

    #[test]
    fn m53_close_to_the_end_it_is_not_waited_until_what_was_given_up_is_free() {
        assert_eq!(Finding::of(949, 1_000).between_cuts, BETWEEN_CUTS);
        assert_eq!(Finding::of(950, 1_000).between_cuts, BETWEEN_LAST_CUTS);
    }

    #[test]
    fn m71_memory_that_comes_and_goes_around_a_limit_fills_no_log() {
        let start = Instant::now();
        let mut spell = Spell::default();
        let mut follow = |ms, shortage| spell.follow(shortage, start + Duration::from_millis(ms));
        assert_eq!(follow(0, Shortage::None), None);
        assert_eq!(follow(10, Shortage::High), Some(true));
        for ms in (20..60_000).step_by(20) {
            assert_eq!(follow(ms, Shortage::None), None);
            assert_eq!(follow(ms + 10, Shortage::Critical), None);
        }
        assert_eq!(follow(60_989, Shortage::None), None);
        assert_eq!(follow(60_990, Shortage::None), Some(false));
        assert_eq!(follow(60_991, Shortage::None), None);
        assert_eq!(follow(60_992, Shortage::High), Some(true));
    }
}
