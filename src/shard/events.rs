//! What applications hear of sessions: their packets, and what becomes of them.
//!
//! The listeners of all sessions are in one map, so that a session that nobody listens to has no
//! byte for them, and a shard without any listener looks at the size of the map and no further.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::rc::Rc;

use crate::base::frame::Frame;
use crate::base::slab::Key;
use crate::proto::engine;
use crate::proto::websocket::{self, Opcode};
use crate::session::departure::Departure;

use super::connect::plain_event;
use super::context::Context;
use super::handler::{Event, Handler};
use super::lag::Lagged;
use super::listeners::ListenerId;
use super::state::{Job, State};

/// What a listener of a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A packet has come.
    Packet,
    /// A packet is about to be sent.
    PacketCreate,
    /// Everything that was queued has been handed to the kernel.
    Drain,
    /// A WebSocket has become the transport.
    Upgrade,
    /// The client has answered a ping.
    Heartbeat,
    /// The session is over.
    Close,
    /// The client does not take what is queued for it.
    Lagged(Lagged),
}

impl Occasion {
    /// Whether it is what a listener waits for, whatever it is told of it.
    fn is_like(self, other: Occasion) -> bool {
        mem::discriminant(&self) == mem::discriminant(&other)
    }
}

/// The type of an Engine.IO packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// Tells the client about its new session.
    Open,
    /// Ends the session.
    Close,
    /// The server's half of the heartbeat.
    Ping,
    /// The client's half of it.
    Pong,
    /// A message: text or bytes.
    Message,
    /// Ends the polling of a client that changes to a WebSocket.
    Upgrade,
    /// Nothing.
    Noop,
}

/// A packet in memory of its own.
#[derive(Debug)]
pub struct KeptPacket {
    kind: PacketKind,
    data: Vec<u8>,
    is_binary: bool,
}

/// A listener of one session.
struct SessionListener {
    id: ListenerId,
    occasion: Occasion,
    handler: Handler,
}

/// The listeners of the sessions of a shard.
#[derive(Default)]
pub struct SessionListeners {
    last_id: ListenerId,
    by_session: HashMap<Key, Vec<SessionListener>>,
}

impl SessionListeners {
    /// Whether nobody listens to any session.
    pub fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }

    /// Adds a listener behind those that are there.
    pub fn add(&mut self, session: Key, occasion: Occasion, handler: Handler) -> ListenerId {
        self.last_id += 1;
        let listener = SessionListener { id: self.last_id, occasion, handler };
        self.by_session.entry(session).or_default().push(listener);
        self.last_id
    }

    /// Takes a listener out. Dropping it is user code.
    pub fn remove(&mut self, session: Key, id: ListenerId) -> Option<Handler> {
        let list = self.by_session.get_mut(&session)?;
        let at = list.iter().position(|listener| listener.id == id)?;
        let removed = list.remove(at).handler;
        if list.is_empty() {
            self.by_session.remove(&session);
        }
        Some(removed)
    }

    /// Takes out all listeners of a session: first those that wait for its end, then the others.
    fn remove_all(&mut self, session: Key) -> Option<(Vec<Handler>, Vec<Handler>)> {
        let list = self.by_session.remove(&session)?;
        let (of_end, others): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|listener| listener.occasion == Occasion::Close);
        let handlers = |list: Vec<SessionListener>| list.into_iter().map(|one| one.handler);
        Some((handlers(of_end).collect(), handlers(others).collect()))
    }

    /// Whether somebody waits for something of a session.
    fn has(&self, session: Key, occasion: Occasion) -> bool {
        let list = self.by_session.get(&session);
        list.is_some_and(|list| list.iter().any(|listener| listener.occasion.is_like(occasion)))
    }

    /// Has those told who wait for this.
    pub(super) fn tell(
        &self,
        session: Key,
        occasion: Occasion,
        packet: Option<KeptPacket>,
        jobs: &mut VecDeque<Job>,
    ) {
        let list = self.by_session.get(&session).into_iter().flatten();
        let waiting = list.filter(|listener| listener.occasion.is_like(occasion));
        let listeners: Vec<Handler> = waiting.map(|listener| listener.handler.clone()).collect();
        if !listeners.is_empty() {
            let lagged = match occasion {
                Occasion::Lagged(lagged) => Some(lagged),
                _ => None,
            };
            let happening = Happening { session, listeners, packet, departure: None, lagged };
            jobs.push_back(Job::Session(Box::new(happening)));
        }
    }
}

/// Something of a session that its listeners are to be told.
pub struct Happening {
    session: Key,
    listeners: Vec<Handler>,
    packet: Option<KeptPacket>,
    departure: Option<Departure>,
    lagged: Option<Lagged>,
}

impl Context {
    /// Tells the listeners of a session.
    pub(super) fn happened(self: &Rc<Self>, happening: Happening) {
        let Happening { session, listeners, packet, departure, lagged } = happening;
        let mut event =
            Event { session: Some(session), lagged, ..plain_event(self, None, departure) };
        if let Some(packet) = &packet {
            event.packet = Some(packet.kind);
            event.args = &packet.data;
            event.is_binary = packet.is_binary;
        }
        for parked in self.call(&listeners, &mut event) {
            self.park(parked);
        }
        self.with(|state| state.jobs.push_back(Job::Drop(Box::new(listeners))));
    }
}

