//! Sessions as a shard keeps them: carrying out what the state machine asks for.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::base::frame::Frame;
use crate::base::id::{SessionId, SocketId};
use crate::base::slab::Key;
use crate::fanout;
use crate::proto::engine::Protocol;
use crate::proto::engine_v3::{self, Form};
use crate::proto::parser::Message;
use crate::proto::socket::DisconnectReason;
use crate::proto::{engine, jsonp, websocket};
use crate::session::departure::{Cause, Departure};
use crate::session::handshake::Transport;
use crate::session::{Answer, Dialect, Effect, Session};

use super::conn::{After, Role};
use super::events::Occasion;
use super::listeners::Direction;
use super::log;
use super::state::{Job, SessionEntry, SocketPhase, State};
use super::timer::Armed;

/// What carries a session that opens.
#[derive(Clone, Copy)]
pub enum Carried {
    /// Requests.
    Polling(Dialect),
    /// A connection that becomes a WebSocket.
    WebSocket(Protocol),
}

impl Carried {
    /// What the session speaks.
    pub fn protocol(self) -> Protocol {
        match self {
            Carried::Polling(dialect) => dialect.protocol,
            Carried::WebSocket(protocol) => protocol,
        }
    }
}

/// A session that is to be opened.
pub struct Opening<'a> {
    /// What carries it.
    pub carried: Carried,
    /// Where it will be.
    pub id: SessionId,
    /// What the client knows it by.
    pub name: &'a str,
    /// The connection of the request.
    pub connection: Key,
    /// The address of the peer.
    pub peer: Option<SocketAddr>,
    /// Whether nobody else can read what is sent to the peer.
    pub is_encrypted: bool,
    /// The head of the request.
    pub head: &'a [u8],
}

impl State {
    /// The session of an id, if this shard has it.
    pub fn session_key(&self, id: &SessionId) -> Option<Key> {
        let key = match id.socket() {
            Some(socket) => *self.sessions_of_sockets.get(&socket.nonce())?,
            None => self.sessions.key_at(id.index())?,
        };
        let entry = self.sessions.get(key)?;
        (id.matches(entry.session.id()) && !entry.session.is_closed()).then_some(key)
    }

    /// The id of the session that is opened next. It is that of its first socket, too, where that
    /// joins by itself.
    pub fn next_session_id(&mut self, protocol: Protocol) -> SessionId {
        // Without randomness an id could be guessed: it was put aside before the turn began.
        let refilled = "refilled every turn";
        if protocol != Protocol::V4 && self.shared.settings.has_namespaces {
            let nonce = self.random_bytes().unwrap_or_else(|| unreachable!("{refilled}"));
            let index = self.sockets.next_key().index;
            let socket = SocketId::new(self.index, index, u64::from_be_bytes(nonce));
            return SessionId::of_socket(socket);
        }
        let secret = self.random_bytes().unwrap_or_else(|| unreachable!("{refilled}"));
        SessionId::new(self.index, self.sessions.next_key().index, secret)
    }

    /// Opens a session. The open packet is queued; the caller says where it goes.
    pub fn open_session(&mut self, opening: &Opening<'_>) -> Key {
        let &Opening { carried, id, name, connection, peer, is_encrypted, head } = opening;
        let shared = Arc::clone(&self.shared);
        let (now, options) = (self.now, &shared.settings.options);
        let (transport, mut session) = match carried {
            Carried::Polling(dialect) => {
                (Transport::Polling, Session::over_polling(id, dialect, now, options))
            }
            Carried::WebSocket(protocol) => {
                let session = Session::over_websocket(id, connection, protocol, now, options);
                (Transport::WebSocket, session)
            }
        };
        if shared.settings.keep_handshake {
            session.request = Some(kept_request(peer, is_encrypted, head));
        }
        let key = self.sessions.insert(SessionEntry { session, armed: Armed::default() });
        self.stats.sessions_opened += 1;
        log::handshake(self.index, key, transport);
        self.count_clients();
        self.queue_open_packet(key, transport, name);
        match &shared.settings.initial_packet {
            Some(Message::Text(text)) => {
                self.send_own(key, |encoder| encoder.text(text.as_bytes()));
            }
            Some(Message::Binary(data)) => {
                self.send_own(key, |encoder| encoder.binary(data));
            }
            None => {}
        }
        self.rearm_session(key);
        let root = self.namespaces.get(0);
        let is_told = root.is_some_and(|space| !space.handlers.session.is_empty());
        if is_told || !shared.settings.has_namespaces {
            self.jobs.push_back(Job::EngineOpen(key));
        }
        if let Some(socket) = id.socket() {
            self.sessions_of_sockets.insert(socket.nonce(), key);
            self.connect_by_itself(key, socket.nonce());
        }
        key
    }

