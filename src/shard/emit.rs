//! From an emit to the queues of its recipients.

use std::any::Any;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::frame::{Encoded, Frame, Wire};
use crate::base::id::SocketId;
use crate::base::offset::Offset;
use crate::base::shed::{CoalesceKey, SendQueuePolicy};
use crate::base::slab::Key;
use crate::command::{
    Audience, Change, Command, Expected, Found, Members, SocketAddress, SocketCommand, Unanswered,
    Waiter,
};
use crate::fanout::{Encoder, Encoding, Inexpressible, Packets};
use crate::proto::socket::DisconnectReason;
use crate::room::{Selection, Target};

use super::log;
use super::pressure::Patience;
use super::queue::Outgoing;
use super::state::{Job, SocketPhase, State};
use super::timer::Owner;

/// What became of a packet for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits for the end of the turn.
    Yes,
    /// It was volatile and the client not writable.
    Dropped,
    /// There is no such client any more.
    Gone,
}

/// How a packet is emitted to one socket.
#[derive(Default)]
pub struct Manner {
    /// Whether it is dropped when the client is not writable.
    pub is_volatile: bool,
    /// Who waits for the answer, and how long.
    pub ack: Option<(Option<Duration>, Waiter)>,
    /// Names it if it can be sent again.
    pub offset: Option<Offset>,
    /// What it is the latest of.
    pub key: Option<Arc<CoalesceKey>>,
}

