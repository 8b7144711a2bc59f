//! Who goes when memory runs short, and what is kept for each: when that is, `pressure.rs` says.

use std::cmp::Reverse;

use crate::base::slab::Key;
use crate::proto::socket::DisconnectReason;
use crate::session::departure::{Cause, DisconnectLimit};

use super::conn::{Conn, Role};
use super::pressure::SHORT_OF_MEMORY;
use super::state::State;

/// What a connection takes on which nobody is served: of the shard, its driver and the kernel.
const CONNECTION_CHARGE: usize = 2 * 1024;

/// Who has something kept.
#[derive(Clone, Copy, Debug)]
enum Keeper {
    Session(Key),
    /// A connection with a request that is coming, or an answer that is not taken.
    Request(Key),
}

/// What the driver keeps for a connection.
type Below<'a> = &'a dyn Fn(Key) -> usize;

impl State {
    /// Disconnects who is not served, and then those for whom most is kept, until so many bytes
    /// were kept for them.
    pub(super) fn relieve(&mut self, bytes: usize, below: Below<'_>) {
        self.queue_batch();
        let unserved = self.connections.iter().filter(|(_, conn)| conn.is_unserved());
        let unserved = unserved.map(|(key, conn)| {
            let kept = self.kept_on(key, conn) + below(key) + CONNECTION_CHARGE;
            (kept, Keeper::Request(key))
        });
        let freed = self.give_up_most(bytes, unserved.collect());
        if freed < bytes {
            let served = self.keepers(below);
            self.give_up_most(bytes - freed, served);
        }
    }

    /// Disconnects a client that adds to what is kept for it while memory is critically short.
    pub(super) fn relieve_of(&mut self, session: Key) {
        self.give_up(Keeper::Session(session));
    }

    /// The same for a connection that carries no session.
    pub(super) fn relieve_of_connection(&mut self, key: Key) {
        self.give_up(Keeper::Request(key));
    }

    /// Something has come on a connection while memory runs short.
    pub(super) fn received_in_need(&mut self, key: Key) {
        let pressure = &self.shared.pressure;
        let (share, is_critical) = (pressure.share(), pressure.is_critical());
        let Some(conn) = self.connections.get(key) else { return };
        let received = conn.received_bytes() + self.surplus.bytes(key);
        match self.carried_by(key) {
            Some(session) if is_critical && received + self.assembled(session) > share => {
                self.give_up(Keeper::Session(session));
            }
            None if received > share && is_critical => self.give_up(Keeper::Request(key)),
            None if received > share && conn.is_unserved() => {
                self.stats.clients_relieved += 1;
                self.refuse_fault(key, SHORT_OF_MEMORY);
            }
            _ => {}
        }
    }

    /// All for whom more than their share is kept, with how much.
    fn keepers(&self, below: Below<'_>) -> Vec<(usize, Keeper)> {
        let share = self.shared.pressure.share();
        let sessions = self.sessions.iter().map(|(key, _)| (key, Keeper::Session(key)));
        let sessions = sessions.map(|(key, keeper)| (self.kept(key, below), keeper));
        let requests = self.connections.iter().filter_map(|(key, conn)| match &conn.role {
            Role::WebSocket(_) if self.carried_by(key).is_some() => None,
            _ => Some((self.kept_on(key, conn) + below(key), Keeper::Request(key))),
        });
        // Packets that were posted and have their turn later.
        let posted = self.backlog.iter();
        let posted = posted.map(|work| (work.body.capacity(), Keeper::Session(work.session)));
        sessions.chain(requests).chain(posted).filter(|(kept, _)| *kept > share).collect()
    }

    /// What is kept for a session, or of what has come for it: all of it.
    fn kept(&self, session: Key, below: Below<'_>) -> usize {
        let Some(entry) = self.sessions.get(session) else { return 0 };
        let carried = match entry.session.websocket() {
            Some(key) => {
                let conn = self.connections.get(key);
                conn.map_or(0, |conn| self.kept_on(key, conn)) + below(key)
            }
            None => entry.session.queue_charge(),
        };
        let request = entry.session.request.as_ref().map_or(0, |request| request.len());
        let sockets = entry.session.namespaces.iter();
        let auths = sockets.filter_map(|(_, socket)| self.sockets.get(socket)?.extra.as_ref());
        let auths: usize = auths.filter_map(|extra| Some(extra.auth.as_ref()?.len())).sum();
        carried + self.assembled(session) + self.progress.charge(session) + request + auths
    }

    /// What is kept of what goes over a connection, one way or the other.
    fn kept_on(&self, key: Key, conn: &Conn) -> usize {
        conn.queue.charge() + conn.received_bytes() + self.surplus.bytes(key)
    }

    fn assembled(&self, session: Key) -> usize {
        let entry = self.sessions.get(session);
        let assembly = entry.and_then(|entry| entry.session.assembly.as_ref());
        assembly.map_or(0, |assembly| assembly.held_bytes())
    }

    /// Disconnects those of whom most is kept, until that are so many bytes. Gives how many.
    fn give_up_most(&mut self, bytes: usize, mut keepers: Vec<(usize, Keeper)>) -> usize {
        keepers.sort_unstable_by_key(|(kept, _)| Reverse(*kept));
        let mut freed = 0;
        for (kept, keeper) in keepers {
            if freed >= bytes {
                break;
            }
            freed += kept;
            self.give_up(keeper);
        }
        freed
    }

    fn give_up(&mut self, keeper: Keeper) {
        let is_there = match keeper {
            Keeper::Session(session) => self.sessions.get(session).is_some(),
            Keeper::Request(connection) => self.connections.get(connection).is_some(),
        };
        self.stats.clients_relieved += u64::from(is_there);
        self.because(Cause::limit(DisconnectLimit::Memory), |state| match keeper {
            Keeper::Session(session) => state.cut_off(session, DisconnectReason::TransportError),
            Keeper::Request(connection) => state.connection_ended(connection),
        });
    }
}