    fn count_clients(&self) {
        if let Some(post) = self.shared.posts().get(usize::from(self.index)) {
            post.clients.store(self.sessions.len(), Ordering::Relaxed);
        }
    }

    fn queue_open_packet(&mut self, key: Key, transport: Transport, name: &str) {
        let settings = &self.shared.settings;
        let can_upgrade = transport == Transport::Polling
            && settings.allow_upgrades
            && settings.offer.transports.contains(&Transport::WebSocket);
        let open = engine::Open {
            sid: name,
            upgrades: if can_upgrade { &["websocket"] } else { &[] },
            ping_interval_ms: millis(settings.options.ping_interval),
            ping_timeout_ms: millis(settings.options.ping_timeout),
            max_payload_bytes: settings.options.limits.message_bytes as u64,
        };
        let mut packet = Vec::with_capacity(160);
        engine::write_open(&mut packet, &open);
        self.send_own(key, |encoder| encoder.control(&packet));
        self.stats.packets_queued -= 1;
    }

    /// Lets a session do something, and carries out what it asks for.
    pub fn drive<R>(
        &mut self,
        key: Key,
        work: impl FnOnce(&mut Session, &mut Vec<Effect>) -> R,
    ) -> Option<R> {
        self.queue_batch();
        let mut effects = std::mem::take(&mut self.effects);
        let result = self.sessions.get_mut(key).map(|entry| work(&mut entry.session, &mut effects));
        for effect in effects.drain(..) {
            self.carry_out(key, effect);
        }
        self.effects = effects;
        self.rearm_session(key);
        result
    }

    fn carry_out(&mut self, key: Key, effect: Effect) {
        match effect {
            Effect::Poll(connection, answer, dialect) => {
                self.answer_poll(connection, &answer, &dialect);
                if matches!(answer, Answer::Packets(_)) {
                    self.drained_by_poll(key);
                    self.happens(key, Occasion::Drain);
                }
            }
            Effect::RefusePost(connection) => self.respond_empty(connection, 400),
            Effect::AcceptPost(connection) => self.accept_post(connection),
            Effect::Text(connection, text) => self.push_text(connection, text),
            Effect::Upgraded(connection, frames) => {
                let protocol = self.protocol(key).unwrap_or_default();
                for frame in frames {
                    self.push_packets(connection, fanout::websocket_frame(frame, protocol));
                }
                self.drain_upgrades(key, connection);
                log::upgraded(self.index, key);
                self.happens(key, Occasion::Upgrade);
            }
            Effect::CloseWebSocket(connection) => self.close_websocket(connection, None),
            Effect::Drop(connection) => self.drop_connection(connection),
            Effect::Closing(reason) => self.sockets_gone(key, reason),
            Effect::Closed(reason) => self.session_closed(key, reason),
        }
    }

