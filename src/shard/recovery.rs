//! Connection state recovery (protocol.md §15), as one shard does its part.
//!
//! ```text
//!   connected ──▶ gone, and kept ──▶ expired
//!       ▲               │
//!       │               ▼ asked for by the shard where the client is now
//!   accepted ◀─── arrived there, once that shard has seen as much as this one
//! ```
//!
//! A socket that comes back on another shard keeps its id, which names the old one: the shards look
//! into [`Moved`](super::moved::Moved) for such ids, and the new shard into [`Recovery::adopted`].

mod arrival;
pub mod file;
mod moment;
mod section;
mod store;

use std::any::Any;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::base::clock::Time;
use crate::base::frame::Wire;
use crate::base::id::PrivateId;
use crate::base::offset::{Emitter, Offset};
use crate::base::slab::Key;
use crate::command::{Broadcast, Recover, SharedData, SocketAddress};
use crate::room::{Selection, Target};
use crate::session::recovery::{ConnectionStateRecovery, Course, Log, Missed, Retention, Seen};

use super::state::{Socket, State};
use super::timer::{Armed, Owner};
use arrival::Arrival;
pub(super) use section::{Inheritance, Section};
use store::Stored;

/// Nobody looks more often than this whether something has become too old.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

/// What a shard keeps so that clients can come back.
#[derive(Default)]
pub struct Recovery {
    /// The events that its sockets were sent.
    log: Log<Scope>,
    /// Events to many, and to one, that it has emitted itself.
    to_many: u64,
    to_one: u64,
    /// Its sockets that have come back, by the nonces of their ids.
    adopted: HashMap<u64, Key>,
    adopted_pids: HashMap<PrivateId, Key>,
    /// Those who may come back.
    stored: HashMap<PrivateId, Stored>,
    stored_nonces: HashMap<u64, PrivateId>,
    /// When they may no longer, earliest first.
    expiries: VecDeque<(Time, PrivateId)>,
    /// Those whom another shard has given here, before this one has seen as much.
    arrivals: Vec<Arrival>,
    /// Those who ask for a socket that is on its way here, and until when they wait for it.
    followers: Vec<(Time, Box<Recover>)>,
    /// Sockets that were sent again what they had missed, until they have certainly received it.
    resumed: VecDeque<(Time, Key, usize)>,
    resumed_events: usize,
    armed: Armed,
}

/// Whom an event of the log was for.
#[derive(Clone)]
pub(super) enum Scope {
    Many(Arc<Broadcast>),
    One(u64),
}

/// What a socket has in case that it goes and comes back.
pub struct Recoverable {
    /// With what its client asks for it.
    pub pid: PrivateId,
    /// The address that its handles have, if it has come back.
    pub address: Option<SocketAddress>,
    /// How often it has come back.
    moves: u32,
    /// What it was sent.
    course: Course,
    /// What the application keeps with it, if it has gone or come back.
    pub data: Option<SharedData>,
    /// What it is due when it joins.
    pending: Option<Pending>,
}

/// What a socket that comes back is due.
struct Pending {
    /// What its old shard had in its log for it.
    missed: Vec<Missed>,
    /// What that shard had seen.
    seen: Seen,
    /// Where the log of this shard stood when it arrived.
    position: u64,
}

impl Recoverable {
    /// That of a new socket.
    pub fn new(pid: PrivateId) -> Recoverable {
        let course = Course::default();
        Recoverable { pid, address: None, moves: 0, course, data: None, pending: None }
    }
}

/// A socket as events of the log may concern it.
struct Member<'a> {
    namespace: u16,
    nonce: u64,
    rooms: HashSet<&'a str>,
}

impl<'a> Member<'a> {
    /// `id` is the text of the socket's id, the name of a room of its own.
    fn new(address: SocketAddress, id: &'a str, rooms: &'a [Target]) -> Member<'a> {
        let rooms = rooms.iter().map(|room| &**room).chain([id]).collect();
        Member { namespace: address.namespace, nonce: address.nonce, rooms }
    }

    fn is_concerned(&self, scope: &Scope) -> bool {
        match scope {
            Scope::One(nonce) => *nonce == self.nonce,
            Scope::Many(event) => {
                let Selection { to, except } = &event.selection;
                let is_in = |room: &Target| self.rooms.contains(&**room);
                event.namespace == self.namespace
                    && (to.is_empty() || to.iter().any(is_in))
                    && !except.iter().any(is_in)
            }
        }
    }
}

impl State {
    /// What names the next event that this shard emits, if clients can be sent it again.
    pub fn next_offset(&mut self, to_one: bool) -> Option<Offset> {
        let recovery = self.recovery.as_mut()?;
        let (emitter, count) = match to_one {
            true => (Emitter::ToOne(self.index), &mut recovery.to_one),
            false => (Emitter::ToMany(self.index), &mut recovery.to_many),
        };
        *count += 1;
        Some(Offset::new(emitter, *count))
    }

    /// Logs an event to many.
    pub(super) fn log_broadcast(&mut self, broadcast: &Arc<Broadcast>) {
        let Some(offset) = broadcast.offset else { return };
        let event = Missed { offset, wire: Arc::clone(&broadcast.wire) };
        self.log_event(event, Scope::Many(Arc::clone(broadcast)));
    }