impl Context {
    /// Tells of the packets that are to be sent before they are, if somebody hears of them.
    pub(super) fn announce_packets(self: &Rc<Self>) {
        let is_heard = self.with(|state| {
            let is_heard = !state.session_listeners.is_empty();
            if is_heard {
                state.queue_batch();
            }
            is_heard
        });
        if is_heard {
            self.run_jobs();
        }
    }
}

impl State {
    /// Something of a session has happened that may be listened to.
    pub(super) fn happens(&mut self, session: Key, occasion: Occasion) {
        if !self.session_listeners.is_empty() {
            self.tell_session(session, occasion, None);
        }
    }

    fn tell_session(&mut self, session: Key, occasion: Occasion, packet: Option<KeptPacket>) {
        self.session_listeners.tell(session, occasion, packet, &mut self.jobs);
    }

    /// A packet has come.
    pub(super) fn packet_came(&mut self, session: Key, packet: &engine::Packet<'_>) {
        use engine::Packet;
        let (kind, data, is_binary) = match packet {
            Packet::Open => (PacketKind::Open, &b""[..], false),
            Packet::Close => (PacketKind::Close, &b""[..], false),
            Packet::Ping(data) => (PacketKind::Ping, *data, false),
            Packet::Pong(data) => (PacketKind::Pong, *data, false),
            Packet::Message(data) => (PacketKind::Message, *data, false),
            Packet::Binary(data) => (PacketKind::Message, &data[..], true),
            Packet::Upgrade => (PacketKind::Upgrade, &b""[..], false),
            Packet::Noop => (PacketKind::Noop, &b""[..], false),
        };
        self.bytes_came(session, kind, data, is_binary);
    }

    /// A packet has come, as its type and data.
    pub(super) fn bytes_came(
        &mut self,
        session: Key,
        kind: PacketKind,
        data: &[u8],
        is_binary: bool,
    ) {
        if self.session_listeners.has(session, Occasion::Packet) {
            let packet = KeptPacket { kind, data: data.to_vec(), is_binary };
            self.tell_session(session, Occasion::Packet, Some(packet));
        }
        // It is the one or the other that pings; who does so out of turn is sent away.
        if matches!(kind, PacketKind::Ping | PacketKind::Pong) {
            self.happens(session, Occasion::Heartbeat);
        }
    }

    /// Whether somebody hears of the packets that a session is sent.
    pub(super) fn hears_of_packets(&self, session: Key) -> bool {
        !self.session_listeners.is_empty()
            && self.session_listeners.has(session, Occasion::PacketCreate)
    }

    /// Packets are about to be sent: WebSocket frames, as everything is queued.
    pub(super) fn packets_created(&mut self, session: Key, frame: &Frame) {
        for (opcode, payload) in websocket::frames(frame.bytes()) {
            let packet = match (opcode, payload.split_first()) {
                (Opcode::Binary, _) => KeptPacket {
                    kind: PacketKind::Message,
                    data: payload.to_vec(),
                    is_binary: true,
                },
                (_, Some((&digit, data))) => {
                    let Some(kind) = kind_of(digit) else { continue };
                    KeptPacket { kind, data: data.to_vec(), is_binary: false }
                }
                (_, None) => continue,
            };
            self.tell_session(session, Occasion::PacketCreate, Some(packet));
        }
    }

    /// A ping is about to be sent.
    pub(super) fn ping_created(&mut self, session: Key) {
        if self.hears_of_packets(session) {
            let ping = KeptPacket { kind: PacketKind::Ping, data: Vec::new(), is_binary: false };
            self.tell_session(session, Occasion::PacketCreate, Some(ping));
        }
    }

    /// A session is over: those who wait for that are told, and nobody listens to it any more.
    pub(super) fn session_over(&mut self, session: Key, departure: Departure) {
        if self.session_listeners.is_empty() {
            return;
        }
        let Some((listeners, others)) = self.session_listeners.remove_all(session) else { return };
        let departure = Some(departure);
        let happening = Happening { session, listeners, packet: None, departure, lagged: None };
        self.jobs.push_back(Job::Session(Box::new(happening)));
        self.jobs.push_back(Job::Drop(Box::new(others)));
    }
}

fn kind_of(digit: u8) -> Option<PacketKind> {
    Some(match digit {
        b'0' => PacketKind::Open,
        b'1' => PacketKind::Close,
        b'2' => PacketKind::Ping,
        b'3' => PacketKind::Pong,
        engine::MESSAGE => PacketKind::Message,
        b'5' => PacketKind::Upgrade,
        b'6' => PacketKind::Noop,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::handler::Started;

    fn key(index: u32) -> Key {
        Key { index, generation: 0 }
    }

    #[test]
    fn listeners_that_are_taken_off_leave_nothing_behind() {
        let mut listeners = SessionListeners::default();
        let handler: Handler = Rc::new(|_| Started::Done);
        let id = listeners.add(key(1), Occasion::Drain, Rc::clone(&handler));
        assert!(listeners.has(key(1), Occasion::Drain) && !listeners.has(key(1), Occasion::Close));
        assert!(listeners.remove(key(2), id).is_none());
        assert!(listeners.remove(key(1), id).is_some() && listeners.is_empty());
        listeners.add(key(1), Occasion::Close, Rc::clone(&handler));
        listeners.add(key(1), Occasion::Packet, handler);
        let (of_end, others) = listeners.remove_all(key(1)).unwrap();
        assert_eq!((of_end.len(), others.len()), (1, 1));
        assert!(listeners.is_empty());
    }
}
