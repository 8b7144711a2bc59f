//! Those who have gone and may come back.

use std::sync::{Arc, Mutex};

use crate::base::clock::Time;
use crate::base::id::PrivateId;
use crate::base::offset::Offset;
use crate::base::slab::Key;
use crate::command::{Recover, Returning, SharedData, SocketAddress};
use crate::proto::socket::DisconnectReason;
use crate::room::Target;
use crate::session::departure::Cause;
use crate::session::recovery::{Course, Missed};
use crate::shard::shared::ExpiredSession;
use crate::shard::state::{Job, SocketPhase, State};

use super::{Member, Pending};

/// A socket that may come back.
pub(super) struct Stored {
    pub kept: Kept,
    /// When it went.
    pub gone_at: Time,
    pub expires_at: Time,
}

/// What is kept of it.
pub(in crate::shard) struct Kept {
    pub address: SocketAddress,
    pub rooms: Vec<Target>,
    pub data: SharedData,
    pub moves: u32,
    pub course: Course,
}

impl State {
    /// Keeps a socket that goes for a reason that may have been an accident; forgets one for which
    /// there is no way back.
    pub(in crate::shard) fn keep_or_forget(&mut self, key: Key, reason: DisconnectReason) {
        let Some(address) = self.address(key) else { return };
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let Some(extra) = socket.extra.as_mut() else { return };
        let Some(mut recoverable) = extra.recovery.take() else { return };
        let pid = recoverable.pid;
        if !is_recoverable(reason) {
            extra.recovery = Some(recoverable);
            return self.shared.moved.remove(address, &pid);
        }
        let of_application = extra.data.take();
        let data = recoverable.data.get_or_insert_with(|| Arc::new(Mutex::new(of_application)));
        let data = Arc::clone(data);
        let (course, pending) =
            (std::mem::take(&mut recoverable.course), recoverable.pending.take());
        let moves = recoverable.moves;
        extra.recovery = Some(recoverable);
        let rooms = self.joined_rooms(key);
        let course = match pending {
            None => Some(course),
            Some(pending) => self.course_of(address, &rooms, pending),
        };
        match course {
            Some(course) => self.store(pid, Kept { address, rooms, data, moves, course }),
            None => self.shared.moved.remove(address, &pid),
        }
    }

    pub(super) fn joined_rooms(&self, key: Key) -> Vec<Target> {
        self.room_names(key).map(Target::from).collect()
    }

    /// That of a socket that comes back and has gone again before it was accepted: it has received
    /// nothing of what it is due.
    pub(super) fn course_of(
        &self,
        address: SocketAddress,
        rooms: &[Target],
        pending: Pending,
    ) -> Option<Course> {
        let carried = self.due(address, rooms, pending)?;
        Some(Course::begin(&self.recovery.as_ref()?.log, carried))
    }

    /// Keeps a socket for as long as it may come back.
    pub(super) fn store(&mut self, pid: PrivateId, kept: Kept) {
        let Some(options) = self.recovery_options() else { return };
        let expires_at = self.now.after(options.max_disconnection_duration);
        self.store_until(pid, kept, expires_at);
    }

    /// Keeps a socket until a moment that is not before that of any other.
    pub(super) fn store_until(&mut self, pid: PrivateId, kept: Kept, expires_at: Time) {
        let address = kept.address;
        let limit = self.shared.settings.options.limits.recovery_sessions;
        while self.recovery.as_ref().is_some_and(|recovery| recovery.stored.len() >= limit.max(1)) {
            self.expire_first();
        }
        // Its namespace stays as long as it may come back to it.
        if let Some(space) = self.namespaces.get_mut(address.namespace) {
            space.definition.enter();
            space.held += 1;
        }
        let Some(recovery) = &mut self.recovery else { return };
        let stored = Stored { kept, gone_at: self.now, expires_at };
        recovery.stored_nonces.insert(address.nonce, pid);
        recovery.stored.insert(pid, stored);
        recovery.expiries.push_back((expires_at, pid));
        self.arm_recovery();
    }

    /// Forgets those who have been away for too long.
    pub(super) fn expire_sessions(&mut self) {
        let now = self.now;
        while let Some(recovery) = &self.recovery
            && recovery.expiries.front().is_some_and(|(due, _)| *due <= now)
        {
            self.expire_first();
        }
    }