    /// Logs an event to one socket, which need not be there at this moment. Answers whether it may
    /// come back.
    pub(super) fn log_packet(
        &mut self,
        socket: SocketAddress,
        offset: Offset,
        wire: &Arc<Wire>,
    ) -> bool {
        let is_away = self.recovery.as_ref().is_some_and(|recovery| recovery.awaits(socket));
        if is_away || self.socket_key(socket).is_some() {
            let event = Missed { offset, wire: Arc::clone(wire) };
            self.log_event(event, Scope::One(socket.nonce));
        }
        is_away
    }

    fn log_event(&mut self, event: Missed, scope: Scope) {
        let Some(retention) = self.retention() else { return };
        if let Some(recovery) = &mut self.recovery {
            recovery.log.push(event, scope, self.now, &retention);
            self.arm_recovery();
        }
    }

    /// How clients come back, if they may.
    fn recovery_options(&self) -> Option<&ConnectionStateRecovery> {
        self.shared.settings.options.connection_state_recovery.as_ref()
    }

    /// A client that was heard of so long ago has received what it was sent before.
    fn silence(&self) -> std::time::Duration {
        let options = &self.shared.settings.options;
        options.ping_interval + options.ping_timeout
    }

    fn retention(&self) -> Option<Retention> {
        let limits = &self.shared.settings.options.limits;
        Some(Retention {
            age: self.recovery_options()?.max_disconnection_duration + self.silence(),
            bytes: limits.recovery_log_bytes,
            events: limits.recovery_log_events,
        })
    }

    /// The socket of a nonce that has come back on this shard.
    pub(super) fn adopted(&self, nonce: u64) -> Option<Key> {
        self.recovery.as_ref()?.adopted(nonce)
    }

    /// A socket is forgotten.
    pub(super) fn forget_adopted(&mut self, key: Key) {
        let pid = self.sockets.get(key).and_then(Socket::pid);
        if let Some(address) = self.address(key)
            && let Some(recovery) = &mut self.recovery
            && recovery.adopted.get(&address.nonce) == Some(&key)
        {
            recovery.adopted.remove(&address.nonce);
            pid.and_then(|pid| recovery.adopted_pids.remove(&pid));
        }
    }

    fn arm_recovery(&mut self) {
        let Some(recovery) = &mut self.recovery else { return };
        recovery.armed.arm(self.now.after(LOOK_INTERVAL), Owner::Recovery, &mut self.timers);
    }

    /// It is time to look what has become too old.
    pub(super) fn look_after_recovery(&mut self) {
        let (now, retention) = (self.now, self.retention());
        let (Some(recovery), Some(retention)) = (&mut self.recovery, retention) else { return };
        if !recovery.armed.came_up(now, Owner::Recovery, &mut self.timers) {
            return;
        }
        recovery.log.expire(now, &retention);
        let is_due = |(due, ..): &&(Time, Key, usize)| *due <= now;
        let received = recovery.resumed.iter().take_while(is_due).count();
        (0..received).for_each(|_| self.forget_oldest_resumed(true));
        self.expire_sessions();
        self.look_after_arrivals();
        if self.recovery.as_ref().is_some_and(|recovery| !recovery.is_idle()) {
            self.arm_recovery();
        }
    }

    /// Forgets what the socket that came back first was sent then.
    fn forget_oldest_resumed(&mut self, is_received: bool) {
        let Some(recovery) = &mut self.recovery else { return };
        let Some((_, key, count)) = recovery.resumed.pop_front() else { return };
        recovery.resumed_events -= count;
        if let Some(socket) = self.sockets.get_mut(key)
            && let Some(extra) = &mut socket.extra
            && let Some(recoverable) = &mut extra.recovery
        {
            recoverable.course.forget_carried(is_received);
        }
    }

    /// Whether nothing is kept for anybody who might come back.
    pub fn keeps_nothing(&self) -> bool {
        self.recovery.as_ref().is_none_or(|recovery| {
            recovery.is_idle()
                && recovery.stored.is_empty()
                && recovery.stored_nonces.is_empty()
                && recovery.adopted.is_empty()
                && recovery.adopted_pids.is_empty()
                && recovery.resumed_events == 0
        }) && self.shared.moved.len() == 0
    }

    /// Gives away all that may be, or hold, user code.
    pub(super) fn dismantle_recovery(&mut self) -> Option<Box<dyn Any>> {
        self.recovery.take().map(|recovery| recovery as Box<dyn Any>)
    }
}

impl Recovery {
    /// The socket of a nonce that has come back on this shard.
    pub(super) fn adopted(&self, nonce: u64) -> Option<Key> {
        self.adopted.get(&nonce).copied()
    }

    /// Whether a socket that is not there may come back here.
    fn awaits(&self, socket: SocketAddress) -> bool {
        self.stored_nonces.contains_key(&socket.nonce)
            || self.arrivals.iter().any(|arrival| arrival.is_of(socket))
            || self.adopted.contains_key(&socket.nonce)
    }

    fn is_idle(&self) -> bool {
        self.log.is_empty()
            && self.expiries.is_empty()
            && self.arrivals.is_empty()
            && self.followers.is_empty()
            && self.resumed.is_empty()
    }
}