impl State {
    /// Encodes a packet and queues it for one session, and nobody else.
    pub fn send_own(
        &mut self,
        session: Key,
        encode: impl for<'a> FnOnce(&'a mut Encoder) -> Encoded<'a>,
    ) -> Queued {
        let mut encoder = std::mem::take(&mut self.encoder);
        let queued = self.send(session, Outgoing::Own(encode(&mut encoder)), false);
        self.encoder = encoder;
        queued
    }

    /// Encodes a Socket.IO packet of a namespace and queues it for one session.
    pub fn send_packet(
        &mut self,
        session: Key,
        namespace: u16,
        encode: impl for<'a> FnOnce(Packets<'a, '_>) -> Encoding<'a>,
    ) {
        let mut encoder = std::mem::take(&mut self.encoder);
        if let Some(space) = self.namespaces.get(namespace) {
            let form = &self.shared.settings.form;
            let packet = encode(encoder.packets(form, &space.definition.name));
            self.send_or_close(session, packet);
        }
        self.encoder = encoder;
    }

    /// The same, of a namespace that need not exist.
    pub fn send_packet_of(
        &mut self,
        session: Key,
        namespace: &str,
        encode: impl for<'a> FnOnce(Packets<'a, '_>) -> Encoding<'a>,
    ) {
        let mut encoder = std::mem::take(&mut self.encoder);
        let packet = encode(encoder.packets(&self.shared.settings.form, namespace));
        self.send_or_close(session, packet);
        self.encoder = encoder;
    }

    fn send_or_close(&mut self, session: Key, packet: Encoding<'_>) {
        match packet {
            Ok(packet) => {
                self.send(session, Outgoing::Own(packet), false);
            }
            // A client that cannot be told where it stands is better off with a new session.
            Err(Inexpressible) => {
                self.close_session(session, DisconnectReason::ForcedServerClose);
            }
        }
    }

    /// Encodes a packet and queues it for one socket. `encode` is given the id that the
    /// acknowledgement will have.
    ///
    /// # Errors
    /// The parser of the server cannot express the packet.
    pub fn emit_own(
        &mut self,
        socket: SocketAddress,
        manner: Manner,
        encode: impl for<'a> FnOnce(Packets<'a, '_>, Option<u64>) -> Encoding<'a>,
    ) -> Result<Queued, Inexpressible> {
        let Some(space) = self.namespaces.get(socket.namespace) else {
            return Ok(Queued::Gone);
        };
        let mut encoder = std::mem::take(&mut self.encoder);
        let definition = &space.definition;
        let Manner { is_volatile, ack, offset, key } = manner;
        let ack = ack.map(|(timeout, waiter)| definition.expected(timeout, waiter));
        let id = ack.as_ref().map(|expected| expected.id);
        let packets = encoder.packets(&self.shared.settings.form, &definition.name);
        let queued = encode(packets, id).map(|packet| match (offset, &key) {
            (None, None) => self.emit(socket, Outgoing::Own(packet), is_volatile, ack),
            (None, Some(_)) => {
                let frame = Frame::own(Wire::from(packet).coalesced(key));
                self.emit(socket, Outgoing::Shared(frame), is_volatile, ack)
            }
            (Some(offset), _) => {
                self.emit_logged(socket, Wire::from(packet).coalesced(key), offset)
            }
        });
        self.encoder = encoder;
        queued
    }

    /// Queues a packet for one session. Everything that is sent to a client comes through here.
    pub fn send(&mut self, session: Key, packet: Outgoing<'_>, volatile: bool) -> Queued {
        let copy = self.hears_of_packets(session).then(|| packet.frame());
        let queued = self.queue_packet(session, packet, volatile);
        if let Some(copy) = copy.filter(|_| queued == Queued::Yes) {
            self.packets_created(session, &copy);
        }
        queued
    }

    fn queue_packet(&mut self, session: Key, packet: Outgoing<'_>, volatile: bool) -> Queued {
        self.queue_batch();
        let settings = &self.shared.settings;
        let Patience { queued_bytes: limit, left_bytes: soft } = self.patience;
        let packet = match settings.send_queue_policy {
            SendQueuePolicy::Disconnect => packet.kept(),
            SendQueuePolicy::DropOldest => packet,
        };
        let Some(entry) = self.sessions.get_mut(session) else { return Queued::Gone };
        if let Some(connection) = entry.session.websocket() {
            let protocol = entry.session.protocol();
            let Some(conn) = self.connections.get_mut(connection) else { return Queued::Gone };
            if volatile && !conn.is_flushed() {
                self.stats.volatile_dropped += 1;
                return Queued::Dropped;
            }
            if let Some(key) = packet.key() {
                let earlier = conn.queue.take_keyed(key, conn.in_flight, &mut self.spare);
                if let Some((offset, frame)) = earlier {
                    self.stats.events_coalesced += 1;
                    self.drains.dropped(session, offset, frame.bytes().len());
                }
            }
            let packet = packet.on_websocket(protocol);
            let packet = match &mut self.compression {
                Some(compression) => compression.outgoing(connection, &conn.role, packet),
                None => packet,
            };
            conn.queue.add(packet, &mut self.spare);
            let is_over_budget = conn.queue.charge() > limit;
            conn.mark_dirty(connection, &mut self.dirty);
            self.stats.packets_queued += 1;
            if is_over_budget {
                self.over_budget(session);
            }
            return Queued::Yes;
        }
        if volatile && !entry.session.is_poll_writable() {
            self.stats.volatile_dropped += 1;
            return Queued::Dropped;
        }
        // Later packets of the turn find the queue filled: the session is in the list by then.
        let goes_out = entry.session.is_poll_writable();
        let is_held = entry.session.has_held_poll();
        let Some(waiting) = entry.session.queue(packet.into_frame()) else {
            return Queued::Gone;
        };
        if goes_out {
            self.dirty_sessions.push(session);
        }
        self.stats.packets_queued += 1;
        self.stats.events_coalesced += u64::from(waiting.has_coalesced);
        if waiting.charge > limit {
            self.over_budget(session);
        } else if waiting.charge > soft && !is_held {
            self.lags(session, waiting.charge_before <= soft);
        }
        Queued::Yes
    }

    /// Queues a packet for one socket, which is sent it again if it has missed it.
    fn emit_logged(&mut self, socket: SocketAddress, wire: Wire, offset: Offset) -> Queued {
        let wire = Arc::new(wire);
        let is_away = self.log_packet(socket, offset, &wire);
        let queued = self.emit(socket, Outgoing::Shared(Frame::shared(wire)), false, None);
        match queued {
            Queued::Gone if is_away => Queued::Yes,
            queued => queued,
        }
    }

    /// Queues a packet for one socket.
    pub fn emit(
        &mut self,
        socket: SocketAddress,
        packet: Outgoing<'_>,
        volatile: bool,
        ack: Option<Expected>,
    ) -> Queued {
        let key = self.socket_key(socket);
        let found = key.and_then(|key| self.sockets.get(key).map(|socket| (key, socket)));
        let queued = match found {
            Some((_, found)) if found.phase == SocketPhase::Connected => {
                let session = found.session;
                let is_heard = !self.is_telling && self.has_outgoing_listeners(socket.namespace);
                let copy = is_heard.then(|| packet.frame());
                let queued = self.send(session, packet, volatile);
                if let Some(frame) = copy.filter(|_| queued == Queued::Yes) {
                    self.jobs.push_back(Job::Outgoing(socket, frame));
                }
                queued
            }
            _ => Queued::Gone,
        };
        if let Some(expected) = ack {
            match key {
                Some(key) => self.expect_of(key, queued, expected),
                None => self.unanswered(expected),
            }
        }
        queued
    }

    /// Waits for the answer of a socket to what was queued for it, if it was.
    pub(super) fn expect_of(&mut self, key: Key, queued: Queued, expected: Expected) {
        match queued {
            Queued::Yes => self.expect(key, expected),
            Queued::Dropped | Queued::Gone => self.unanswered(expected),
        }
    }

    fn unanswered(&mut self, expected: Expected) {
        let answer = Err(Unanswered::Disconnected);
        self.jobs.push_back(Job::Resolve(expected.waiter, answer));
    }

    fn expect(&mut self, key: Key, expected: Expected) {
        let timeout = expected.timeout.or(self.options.ack_timeout);
        let until = deadline(self.now, timeout);
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let extra = socket.extra.get_or_insert_default();
        extra.acks.expect(expected.id, until, expected.waiter);
        if timeout.is_some() {
            extra.acks_armed.arm(until, Owner::Acks(key.index), &mut self.timers);
        }
    }

    /// Resolves the answers of a socket that did not come in time.
    pub fn expire_acks(&mut self, key: Key) {
        let now = self.now;
        let Some(extra) = self.sockets.get_mut(key).and_then(|socket| socket.extra.as_mut()) else {
            return;
        };
        if !extra.acks_armed.came_up(now, Owner::Acks(key.index), &mut self.timers) {
            return;
        }
        for waiter in extra.acks.expired(now) {
            log::ack_timed_out(self.index, key);
            self.jobs.push_back(Job::Resolve(waiter, Err(Unanswered::Timeout)));
        }
        if let Some(next) = extra.acks.next_deadline() {
            extra.acks_armed.arm(next, Owner::Acks(key.index), &mut self.timers);
        }
    }

    /// The sockets of this shard that a selection means.
    pub fn select(&mut self, namespace: u16, selection: &Selection, chosen: &mut Vec<u32>) {
        chosen.clear();
        let Some(space) = self.namespaces.get_mut(namespace) else { return };
        let (sockets, shard) = (&self.sockets, self.index);
        let (sessions, sessions_of_sockets) = (&self.sessions, &self.sessions_of_sockets);
        let own_name = &space.definition.name;
        // A client of protocol 3 calls its socket in `/chat` `/chat#` and the id of its session.
        let by_session = |name: &str| {
            if sessions_of_sockets.is_empty() {
                return None;
            }
            let (name, id) = name.rsplit_once('#')?;
            let id = SocketId::parse(id.as_bytes()).filter(|_| *name == **own_name)?;
            let entry = sessions.get(*sessions_of_sockets.get(&id.nonce())?)?;
            entry.session.namespaces.find(namespace)
        };
        let recovery = self.recovery.as_ref();
        let by_own_id = |id: SocketId| {
            let adopted = recovery.and_then(|recovery| recovery.adopted(id.nonce()));
            let of_slot = || sockets.key_at(id.index()).filter(|_| id.shard() == shard);
            let key = adopted.or_else(of_slot)?;
            (sockets.get(key)?.nonce == id.nonce()).then_some(key)
        };
        let by_id = |name: &str| {
            let key = match SocketId::parse(name.as_bytes()) {
                Some(id) => by_own_id(id)?,
                None => by_session(name)?,
            };
            let socket = sockets.get(key)?;
            let is_member = socket.namespace == namespace && socket.phase == SocketPhase::Connected;
            is_member.then_some(key.index)
        };
        space.rooms.select(selection, space.sockets.iter().copied(), by_id, chosen);
        if selection.to.is_empty() {
            return;
        }
        // Rooms may be joined in a middleware, before the socket takes packets.
        chosen.retain(|&index| {
            let socket = sockets.key_at(index).and_then(|key| sockets.get(key));
            socket.is_some_and(|socket| socket.phase == SocketPhase::Connected)
        });
    }

    /// The sockets of this shard that are meant, with what is known of them.
    pub fn found(&mut self, audience: &Audience) -> Vec<Found> {
        let mut chosen = std::mem::take(&mut self.chosen);
        self.select(audience.namespace, &audience.selection, &mut chosen);
        let found = chosen.drain(..).filter_map(|index| self.found_at(index)).collect();
        self.chosen = chosen;
        found
    }

    fn found_at(&self, index: u32) -> Option<Found> {
        let key = self.sockets.key_at(index)?;
        let (address, socket) = (self.address(key)?, self.sockets.get(key)?);
        let session = self.sessions.get(socket.session)?;
        Some(Found {
            address,
            rooms: self.rooms_of(key).into_iter().map(Target::from).collect(),
            request: session.session.request.clone(),
            auth: socket.extra.as_ref().and_then(|extra| extra.auth.clone()),
        })
    }

    /// Puts what the application keeps with a socket there, and gives what was there. `None` when
    /// the socket has gone.
    pub fn replace_data(
        &mut self,
        key: Key,
        value: Option<Box<dyn Any + Send>>,
    ) -> Option<Option<Box<dyn Any + Send>>> {
        let socket = self.sockets.get_mut(key)?;
        if value.is_none() && socket.extra.is_none() {
            return Some(None);
        }
        let extra = socket.extra.get_or_insert_default();
        let shared = extra.recovery.as_ref().and_then(|recovery| recovery.data.as_ref());
        Some(match shared {
            Some(data) => {
                std::mem::replace(&mut *data.lock().unwrap_or_else(PoisonError::into_inner), value)
            }
            None => std::mem::replace(&mut extra.data, value),
        })
    }

    /// The rooms of a socket: first the one that is named by its id, then those it has joined.
    pub fn rooms_of(&self, key: Key) -> Vec<String> {
        let (Some(address), Some(socket)) = (self.address(key), self.sockets.get(key)) else {
            return Vec::new();
        };
        if socket.phase == SocketPhase::Gone {
            return Vec::new();
        }
        let own = address.id().to_string();
        std::iter::once(own).chain(self.room_names(key).map(str::to_owned)).collect()
    }

    /// The rooms that a socket has joined.
    pub(super) fn room_names(&self, key: Key) -> impl Iterator<Item = &str> {
        let socket = self.sockets.get(key);
        let space = socket.and_then(|socket| self.namespaces.get(socket.namespace));
        socket
            .zip(space)
            .into_iter()
            .flat_map(|(socket, space)| space.rooms.names(&socket.memberships))
    }

    /// Carries out a command for one socket.
    pub fn command(&mut self, address: SocketAddress, command: SocketCommand) {
        let shard = self.shared.moved.shard_of(address);
        let found = self.socket_key(address).and_then(|key| self.sockets.get(key));
        let is_here = found.is_some_and(|socket| socket.phase != SocketPhase::Gone);
        if !is_here && shard != self.index {
            return self.post(usize::from(shard), Command::Socket(address, command));
        }
        match command {
            SocketCommand::Emit { wire, volatile, is_told, ack, offset } => {
                self.is_telling = !is_told;
                match offset {
                    None => {
                        self.emit(address, Outgoing::Shared(Frame::own(wire)), volatile, ack);
                    }
                    Some(offset) => {
                        self.emit_logged(address, wire, offset);
                    }
                }
                self.is_telling = false;
            }
            SocketCommand::Join(rooms) => {
                self.join(address, &rooms);
            }
            SocketCommand::Leave(room) => {
                self.leave(address, &room);
            }
            SocketCommand::Disconnect(close) => {
                self.disconnect(address, close);
            }
            SocketCommand::Visit(visit) => {
                if self.socket_key(address).is_some() {
                    self.jobs.push_back(Job::Visit(visit));
                }
            }
        }
    }

    /// Changes the rooms, or ends the connection, of all that are meant on this shard.
    pub fn change_members(&mut self, members: &Members) {
        self.queue_batch();
        let mut chosen = std::mem::take(&mut self.chosen);
        self.select(members.namespace, &members.selection, &mut chosen);
        for index in chosen.drain(..) {
            let key = self.sockets.key_at(index);
            let Some(address) = key.and_then(|key| self.address(key)) else { continue };
            match &members.change {
                Change::Join(rooms) => {
                    self.join(address, rooms);
                }
                Change::Leave(rooms) => rooms.iter().for_each(|room| {
                    self.leave(address, room);
                }),
                Change::Disconnect(close) => {
                    self.disconnect(address, *close);
                }
            }
        }
        self.chosen = chosen;
    }

    /// Disconnects a socket, or with `close` its whole session. `false` when it is gone.
    pub fn disconnect(&mut self, address: SocketAddress, close: bool) -> bool {
        let Some(key) = self.socket_key(address) else { return false };
        let Some(socket) = self.sockets.get(key) else { return false };
        if matches!(socket.phase, SocketPhase::Leaving | SocketPhase::Gone) {
            return false;
        }
        let session = socket.session;
        let leaving: Vec<Key> = match (close, self.sessions.get(session)) {
            (true, Some(entry)) => entry.session.namespaces.iter().map(|(_, key)| key).collect(),
            _ => vec![key],
        };
        for key in leaving {
            self.send_disconnect(key);
            self.socket_gone(key, DisconnectReason::ServerNamespaceDisconnect);
        }
        if close {
            self.close_session(session, DisconnectReason::ForcedClose);
        }
        true
    }

    fn send_disconnect(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        let (session, namespace) = (socket.session, socket.namespace);
        self.send_packet(session, namespace, |packets| packets.disconnect());
    }
}

/// The end of time when there is no timeout.
fn deadline(now: Time, timeout: Option<Duration>) -> Time {
    now.after(timeout.unwrap_or(Duration::MAX))
}