    fn expire_first(&mut self) {
        let Some(recovery) = &mut self.recovery else { return };
        let Some((due, pid)) = recovery.expiries.pop_front() else { return };
        // It may have come back, and gone again, since.
        let is_meant = |stored: &Stored| stored.expires_at == due;
        if !recovery.stored.get(&pid).is_some_and(is_meant) {
            return;
        }
        let Some(stored) = self.unstore(&pid) else { return };
        self.stats.sessions_expired += 1;
        let Kept { address, rooms, data, .. } = stored.kept;
        self.shared.moved.remove(address, &pid);
        let space = self.namespaces.get(address.namespace);
        let namespace = space.map(|space| space.definition.name.clone()).unwrap_or_default();
        let expired = ExpiredSession { id: address.id(), namespace, rooms };
        self.release_namespace(address.namespace);
        self.jobs.push_back(Job::SessionExpired(expired));
        self.jobs.push_back(Job::Drop(Box::new(data)));
    }

    fn unstore(&mut self, pid: &PrivateId) -> Option<Stored> {
        let recovery = self.recovery.as_mut()?;
        let stored = recovery.stored.remove(pid)?;
        recovery.stored_nonces.remove(&stored.kept.address.nonce);
        Some(stored)
    }

    /// A client asks for a socket of this shard. One that is still there, with a connection that
    /// the client has given up, goes first; its handlers are told.
    pub(in crate::shard) fn recover(&mut self, request: Box<Recover>) {
        if let Some(session) = self.lingering(&request) {
            self.because(Cause::NETWORK, |state| {
                state.cut_off(session, DisconnectReason::TransportClose);
            });
        }
        self.jobs.push_back(Job::Recover(request));
    }

    /// The session of a socket that is still there.
    fn lingering(&self, request: &Recover) -> Option<Key> {
        let adopted = self.recovery.as_ref()?.adopted_pids.get(&request.pid).copied();
        let key = adopted.or_else(|| self.sockets.key_at(request.pid.index()))?;
        let socket = self.sockets.get(key)?;
        let is_there = matches!(socket.phase, SocketPhase::Connecting | SocketPhase::Connected);
        let is_meant = socket.namespace == request.namespace
            && socket.pid().is_some_and(|pid| pid.matches(&request.pid));
        (is_there && is_meant).then_some(socket.session)
    }

    /// Gives the socket that a client asks for away, if what it has missed is known for certain.
    pub(super) fn give_away(&mut self, request: &Recover) -> Option<Returning> {
        let missed = self.missed_by(&request.pid, request.namespace, request.offset)?;
        let Kept { address, rooms, data, moves, .. } = self.unstore(&request.pid)?.kept;
        let seen = self.recovery.as_ref()?.log.seen().clone();
        self.release_namespace(address.namespace);
        let (pid, moves) = (request.pid, moves.saturating_add(1));
        Some(Returning { pid, address, rooms, data, moves, missed, seen })
    }

    fn missed_by(
        &self,
        pid: &PrivateId,
        namespace: u16,
        received: Option<Offset>,
    ) -> Option<Vec<Missed>> {
        let recovery = self.recovery.as_ref()?;
        let stored = recovery.stored.get(pid).filter(|stored| {
            stored.kept.address.namespace == namespace && stored.expires_at > self.now
        })?;
        let Kept { address, rooms, course, .. } = &stored.kept;
        let id = address.id().to_string();
        let member = Member::new(*address, &id, rooms);
        let heard_at = stored.gone_at.before(self.silence());
        let concerns = |scope: &_| member.is_concerned(scope);
        let missed = course.missed(&recovery.log, received, heard_at, concerns)?;
        let bytes: usize = missed.iter().map(|event| event.wire.bytes().len()).sum();
        (bytes <= self.shared.settings.options.limits.send_queue_bytes).then_some(missed)
    }
}

/// Whether a client that went for this reason may come back (protocol.md §15).
fn is_recoverable(reason: DisconnectReason) -> bool {
    match reason {
        DisconnectReason::TransportClose
        | DisconnectReason::TransportError
        | DisconnectReason::PingTimeout
        | DisconnectReason::ForcedClose
        | DisconnectReason::ForcedServerClose
        | DisconnectReason::ServerShuttingDown => true,
        DisconnectReason::ParseError
        | DisconnectReason::ClientNamespaceDisconnect
        | DisconnectReason::ServerNamespaceDisconnect => false,
    }
}