    fn answer_poll(&mut self, connection: Key, answer: &Answer, dialect: &Dialect) {
        let is_v4 = dialect.protocol == Protocol::V4;
        let control: &[u8] = match answer {
            Answer::Packets(frames) => {
                let (payload, form) = fanout::payload(frames, dialect.protocol);
                let compress = frames.iter().any(|frame| frame.wire().is_compressible());
                return self.respond_payload(connection, form, &payload, dialect, compress);
            }
            Answer::Noop if is_v4 => engine::NOOP,
            Answer::Noop => engine_v3::NOOP_PAYLOAD,
            Answer::Close if is_v4 => engine::CLOSE,
            Answer::Close => engine_v3::CLOSE_PAYLOAD,
            Answer::NoopClose if is_v4 => b"6\x1e1",
            Answer::NoopClose => engine_v3::NOOP_CLOSE_PAYLOAD,
            Answer::BadRequest => {
                log::request_overlap(self.index, connection);
                return self.respond_empty(connection, 400);
            }
        };
        self.respond_payload(connection, Form::Text, control, dialect, false);
    }

    fn respond_payload(
        &mut self,
        connection: Key,
        form: Form,
        payload: &[u8],
        to: &Dialect,
        compress: bool,
    ) {
        let Some(callback) = &to.callback else {
            return self.respond_packets(connection, form, payload, compress);
        };
        let mut script = Vec::with_capacity(payload.len() + 32);
        jsonp::write_script(&mut script, callback, payload);
        self.respond_packets(connection, Form::Text, &script, compress);
    }

    /// Starts the closing handshake of a WebSocket, with a code if a rule was broken.
    pub fn close_websocket(&mut self, connection: Key, code: Option<websocket::CloseCode>) {
        let close_timeout = self.shared.settings.options.limits.close_timeout;
        let Some(conn) = self.connections.get_mut(connection) else { return };
        let Role::WebSocket(socket) = &mut conn.role else { return };
        if std::mem::replace(&mut socket.is_closing, true) {
            return;
        }
        conn.deadline = self.now.after(close_timeout);
        if code.is_some() {
            // The peer does not keep to the protocol: what else it says is of no interest.
            conn.after = After::Linger;
            conn.role = Role::Discard;
        }
        let mut frame = Vec::new();
        websocket::write_close(&mut frame, code.map(|code| (code, "")));
        self.push(connection, Frame::raw(&frame));
        self.rearm_connection(connection);
    }

    /// Closes a session after what is queued has gone out.
    pub fn close_session(&mut self, key: Key, deferred: DisconnectReason) {
        let (options, now) = (Rc::clone(&self.options), self.now);
        self.flush_session(key);
        self.drive(key, |session, effects| session.close(deferred, now, &options, effects));
    }

    /// Ends a session at once.
    pub fn end_session(&mut self, key: Key, reason: DisconnectReason) {
        self.drive(key, |session, effects| session.end(reason, effects));
    }

    /// Ends something for a cause that the reason does not say.
    pub(super) fn because<R>(&mut self, cause: Cause, work: impl FnOnce(&mut State) -> R) -> R {
        let before = std::mem::replace(&mut self.cause, cause);
        let result = work(self);
        self.cause = before;
        result
    }

    /// What is known of the end of a session, or of a socket of it.
    fn departure(&self, session: Key, reason: DisconnectReason) -> Departure {
        let entry = self.sessions.get(session);
        Departure::new(reason, self.cause, entry.and_then(|entry| entry.session.round_trip()))
    }

    /// Does what is due for a session.
    pub(super) fn expire_session(&mut self, key: Key) {
        let (options, now) = (Rc::clone(&self.options), self.now);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if self.progress.holds(key) {
            // The pong may be among what is not read.
            entry.session.forgive(now, &options);
        }
        let (limit, was_awaited) = (entry.session.overdue(now), entry.session.awaits_pong());
        let cause = Cause { limit, ..Cause::default() };
        self.because(cause, |state| {
            state.drive(key, |session, effects| session.expire(now, &options, effects));
        });
        let entry = self.sessions.get(key);
        if !was_awaited && entry.is_some_and(|entry| entry.session.awaits_pong()) {
            self.ping_created(key);
        }
    }

    /// Bytes that wait to be sent to the client of a session.
    pub fn queued_bytes(&mut self, key: Key) -> Option<usize> {
        self.queue_batch();
        let session = &self.sessions.get(key)?.session;
        Some(match session.websocket() {
            Some(connection) => self.connections.get(connection)?.queue.bytes(),
            None => session.queued_bytes(),
        })
    }

