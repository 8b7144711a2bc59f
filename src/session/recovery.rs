//! What a client may have missed while it was away (protocol.md §15).
//!
//! Every shard logs the events that it was told of, in its own order, which is the order in which
//! its sockets were sent them. Where two shards have events of several emitters in different
//! orders, what each has seen of whom says which of them a socket that changes its shard was sent.

mod image;
mod state_file;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Time;
use crate::base::frame::Wire;
use crate::base::offset::{Emitter, Offset};

pub use image::{CourseImage, LogImage, level};
pub use state_file::StateFile;

/// `connectionStateRecovery`: how clients that were away for a while have their id, their rooms,
/// their data and the events that they have missed back.
///
/// They are kept in memory, within [`Limits`](crate::Limits): `recovery_log_bytes`,
/// `recovery_log_events`, `recovery_sessions`, `recovery_resumed_events`. A server that is started
/// anew knows nobody, unless there is a [`StateFile`]. Volatile events, and those that ask for an
/// acknowledgement, are not sent again. Who has left a namespace, or was disconnected from it, does
/// not come back.
///
/// ```
/// use std::time::Duration;
///
/// use fanfare::{ConnectionStateRecovery, Server};
///
/// let builder = Server::builder().connection_state_recovery(ConnectionStateRecovery {
///     max_disconnection_duration: Duration::from_secs(30),
///     ..ConnectionStateRecovery::default()
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStateRecovery {
    /// `maxDisconnectionDuration`: how long they may be away. Default: 2 minutes.
    pub max_disconnection_duration: Duration,
    /// `skipMiddlewares`: whether the middlewares of the namespace are not asked once more.
    /// Default: true.
    pub skip_middlewares: bool,
    /// Keeps it over a restart of the server, too. Default: none.
    pub state_file: Option<StateFile>,
}

impl Default for ConnectionStateRecovery {
    fn default() -> Self {
        ConnectionStateRecovery {
            max_disconnection_duration: Duration::from_secs(120),
            skip_middlewares: true,
            state_file: None,
        }
    }
}

/// What one entry of the log takes besides the bytes of its event.
const ENTRY_BYTES: usize = 128;

/// How long events stay in a log, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Older ones are forgotten.
    pub age: Duration,
    /// The oldest are forgotten beyond this many bytes.
    pub bytes: usize,
    /// The oldest are forgotten beyond this many events.
    pub events: usize,
}

/// One event that can be sent again.
#[derive(Clone, Debug)]
pub struct Missed {
    /// Its name.
    pub offset: Offset,
    /// The packet, which ends with the offset.
    pub wire: Arc<Wire>,
}

/// One event in a log. `S` says whom it was for.
#[derive(Debug)]
struct Entry<S> {
    event: Missed,
    scope: S,
    logged_at: Time,
}

/// The latest event of each emitter to many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen(Vec<u64>);

impl Seen {
    fn note(&mut self, offset: Offset) {
        let Emitter::ToMany(number) = offset.emitter() else { return };
        let number = usize::from(number);
        if self.0.len() <= number {
            self.0.resize(number + 1, 0);
        }
        self.0[number] = self.0[number].max(offset.sequence());
    }

    fn of(&self, number: usize) -> u64 {
        self.0.get(number).copied().unwrap_or(0)
    }

    /// Whether it has an event, or later ones of its emitter. Of those to one socket it knows none.
    pub fn has(&self, offset: Offset) -> bool {
        match offset.emitter() {
            Emitter::ToMany(number) => offset.sequence() <= self.of(usize::from(number)),
            Emitter::ToOne(_) => false,
        }
    }

    /// Whether it has everything that the other one has.
    pub fn covers(&self, other: &Seen) -> bool {
        (0..other.0.len()).all(|number| other.of(number) <= self.of(number))
    }

    /// How many events it has that the other one has not, if emitters lose none.
    fn beyond(&self, other: &Seen) -> u64 {
        (0..self.0.len()).map(|number| self.of(number).saturating_sub(other.of(number))).sum()
    }
}

/// The events of one shard, in its order.
#[derive(Debug)]
pub struct Log<S> {
    entries: VecDeque<Entry<S>>,
    /// Position of the first entry among all that there ever were.
    first: u64,
    bytes: usize,
    seen: Seen,
    /// Of those that were forgotten.
    forgotten: Seen,
    forgotten_until: Option<Time>,
}

impl<S> Default for Log<S> {
    fn default() -> Self {
        Log {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            seen: Seen::default(),
            forgotten: Seen::default(),
            forgotten_until: None,
        }
    }
}

impl<S> Log<S> {
    /// Adds an event.
    pub fn push(&mut self, event: Missed, scope: S, now: Time, retention: &Retention) {
        self.seen.note(event.offset);
        self.bytes += charge(&event);
        self.entries.push_back(Entry { event, scope, logged_at: now });
        while self.entries.len() > retention.events || self.bytes > retention.bytes {
            self.forget();
        }
        self.expire(now, retention);
    }

