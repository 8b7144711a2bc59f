//! From the messages of a client to the handlers of its sockets.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;

use crate::base::limits::Limits;
use crate::base::slab::Key;
use crate::command::{SocketAddress, Waiter};
use crate::proto::engine::{self, Packet, ParseError, Protocol};
use crate::proto::engine_v3;
use crate::proto::json::Raw;
use crate::proto::socket::{self, Body, DecodeError, Kind};
use crate::proto::socket_v4;
use crate::session::attachment::{Assembly, Progress};
use crate::session::departure::{Cause, DisconnectLimit};
use crate::session::{Session, Violation};

use super::context::Context;
use super::emit::Queued;
use super::events::PacketKind;
use super::handler::{Handler, Middleware};
use super::listeners::Direction;
use super::log;
use super::state::{Job, SocketPhase, State};

/// One message of a client.
pub enum Inbound<'a> {
    /// An Engine.IO packet as text.
    Text(Cow<'a, [u8]>),
    /// A binary WebSocket message.
    Binary(Cow<'a, [u8]>),
}

impl Inbound<'_> {
    /// What has come.
    fn bytes(&self) -> &[u8] {
        match self {
            Inbound::Text(bytes) | Inbound::Binary(bytes) => bytes,
        }
    }
}

/// What is left to do for a message when the state is not borrowed any more.
pub(super) enum Step<'a> {
    Nothing,
    Event(EventStep<'a>),
    /// A binary packet has got its last attachment.
    Assembled(Box<Assembly>),
    /// An answer for one of ours.
    Answer(Waiter, Raw),
    /// A message that is no packet of the default form: the application or a parser takes it.
    Message(&'a [u8], bool),
    /// The same, decoded from base64.
    Decoded(Vec<u8>),
}

/// An event and who is to hear of it.
pub(super) struct EventStep<'a> {
    pub socket: SocketAddress,
    pub heard_by: HeardBy,
    pub name: Cow<'a, str>,
    pub args: &'a [u8],
    pub ack: Option<u64>,
}

/// Who is to hear of an event.
pub(super) enum HeardBy {
    /// Its handlers.
    Handlers(Rc<[Handler]>),
    /// Others first, which most applications do not have. They may change who its handlers are, so
    /// those are looked up when they have heard of it.
    OthersFirst(Box<Audience>),
}

/// Who hears of an event before its handlers.
pub(super) struct Audience {
    /// They hear of every event.
    pub any: Vec<Handler>,
    /// They may refuse it.
    pub middlewares: Vec<Middleware>,
}

impl Context {
    /// Handles one message that the client of a session has sent on a connection.
    pub fn message(self: &Rc<Self>, session: Key, connection: Key, inbound: &Inbound<'_>) {
        let (step, is_heard) = self.with(|state| {
            let step = match state.affords(session, inbound.bytes().len()) {
                true => state.engine_message(session, connection, inbound),
                false => Step::Nothing,
            };
            (step, !state.session_listeners.is_empty())
        });
        if is_heard {
            // Those who hear of packets do so before the handlers of what is in them.
            self.run_jobs();
        }
        self.take_step(session, step);
        self.run_jobs();
    }

    fn take_step(self: &Rc<Self>, session: Key, step: Step<'_>) {
        match step {
            Step::Nothing => {}
            Step::Event(event) => self.dispatch(event, &[]),
            Step::Answer(waiter, answer) => {
                self.with(|state| state.jobs.push_back(Job::Resolve(waiter, Ok(answer))));
            }
            Step::Message(data, is_binary) => self.whole_message(session, data, is_binary),
            Step::Decoded(data) => self.whole_message(session, &data, true),
            Step::Assembled(assembly) => {
                let step = self.with(|state| {
                    state.socket_packet(session, &assembly.header, &assembly.attachments)
                });
                self.take_packet(step, &assembly.attachments);
            }
        }
    }

    /// Does what is left to do for a packet that has all its attachments.
    pub(super) fn take_packet(self: &Rc<Self>, step: Step<'_>, attachments: &[Bytes]) {
        match step {
            Step::Event(event) => self.dispatch(event, attachments),
            Step::Answer(waiter, answer) => {
                self.with(|state| state.jobs.push_back(Job::Resolve(waiter, Ok(answer))));
            }
            _ => {}
        }
    }
}

