//! Memory that runs short: what is done while there still is some.
//!
//! ```text
//! 80 % of what may be used ─▶ who is new is told to come back (503)
//! 90 %                     ─▶ those for whom most is kept are disconnected, a second apart;
//!                             and at once whoever has more kept than is worthwhile and adds to it
//! ```
//! The last rule is what holds: clients that ask for more than there is are faster than any look.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
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

use super::conn::{Conn, Role};
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

/// A shortage is over for the log when there has been none for so long.
const OVER_AFTER: Duration = Duration::from_secs(1);

/// From where nobody new is let in.
const SHED_PERCENT: u64 = 80;

/// From where clients are disconnected, until it would be [`SHED_PERCENT`].
const CUT_PERCENT: u64 = 90;

/// Who has less kept is not worth disconnecting.
const WORTHWHILE_BYTES: usize = 64 * 1024;

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
#[derive(Debug, Default)]
pub struct Pressure(AtomicU8);

impl Pressure {
    /// Whether nobody new is to be let in.
    pub fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Shortage::High as u8
    }

    /// Whether nobody may add to much.
    pub fn is_critical(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Shortage::Critical as u8
    }

    /// Says so.
    pub fn set(&self, shortage: Shortage) {
        self.0.store(shortage as u8, Ordering::Relaxed);
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
        Finding { shortage, excess_bytes, interval }
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
                shared.pressure.set(finding.shortage);
                if let Some(is_short) = spell.follow(finding.shortage, Instant::now()) {
                    log::memory(is_short, used, gauge.limit_bytes());
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

/// Who has something kept.
#[derive(Clone, Copy)]
enum Keeper {
    Session(Key),
    /// A connection with a request that is coming, or an answer that is not taken.
    Request(Key),
}

impl State {
    /// Looks how much may wait for a client in this turn.
    pub(super) fn follow_pressure(&mut self) {
        let most = self.shared.settings.options.limits.send_queue_bytes;
        let is_critical = self.shared.pressure.is_critical();
        self.send_queue_bytes = if is_critical { most.min(WORTHWHILE_BYTES) } else { most };
    }

    /// Disconnects those for whom most is kept, until so many bytes were kept for them.
    pub(super) fn relieve(&mut self, bytes: usize) {
        self.queue_batch();
        let sessions = self.sessions.iter().map(|(key, _)| (self.kept(key), Keeper::Session(key)));
        let requests = self.connections.iter().filter_map(|(key, conn)| match &conn.role {
            Role::WebSocket(_) => None,
            _ => Some((conn.queue.charge() + conn.received_bytes(), Keeper::Request(key))),
        });
        let mut all: Vec<(usize, Keeper)> =
            sessions.chain(requests).filter(|(kept, _)| *kept >= WORTHWHILE_BYTES).collect();
        all.sort_unstable_by_key(|(kept, _)| std::cmp::Reverse(*kept));
        let mut freed = 0;
        for (kept, keeper) in all {
            if freed >= bytes {
                return;
            }
            freed += kept;
            self.give_up(keeper);
        }
    }

    /// Disconnects a client that adds to what is kept for it while memory is critically short.
    pub(super) fn relieve_of(&mut self, session: Key) {
        self.give_up(Keeper::Session(session));
    }

    /// Something has come on a connection while memory is critically short.
    pub(super) fn received_in_need(&mut self, key: Key) {
        let conn = self.connections.get(key);
        let received = conn.map_or(0, Conn::received_bytes) + self.surplus.bytes(key);
        match self.carried_by(key) {
            Some(session) if received + self.assembled(session) > WORTHWHILE_BYTES => {
                self.give_up(Keeper::Session(session));
            }
            None if received > WORTHWHILE_BYTES => self.give_up(Keeper::Request(key)),
            _ => {}
        }
    }

    fn give_up(&mut self, keeper: Keeper) {
        self.stats.clients_relieved += 1;
        self.because(Cause::limit(DisconnectLimit::Memory), |state| match keeper {
            Keeper::Session(session) => {
                state.cut_off(session, DisconnectReason::TransportError);
            }
            Keeper::Request(connection) => state.connection_ended(connection),
        });
    }

    /// What is kept for a session, or of what has come on it.
    fn kept(&self, session: Key) -> usize {
        let websocket = self.sessions.get(session).and_then(|entry| entry.session.websocket());
        let received = websocket.map_or(0, |key| {
            let conn = self.connections.get(key);
            conn.map_or(0, Conn::received_bytes) + self.surplus.bytes(key)
        });
        self.charge(session) + self.assembled(session) + received
    }

    fn assembled(&self, session: Key) -> usize {
        let entry = self.sessions.get(session);
        let assembly = entry.and_then(|entry| entry.session.assembly.as_ref());
        assembly.map_or(0, |assembly| assembly.held_bytes())
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
