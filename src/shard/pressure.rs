//! Memory that runs short: what is done while there still is some.
//!
//! ```text
//! 80 % of what may be used ─▶ who is new is told to come back (503)
//! 90 %                     ─▶ those for whom most is queued are disconnected, a second apart
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::base::slab::Key;
use crate::command::Command;
use crate::driver::memory::MemoryGauge;
use crate::error::{Error, Result};
use crate::proto::http::Fault;
use crate::proto::socket::DisconnectReason;
use crate::session::departure::{Cause, DisconnectLimit};

use super::log;
use super::shared::Shared;
use super::state::State;

/// What new clients are told meanwhile.
pub(super) const SHORT_OF_MEMORY: Fault =
    Fault { status: 503, message: "The server is short of memory" };

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Allocators and the kernel take a moment with what is given back.
const BETWEEN_CUTS: Duration = Duration::from_secs(1);

/// From where nobody new is let in.
const SHED_PERCENT: u64 = 80;

/// From where clients are disconnected, until it would be [`SHED_PERCENT`].
const CUT_PERCENT: u64 = 90;

/// Who has less queued is not worth disconnecting.
const WORTHWHILE_BYTES: usize = 64 * 1024;

/// Whether the memory of the process runs short.
#[derive(Debug, Default)]
pub struct Pressure(AtomicBool);

impl Pressure {
    /// Whether nobody new is to be let in.
    pub fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says so.
    pub fn set(&self, is_high: bool) -> bool {
        self.0.swap(is_high, Ordering::Relaxed)
    }
}

/// What a look at the memory leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Finding {
    is_high: bool,
    /// What is to be given up.
    excess_bytes: u64,
}

impl Finding {
    fn of(used_bytes: u64, limit_bytes: u64) -> Finding {
        let share = |percent| limit_bytes / 100 * percent;
        let excess_bytes = match used_bytes >= share(CUT_PERCENT) {
            true => used_bytes - share(SHED_PERCENT),
            false => 0,
        };
        Finding { is_high: used_bytes >= share(SHED_PERCENT), excess_bytes }
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
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // Without an answer nothing is known to be wrong.
                let used = gauge.used_bytes().unwrap_or(0);
                let finding = Finding::of(used, gauge.limit_bytes());
                if shared.pressure.set(finding.is_high) != finding.is_high {
                    log::memory(finding.is_high, used, gauge.limit_bytes());
                }
                let is_due = cut.is_none_or(|cut| cut.elapsed() >= BETWEEN_CUTS);
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
    /// Disconnects those for whom most is queued, until so many bytes were queued for them.
    pub(super) fn relieve(&mut self, bytes: usize) {
        self.queue_batch();
        let charges = self.sessions.iter().map(|(key, _)| (self.charge(key), key));
        let mut queues: Vec<(usize, Key)> =
            charges.filter(|(charge, _)| *charge >= WORTHWHILE_BYTES).collect();
        queues.sort_unstable_by_key(|(charge, _)| std::cmp::Reverse(*charge));
        let mut freed = 0;
        for (charge, session) in queues {
            if freed >= bytes {
                return;
            }
            freed += charge;
            self.stats.clients_relieved += 1;
            self.because(Cause::limit(DisconnectLimit::Memory), |state| {
                state.cut_off(session, DisconnectReason::TransportError);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m53_first_nobody_new_is_let_in_and_then_queues_are_given_up() {
        let finding = |used| Finding::of(used, 1_000);
        assert_eq!(finding(799), Finding { is_high: false, excess_bytes: 0 });
        assert_eq!(finding(800), Finding { is_high: true, excess_bytes: 0 });
        assert_eq!(finding(899), Finding { is_high: true, excess_bytes: 0 });
        assert_eq!(finding(900), Finding { is_high: true, excess_bytes: 100 });
        assert_eq!(finding(1_200), Finding { is_high: true, excess_bytes: 400 });
    }
}
