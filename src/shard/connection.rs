//! The life of a connection on its shard: from the driver's word that it is there to the word that
//! it is gone.

use std::net::SocketAddr;

use crate::base::clock::Time;
use crate::base::slab::Key;
use crate::driver::{Driver, Sent};
use crate::proto::http::Fault;
use crate::proto::proxy_protocol::{self, NoPreamble};
use crate::session::departure::{Cause, DisconnectLimit};

use super::conn::{After, Arrival, Conn, Http, Origin, Role, Stage};
use super::events::Occasion;
use super::request::HttpStep;
use super::state::{Action, State};

/// What a trusted proxy is told that does not say whom its connection is from.
const NO_PREAMBLE: Fault =
    Fault { status: 400, message: "The proxy does not speak the PROXY protocol" };

/// The shard that a connection leaves for, what was read from it, and whom it is from.
type Departing = (u16, Vec<u8>, Option<SocketAddr>);

impl State {
    /// A connection has come, from the network or from another shard.
    pub(super) fn connection_begins(&mut self, key: Key, arrival: Arrival) {
        let (peer, origin) = (arrival.peer, arrival.origin);
        let conn = Conn::new(arrival, self.now, &self.shared.settings);
        self.connections.insert_at(key, conn);
        self.shared.places.take();
        self.rearm_connection(key);
        self.enter_site(key, peer, origin == Origin::Network);
    }

    /// What a proxy says of whom a connection is from has come, in part at least.
    pub(super) fn preamble(&mut self, key: Key) -> HttpStep {
        let Some(http) = self.http_mut(key) else { return HttpStep::Wait };
        let preamble = match proxy_protocol::decode(&http.input) {
            Ok(Some(preamble)) => preamble,
            Ok(None) => return HttpStep::Wait,
            Err(NoPreamble) => return self.refuse_fault(key, NO_PREAMBLE),
        };
        http.input.drain(..preamble.length);
        http.stage = Stage::Head;
        if preamble.source.is_none() {
            return HttpStep::Again;
        }
        http.peer = preamble.source;
        match self.enter_site(key, preamble.source, true) {
            true => HttpStep::Again,
            false => HttpStep::Wait,
        }
    }

    /// Nothing more will arrive on a connection.
    pub(super) fn ended(&mut self, key: Key) {
        if self.surplus.ends(key) {
            return;
        }
        match self.connections.get(key).map(|conn| &conn.role) {
            // It is on its way to another shard, which will find out.
            Some(Role::Http(http)) if matches!(http.stage, Stage::Leaving) => {}
            // The peer has only finished sending: it still gets its answer.
            Some(Role::Http(_)) => self.peer_finished(key),
            _ => self.connection_ended(key),
        }
    }

    fn peer_finished(&mut self, key: Key) {
        let Some(conn) = self.connections.get_mut(key) else { return };
        if conn.is_flushed() {
            return self.connection_ended(key);
        }
        conn.after = After::Close;
        if let Role::Http(http) = std::mem::replace(&mut conn.role, Role::Discard)
            && let Some(session) = http.session()
        {
            self.because(Cause::NETWORK, |state| {
                state.drive(session, |session, effects| session.connection_ended(key, effects));
            });
        }
    }

    /// A connection has left this shard's driver: where it goes, with what was read from it.
    pub(super) fn detached(&mut self, key: Key) -> Option<Departing> {
        self.leave_site(key);
        let conn = self.connections.remove(key)?;
        self.shared.places.give_back();
        match (conn.after, conn.role) {
            (After::Leave(shard), Role::Http(http)) => Some((shard, http.input, http.peer)),
            _ => None,
        }
    }

    pub(super) fn sent(&mut self, key: Key, result: Result<usize, i32>) {
        let close_timeout = self.shared.settings.options.limits.close_timeout;
        let Some(conn) = self.connections.get_mut(key) else { return };
        conn.in_flight = 0;
        let Ok(bytes) = result else { return self.connection_ended(key) };
        self.stats.bytes_sent += bytes as u64;
        conn.queue.advance(bytes, &mut self.spare);
        if matches!(&conn.role, Role::WebSocket(socket) if socket.is_closing) {
            // It may take what is left of its queue, and then has to answer.
            conn.deadline = self.now.after(close_timeout);
        } else if conn.is_timed_by_sending() {
            conn.deadline = Time::NEVER;
        }
        conn.mark_dirty(key, &mut self.dirty);
        if !self.drains.is_empty() {
            self.drained_by(key, bytes);
        }
        if self.pongs.len() > 0 {
            self.pong_at_last(key);
        }
    }