impl State {
    fn engine_message<'a>(
        &mut self,
        key: Key,
        connection: Key,
        inbound: &'a Inbound<'_>,
    ) -> Step<'a> {
        let (options, now) = (Rc::clone(&self.options), self.now);
        let Some(entry) = self.sessions.get_mut(key) else {
            self.echo(connection, inbound);
            return Step::Nothing;
        };
        if entry.session.is_probing(connection) {
            self.drive(key, |session, effects| match inbound {
                Inbound::Text(text) => session.probe_text(text, now, &options, effects),
                Inbound::Binary(_) => session.probe_fails(effects),
            });
            return Step::Nothing;
        }
        if !entry.session.is_open() || !carries(&entry.session, connection) {
            return Step::Nothing;
        }
        let (Inbound::Text(bytes) | Inbound::Binary(bytes)) = inbound;
        if entry.session.charge(bytes.len(), &options) {
            return self.too_early(key);
        }
        let protocol = entry.session.protocol();
        let packet = match (inbound, protocol) {
            (Inbound::Text(text), Protocol::V4) => engine::decode(text),
            (Inbound::Text(text), Protocol::V3(_)) => engine_v3::decode_text(text),
            (Inbound::Binary(data), Protocol::V3(_)) => Ok(engine_v3::decode_binary(data)),
            (Inbound::Binary(data), Protocol::V4) => {
                entry.session.traffic(now, &options);
                if !self.session_listeners.is_empty() {
                    self.bytes_came(key, PacketKind::Message, data, true);
                }
                return self.engine_bytes(key, data);
            }
        };
        match (&packet, protocol) {
            (Ok(Packet::Pong(_)), Protocol::V4) => {
                entry.session.pong(now, &options);
                // The next ping is due before the timeout that has just been avoided, where the
                // interval is the shorter one.
                self.rearm_session(key);
            }
            _ => entry.session.traffic(now, &options),
        }
        self.engine_packet(key, connection, packet, protocol)
    }

    fn engine_packet<'a>(
        &mut self,
        key: Key,
        connection: Key,
        packet: Result<Packet<'a>, ParseError>,
        protocol: Protocol,
    ) -> Step<'a> {
        let now = self.now;
        if let Ok(packet) = &packet
            && !self.session_listeners.is_empty()
        {
            self.packet_came(key, packet);
        }
        match packet {
            Err(_) => {
                self.last_undecodable = Some(connection);
                self.violation(key, Violation::Undecodable);
            }
            Ok(Packet::Ping(_)) if protocol != Protocol::V4 => self.answer_ping(key),
            Ok(Packet::Pong(_)) if protocol == Protocol::V4 => {}
            Ok(Packet::Ping(_) | Packet::Pong(_)) => {
                self.violation(key, Violation::HeartbeatDirection);
            }
            Ok(Packet::Close) => {
                self.drive(key, |session, effects| session.client_close(now, effects));
            }
            Ok(Packet::Message(data)) => return self.engine_payload(key, data),
            Ok(Packet::Binary(data)) if self.shared.settings.is_plain() => {
                return self.attachment(key, data.into());
            }
            Ok(Packet::Binary(data)) => return Step::Decoded(data),
            Ok(Packet::Open | Packet::Upgrade | Packet::Noop) => {}
        }
        Step::Nothing
    }

    /// A client of protocol 3 has pinged.
    fn answer_ping(&mut self, key: Key) {
        let (options, now) = (Rc::clone(&self.options), self.now);
        let Some(entry) = self.sessions.get_mut(key) else { return };
        let is_due = entry.session.ping(now, &options);
        if is_due && self.send_own(key, |encoder| encoder.control(engine_v3::PONG)) == Queued::Yes {
            // It is no packet of anybody.
            self.stats.packets_queued -= 1;
        }
    }

    fn engine_payload<'a>(&mut self, key: Key, data: &'a [u8]) -> Step<'a> {
        match self.shared.settings.is_plain() {
            true => self.socket_text(key, data),
            false => Step::Message(data, false),
        }
    }

    /// A binary message of a client of protocol 4, which has no type.
    fn engine_bytes<'a>(&mut self, key: Key, data: &'a [u8]) -> Step<'a> {
        match self.shared.settings.is_plain() {
            true => self.attachment(key, Bytes::copy_from_slice(data)),
            false => Step::Message(data, true),
        }
    }

    /// The client sends too much before it joins a namespace.
    fn too_early<'a>(&mut self, key: Key) -> Step<'a> {
        self.because(Cause::limit(DisconnectLimit::BytesBeforeConnect), |state| {
            state.violation(key, Violation::State);
        });
        Step::Nothing
    }

    /// The client broke a rule.
    pub fn violation(&mut self, key: Key, violation: Violation) {
        let (options, now) = (Rc::clone(&self.options), self.now);
        log::violation(self.index, key, violation);
        if matches!(violation, Violation::Decode | Violation::State) {
            self.flush_session(key);
        }
        self.drive(key, |session, effects| session.violation(violation, now, &options, effects));
    }

    fn attachment<'a>(&mut self, key: Key, data: Bytes) -> Step<'a> {
        let Some(entry) = self.sessions.get_mut(key) else { return Step::Nothing };
        let progress = entry.session.assembly.as_mut().map(|assembly| assembly.add(data));
        match progress {
            Some(Progress::Incomplete) => Step::Nothing,
            Some(Progress::Complete) => {
                entry.session.assembly.take().map_or(Step::Nothing, Step::Assembled)
            }
            Some(Progress::TooLarge) | None => {
                self.violation(key, Violation::Decode);
                Step::Nothing
            }
        }
    }

    /// A Socket.IO packet as text, which attachments may follow.
    fn socket_text<'a>(&mut self, key: Key, text: &'a [u8]) -> Step<'a> {
        self.stats.packets_received += 1;
        let limits = &self.shared.settings.options.limits;
        let Some(entry) = self.sessions.get_mut(key) else { return Step::Nothing };
        let (packet, query) = match decode(text, entry.session.protocol(), limits) {
            Ok(packet) if entry.session.assembly.is_none() => packet,
            decoded => {
                if let Err(error) = decoded {
                    log::undecodable(self.index, key, error);
                }
                self.violation(key, Violation::Decode);
                return Step::Nothing;
            }
        };
        if packet.attachments == 0 {
            return self.packet(key, packet, query, &[]);
        }
        let until = self.now.after(limits.attachments_timeout);
        let assembly = Assembly::new(text, packet.attachments, until, limits.message_bytes);
        entry.session.assembly = Some(Box::new(assembly));
        self.rearm_session(key);
        Step::Nothing
    }

    /// A Socket.IO packet that has all its attachments.
    fn socket_packet<'a>(&mut self, key: Key, text: &'a [u8], attachments: &[Bytes]) -> Step<'a> {
        let limits = &self.shared.settings.options.limits;
        match decode(text, self.protocol(key).unwrap_or_default(), limits) {
            Ok((packet, query)) => self.packet(key, packet, query, attachments),
            Err(error) => {
                log::undecodable(self.index, key, error);
                self.violation(key, Violation::Decode);
                Step::Nothing
            }
        }
    }

    /// Does what a packet asks for, or says what is left to do for it.
    pub(super) fn packet<'a>(
        &mut self,
        key: Key,
        packet: socket::Packet<'a>,
        query: &str,
        attachments: &[Bytes],
    ) -> Step<'a> {
        if let Body::Connect(auth) = packet.body {
            let of_query = (!query.is_empty()).then(|| socket_v4::auth_json(query));
            let auth = of_query.as_deref().or((auth != b"{}").then_some(auth));
            self.connect_packet(key, packet.namespace, auth);
            return Step::Nothing;
        }
        let Some(socket_key) = self.joined(key, packet.namespace) else {
            self.violation(key, Violation::State);
            return Step::Nothing;
        };
        match (packet.kind, packet.body) {
            (Kind::Event | Kind::BinaryEvent, Body::Event { name, args }) => {
                self.event(socket_key, name, args, packet.id)
            }
            (Kind::Ack | Kind::BinaryAck, Body::Ack { args }) => {
                self.answer(socket_key, packet.id, args, attachments)
            }
            (Kind::Disconnect, _) => {
                let reason = socket::DisconnectReason::ClientNamespaceDisconnect;
                self.socket_gone(socket_key, reason);
                Step::Nothing
            }
            (Kind::ConnectError, _) => {
                self.violation(key, Violation::State);
                Step::Nothing
            }
            _ => Step::Nothing,
        }
    }

    /// The connected socket of a session in a namespace.
    fn joined(&self, key: Key, name: &str) -> Option<Key> {
        let entry = self.sessions.get(key)?;
        let mut sockets = entry.session.namespaces.iter();
        let (_, socket) = sockets.find(|(namespace, _)| {
            let namespace = self.namespaces.get(*namespace);
            namespace.is_some_and(|namespace| &*namespace.definition.name == name)
        })?;
        let is_connected = self.sockets.get(socket)?.phase == SocketPhase::Connected;
        is_connected.then_some(socket)
    }

    fn event<'a>(
        &mut self,
        key: Key,
        name: Cow<'a, str>,
        args: &'a [u8],
        ack: Option<u64>,
    ) -> Step<'a> {
        self.stats.events_received += 1;
        let Some(address) = self.address(key) else { return Step::Nothing };
        let Some(space) = self.namespaces.get(address.namespace) else {
            return Step::Nothing;
        };
        let extra = self.sockets.get(key).and_then(|socket| socket.extra.as_ref());
        let has_listeners = extra.is_some_and(|extra| extra.listeners.is_some());
        let heard_by = match has_listeners || space.handlers.hear_of_all() {
            false => space.handlers.events.of(&name).cloned().map(HeardBy::Handlers),
            true => self.heard_by(key, address.namespace, &name),
        };
        match heard_by {
            Some(heard_by) => Step::Event(EventStep { socket: address, heard_by, name, args, ack }),
            None => Step::Nothing,
        }
    }

    /// Who hears of an event of a socket with listeners of its own, or in a namespace with those
    /// that hear of all.
    fn heard_by(&mut self, key: Key, namespace: u16, name: &str) -> Option<HeardBy> {
        match self.audience(key, namespace) {
            Some(audience) => Some(HeardBy::OthersFirst(Box::new(audience))),
            None => self.event_handlers(key, namespace, name).map(HeardBy::Handlers),
        }
    }

    /// The handlers of an event that has come, if there are any. Those that listen once do not hear
    /// of the next one.
    pub(super) fn event_handlers(
        &mut self,
        key: Key,
        namespace: u16,
        name: &str,
    ) -> Option<Rc<[Handler]>> {
        let shared = self.namespaces.get(namespace)?.handlers.events.of(name).cloned();
        let extra = self.sockets.get_mut(key)?.extra.as_mut();
        let Some(listeners) = extra.and_then(|extra| extra.listeners.as_mut()) else {
            return shared;
        };
        let own = listeners.of(name);
        match own.is_empty() {
            true => shared,
            false => Some(shared.iter().flat_map(|list| list.iter().cloned()).chain(own).collect()),
        }
    }

    /// Who hears of the events of a socket before their handlers, if anybody does.
    fn audience(&self, key: Key, namespace: u16) -> Option<Audience> {
        let handlers = &self.namespaces.get(namespace)?.handlers;
        let extra = self.sockets.get(key)?.extra.as_ref();
        let listeners = extra.and_then(|extra| extra.listeners.as_ref());
        let (mut any, mut middlewares) =
            (handlers.any.clone(), handlers.packet_middlewares.clone());
        if let Some(listeners) = listeners {
            any.extend(listeners.any(Direction::Incoming));
            middlewares.extend(listeners.middlewares());
        }
        let is_empty = any.is_empty() && middlewares.is_empty();
        (!is_empty).then_some(Audience { any, middlewares })
    }

    fn answer<'a>(
        &mut self,
        key: Key,
        id: Option<u64>,
        args: &[u8],
        attachments: &[Bytes],
    ) -> Step<'a> {
        let socket = self.sockets.get_mut(key);
        let extra = socket.and_then(|socket| socket.extra.as_mut());
        let waiter = id.and_then(|id| extra.and_then(|extra| extra.acks.answered(id)));
        match waiter {
            Some(waiter) => Step::Answer(waiter, answer_of(args, attachments)),
            None => Step::Nothing,
        }
    }
}

/// Reads a Socket.IO packet, with the query that an older client has put behind the namespace.
fn decode<'a>(
    text: &'a [u8],
    protocol: Protocol,
    limits: &Limits,
) -> Result<(socket::Packet<'a>, &'a str), DecodeError> {
    match protocol {
        Protocol::V4 => socket::decode(text, limits).map(|packet| (packet, "")),
        Protocol::V3(_) => socket_v4::decode(text, limits),
    }
}

/// Whether packets on a connection are packets of the session: its WebSocket, or one of its POSTs.
fn carries(session: &Session, connection: Key) -> bool {
    match session.websocket() {
        Some(carrier) => carrier == connection,
        None => session.is_posting(connection),
    }
}

fn answer_of(args: &[u8], attachments: &[Bytes]) -> Raw {
    Raw::scanned(Bytes::copy_from_slice(args), attachments.to_vec())
}