    /// Forgets what is too old. Gives when the next event will be.
    pub fn expire(&mut self, now: Time, retention: &Retention) -> Option<Time> {
        loop {
            let due = self.entries.front()?.logged_at.after(retention.age);
            if due > now {
                return Some(due);
            }
            self.forget();
        }
    }

    fn forget(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= charge(&entry.event);
        self.first += 1;
        self.forgotten.note(entry.event.offset);
        self.forgotten_until = Some(entry.logged_at);
    }

    /// Where the next event will stand.
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What it was told of.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether there may have been such an event: of those to one socket nobody keeps account.
    fn may_have_been(&self, offset: Offset) -> bool {
        matches!(offset.emitter(), Emitter::ToOne(_)) || self.seen.has(offset)
    }

    /// Where an event stands that is not forgotten.
    fn position(&self, offset: Offset) -> Option<u64> {
        let index = self.entries.iter().rposition(|entry| entry.event.offset == offset)?;
        Some(self.first + index as u64)
    }

    /// Events from a position on.
    fn from(&self, position: u64) -> impl Iterator<Item = &Entry<S>> {
        let skipped = position.saturating_sub(self.first);
        self.entries.range(usize::try_from(skipped).unwrap_or(usize::MAX).min(self.entries.len())..)
    }

    /// Whether nothing from a position on was forgotten but what came before a moment.
    fn is_complete(&self, position: u64, moment: Time) -> bool {
        position >= self.first || self.forgotten_until.is_none_or(|until| until < moment)
    }

    /// The events to many that are not among those that another shard has seen, and from a position
    /// on those to one socket, if none of them was forgotten.
    pub fn beyond(
        &self,
        seen: &Seen,
        position: u64,
        mut concerns: impl FnMut(&S) -> bool,
    ) -> Option<Vec<Missed>> {
        if !seen.covers(&self.forgotten) || position < self.first {
            return None;
        }
        // Those that the other shard has not seen are the latest ones of their emitters.
        let mut left = self.seen.beyond(seen);
        let mut found = Vec::new();
        for (index, entry) in self.entries.iter().enumerate().rev() {
            let is_late = self.first + index as u64 >= position;
            if left == 0 && !is_late {
                break;
            }
            let offset = entry.event.offset;
            let is_beyond = match offset.emitter() {
                Emitter::ToMany(_) => !seen.has(offset),
                Emitter::ToOne(_) => is_late,
            };
            left -= u64::from(is_beyond && matches!(offset.emitter(), Emitter::ToMany(_)));
            if is_beyond && concerns(&entry.scope) {
                found.push(entry.event.clone());
            }
        }
        found.reverse();
        Some(found)
    }
}

fn charge(event: &Missed) -> usize {
    event.wire.bytes().len() + ENTRY_BYTES
}

/// Which events one socket was sent: those that it had missed when it came back, and then those of
/// its shard's log that concern it.
#[derive(Debug, Default)]
pub struct Course {
    carried: Vec<Missed>,
    since: u64,
    /// Whether some were forgotten that it may not have received.
    is_broken: bool,
}

impl Course {
    /// That of a socket which joins now, and was sent these events first.
    pub fn begin<S>(log: &Log<S>, carried: Vec<Missed>) -> Course {
        Course { carried, since: log.end(), is_broken: false }
    }

    /// How many events it holds besides those of the log.
    pub fn carried(&self) -> usize {
        self.carried.len()
    }

    /// Forgets these events, which the client has received if it has answered a ping since.
    pub fn forget_carried(&mut self, is_received: bool) {
        self.is_broken |= !is_received && !self.carried.is_empty();
        self.carried = Vec::new();
    }

    /// What the client has not received, if that is known for certain. `received` is the last event
    /// it has received, if any; what it was sent before `heard_at` has reached it.
    pub fn missed<S>(
        &self,
        log: &Log<S>,
        received: Option<Offset>,
        heard_at: Time,
        mut concerns: impl FnMut(&S) -> bool,
    ) -> Option<Vec<Missed>> {
        let carried = received
            .and_then(|offset| self.carried.iter().rposition(|event| event.offset == offset));
        let logged = received.and_then(|offset| log.position(offset));
        let (carried, from) = match (carried, logged.filter(|&position| position >= self.since)) {
            (Some(index), _) => (&self.carried[index + 1..], self.since),
            (None, Some(position)) => (&[][..], position + 1),
            // Nobody was ever sent that.
            (None, None) if received.is_some_and(|offset| !log.may_have_been(offset)) => {
                return None;
            }
            // It has received none of these, or something older than all that is kept.
            (None, None) if !self.is_broken => (&self.carried[..], self.since),
            (None, None) => return None,
        };
        if !log.is_complete(from, heard_at) {
            return None;
        }
        let logged = log.from(from).filter(|entry| concerns(&entry.scope));
        Some(carried.iter().cloned().chain(logged.map(|entry| entry.event.clone())).collect())
    }
}

#[cfg(test)]
mod tests;