    /// Sends what waits on a connection, as far as the kernel takes it at once.
    pub(super) fn flush_connection<D: Driver>(&mut self, key: Key, driver: &mut D) {
        let stall_timeout = self.shared.settings.options.limits.send_stall_timeout;
        let Some(conn) = self.connections.get_mut(key) else { return };
        conn.is_dirty = false;
        let queued = conn.queue.bytes();
        while !conn.is_sending() && !conn.queue.is_empty() {
            let gather = self.joined.join(conn.queue.gather());
            let sent = match conn.after {
                After::Stay | After::Leave(_) => driver.send(key, gather),
                After::Linger | After::Close => driver.send_last(key, gather),
            };
            match sent {
                Sent::Now(bytes) => conn.queue.advance(bytes, &mut self.spare),
                Sent::Later => conn.in_flight = conn.queue.next_frames(),
                Sent::Failed(_) => return self.connection_ended(key),
            }
        }
        let taken = queued - conn.queue.bytes();
        self.stats.bytes_sent += taken as u64;
        let (is_sending, after) = (conn.is_sending(), conn.after);
        conn.is_lagging &= is_sending;
        // A client that takes nothing for so long has stopped reading.
        if is_sending && conn.deadline == Time::NEVER {
            conn.deadline = self.now.after(stall_timeout);
            self.rearm_connection(key);
        }
        self.was_taken(key, taken, !is_sending);
        if is_sending {
            return self.is_left(key);
        }
        match after {
            After::Stay => self.keep_alive(key),
            After::Close => self.drop_connection(key),
            After::Leave(_) => self.actions.push(Action::Detach(key)),
            After::Linger => self.linger(key),
        }
    }

    /// Everything was sent: an HTTP connection that was answered may be used again for a time.
    fn keep_alive(&mut self, key: Key) {
        let keep_alive_timeout = self.shared.settings.options.limits.keep_alive_timeout;
        let Some(conn) = self.connections.get_mut(key) else { return };
        if conn.deadline == Time::NEVER
            && matches!(&conn.role, Role::Http(http) if matches!(http.stage, Stage::Head))
        {
            conn.deadline = self.now.after(keep_alive_timeout);
            self.rearm_connection(key);
        }
    }

    /// Not everything was taken.
    fn is_left(&mut self, key: Key) {
        let charge = self.connections.get(key).map_or(0, |conn| conn.queue.charge());
        if charge <= self.patience.left_bytes {
            return;
        }
        match self.carried_by(key) {
            Some(session) => {
                let conn = self.connections.get_mut(key);
                let was_lagging = conn.map(|conn| std::mem::replace(&mut conn.is_lagging, true));
                self.lags(session, was_lagging == Some(false));
            }
            None if self.shared.pressure.is_critical() => self.relieve_of_connection(key),
            None => {}
        }
    }

    /// The kernel has taken bytes of a connection, maybe all that waited.
    fn was_taken(&mut self, key: Key, bytes: usize, is_all: bool) {
        if self.session_listeners.is_empty() && self.drains.is_empty() {
            return;
        }
        if is_all && let Some(session) = self.carried_by(key) {
            self.happens(session, Occasion::Drain);
        }
        self.drained_by(key, bytes);
    }

    /// The session that a WebSocket carries; one that is only probed carries none.
    pub(super) fn carried_by(&self, key: Key) -> Option<Key> {
        let Role::WebSocket(socket) = &self.connections.get(key)?.role else { return None };
        let session = &self.sessions.get(socket.session)?.session;
        (session.websocket() == Some(key)).then_some(socket.session)
    }

    /// Everything was sent on a connection that is at its end: the peer may still be sending.
    fn linger(&mut self, key: Key) {
        let linger = self.shared.settings.options.limits.close_timeout;
        let Some(conn) = self.connections.get_mut(key) else { return };
        conn.role = Role::Discard;
        conn.after = After::Stay;
        conn.deadline = conn.deadline.min(self.now.after(linger));
        self.actions.push(Action::Shutdown(key));
        self.rearm_connection(key);
    }

    /// A connection has not done in time what it should have.
    pub(super) fn connection_overdue(&mut self, key: Key) {
        let Some(conn) = self.connections.get(key) else { return };
        match &conn.role {
            Role::Discard => self.drop_connection(key),
            Role::WebSocket(socket) if socket.is_closing => self.drop_connection(key),
            Role::WebSocket(socket) => {
                let session = socket.session;
                self.too_slow(session, DisconnectLimit::SendStallTimeout);
                self.connection_ended(key);
            }
            Role::Http(http) if conn.is_sending() || is_idle(http) => self.connection_ended(key),
            Role::Http(http) if matches!(http.stage, Stage::Deciding(_)) => {
                let fault = Fault { status: 503, message: "The application took too long" };
                self.refuse_fault(key, fault);
            }
            Role::Http(_) => {
                let fault = Fault { status: 408, message: "The request took too long" };
                self.refuse_fault(key, fault);
            }
        }
    }
}

/// Whether a connection waits for a request of which nothing has arrived.
pub(super) fn is_idle(http: &Http) -> bool {
    http.input.is_empty() && matches!(http.stage, Stage::Head)
}