    /// Answers the held GET of a session with what is queued.
    pub fn flush_session(&mut self, key: Key) {
        self.drive(key, |session, effects| session.flush(effects));
    }

    fn session_closed(&mut self, key: Key, reason: DisconnectReason) {
        self.sockets_gone(key, reason);
        // The engine knows no other word for it.
        let reason = match reason {
            DisconnectReason::ServerShuttingDown => DisconnectReason::ForcedClose,
            reason => reason,
        };
        let departure = self.departure(key, reason);
        log::closed(self.index, key, &departure);
        self.counts.sessions.add(&departure);
        if !self.shared.settings.has_namespaces {
            self.jobs.push_back(Job::EngineClose(key, departure));
        }
        self.session_over(key, departure);
        self.drain_ends(key);
        self.progress.forget(key);
        self.budgets.remove(&key);
        let undecided = self.undecided.remove(&key).into_iter().flatten();
        self.jobs.extend(undecided.filter_map(|question| question.task).map(Job::Wake));
        let Some(entry) = self.sessions.remove(key) else { return };
        self.count_clients();
        self.shared.aliases.release(entry.session.id());
        if let Some(socket) = entry.session.id().socket() {
            self.sessions_of_sockets.remove(&socket.nonce());
        }
        self.stats.sessions_closed += 1;
    }

    fn sockets_gone(&mut self, key: Key, reason: DisconnectReason) {
        let Some(entry) = self.sessions.get(key) else { return };
        let leaving: Vec<Key> = entry.session.namespaces.iter().map(|(_, socket)| socket).collect();
        for socket in leaving {
            self.socket_gone(socket, reason);
        }
    }

    /// A socket leaves its namespace: it takes no packets any more, and its handlers are told, the
    /// first of them before it leaves its rooms.
    pub fn socket_gone(&mut self, key: Key, reason: DisconnectReason) {
        let Some(socket) = self.sockets.get(key) else { return };
        let (phase, session, namespace) = (socket.phase, socket.session, socket.namespace);
        if matches!(phase, SocketPhase::Leaving | SocketPhase::Gone) {
            return;
        }
        self.unlist(key);
        let departure = self.departure(session, reason);
        log::socket_gone(self.index, key, &departure);
        let entry = self.sessions.get_mut(session);
        let request = entry.and_then(|entry| {
            entry.session.namespaces.remove(key);
            entry.session.request.clone()
        });
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.phase = SocketPhase::Leaving;
        let extra = socket.extra.get_or_insert_default();
        extra.request = request;
        for waiter in extra.acks.drain() {
            let answer = Err(crate::command::Unanswered::Disconnected);
            self.jobs.push_back(Job::Resolve(waiter, answer));
        }
        let space = self.namespaces.get(namespace);
        let is_told = space.is_some_and(|space| !space.handlers.disconnecting.is_empty());
        match phase {
            SocketPhase::Connected if is_told => {
                self.jobs.push_back(Job::Disconnecting(key, departure));
            }
            SocketPhase::Connected => self.depart(key, departure),
            // Nobody was told of it: a middleware that still runs finds it gone.
            _ => {
                self.keep_or_forget(key, reason);
                self.leave_all(key);
                if let Some(socket) = self.sockets.get_mut(key) {
                    socket.phase = SocketPhase::Gone;
                }
                self.release(key);
            }
        }
    }

    /// A socket that is about to go leaves its rooms, and its handlers are told that it has gone.
    pub fn depart(&mut self, key: Key, departure: Departure) {
        self.counts.sockets.add(&departure);
        self.keep_or_forget(key, departure.reason);
        self.leave_all(key);
        if let Some(address) = self.address(key) {
            self.tell_ended(address);
        }
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.phase = SocketPhase::Gone;
        self.jobs.push_back(Job::Disconnect(key, departure));
    }

    /// Takes a connected socket off the list of its namespace.
    fn unlist(&mut self, key: Key) {
        self.queue_batch();
        let Some(socket) = self.sockets.get(key) else { return };
        if socket.phase != SocketPhase::Connected {
            return;
        }
        let position = socket.position;
        let Some(space) = self.namespaces.get_mut(socket.namespace) else { return };
        space.sockets.swap_remove(position as usize);
        if let Some(&moved) = space.sockets.get(position as usize)
            && let Some(moved) = self.sockets.key_at(moved)
            && let Some(moved) = self.sockets.get_mut(moved)
        {
            moved.position = position;
        }
    }

    /// A socket is not in its namespace any more: a child goes with its last one.
    pub fn release_namespace(&mut self, index: u16) {
        let Some((definition, removed)) = self.namespaces.release(index) else { return };
        let cleans_up = self.shared.settings.cleanup_empty_child_namespaces;
        self.shared.registry.leave(&definition, cleans_up);
        if let Some(namespace) = removed {
            log::child_removed(self.index, &definition.name);
            // Its handlers are user code; so is what the definition may be the last to hold.
            self.jobs.push_back(Job::Drop(Box::new((namespace.handlers, definition))));
        }
    }

    /// Forgets a socket that has gone.
    pub fn release(&mut self, key: Key) {
        if self.sockets.get(key).is_none_or(|socket| socket.phase != SocketPhase::Gone) {
            return;
        }
        self.forget_adopted(key);
        let Some(socket) = self.sockets.remove(key) else { return };
        self.release_namespace(socket.namespace);
        let Some(extra) = socket.extra else { return };
        if let Some(recovery) = extra.recovery {
            self.jobs.push_back(Job::Drop(recovery));
        }
        if let Some(data) = extra.data {
            self.jobs.push_back(Job::Drop(data));
        }
        if let Some(listeners) = extra.listeners {
            let is_outgoing = listeners.any(Direction::Outgoing).next().is_some();
            self.outgoing_listeners -= usize::from(is_outgoing);
            self.jobs.push_back(Job::Drop(listeners));
        }
    }

    /// A connection is of no use any more: its session is told.
    pub fn connection_ended(&mut self, key: Key) {
        let Some(conn) = self.connections.get(key) else { return };
        let session = match &conn.role {
            Role::WebSocket(socket) => Some(socket.session),
            Role::Http(http) => http.session(),
            Role::Discard => None,
        };
        self.drop_connection(key);
        if let Some(session) = session {
            self.because(Cause::NETWORK, |state| {
                state.drive(session, |session, effects| session.connection_ended(key, effects));
            });
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the length of an address is marked with when the connection was encrypted.
const ENCRYPTED: u8 = 1 << 7;

/// A request as it is kept: the length of the peer's address, the address, the head.
fn kept_request(peer: Option<SocketAddr>, is_encrypted: bool, head: &[u8]) -> Arc<[u8]> {
    let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
    let length = u8::try_from(peer.len()).ok().filter(|length| *length < ENCRYPTED).unwrap_or(0);
    let mark = if is_encrypted { ENCRYPTED } else { 0 };
    [&[length | mark], &peer.as_bytes()[..usize::from(length)], head].concat().into()
}

/// The parts of a kept request.
#[derive(Clone, Copy, Debug)]
pub struct KeptRequest<'a> {
    /// The address of the peer.
    pub peer: Option<SocketAddr>,
    /// Whether it came encrypted.
    pub is_encrypted: bool,
    /// The head.
    pub head: &'a [u8],
}

/// Reads a request as it is kept.
pub fn split_request(request: &[u8]) -> KeptRequest<'_> {
    let (mark, rest) = request.split_first().unwrap_or((&0, request));
    let (peer, head) = rest.split_at_checked(usize::from(mark & !ENCRYPTED)).unwrap_or_default();
    let peer = std::str::from_utf8(peer).ok().and_then(|peer| peer.parse().ok());
    KeptRequest { peer, is_encrypted: mark & ENCRYPTED != 0, head }
}
