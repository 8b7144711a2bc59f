//! From an event to the handlers that hear of it: those of all events, the middlewares that may
//! refuse it, and its own.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::base::frame::Frame;
use crate::base::limits::Limits;
use crate::command::SocketAddress;
use crate::proto::socket::{self, Body, Kind};
use crate::proto::websocket::{self, Opcode};

use super::connect::plain_event;
use super::context::Context;
use super::handler::{AckTarget, Event, Handler, Middleware, Refused};
use super::listeners::Direction;
use super::message::EventStep;
use super::state::{SocketPhase, State};

impl Context {
    /// Calls all who hear of an event, in place as far as none of them waits.
    pub(super) fn dispatch(self: &Rc<Self>, step: EventStep<'_>, attachments: &[Bytes]) {
        let before = step.more.as_ref().map_or(0, |more| more.any.len());
        let used = (before + step.handlers.len() > 1).then(|| Arc::new(AtomicBool::new(false)));
        let mut event = Event {
            name: &step.name,
            args: step.args,
            attachments,
            ack: step.ack.map(|id| AckTarget { id, used }),
            ..plain_event(self, Some(step.socket), None)
        };
        if let Some(more) = step.more {
            self.hear(&more.any, &mut event);
            if !more.middlewares.is_empty() {
                return self.dispatch_behind(more.middlewares, step.handlers, &event);
            }
        }
        self.hear(&step.handlers, &mut event);
    }

    fn hear(self: &Rc<Self>, handlers: &[Handler], event: &mut Event<'_>) {
        for parked in self.call(handlers, event) {
            self.park(parked);
        }
    }

    /// Asks the middlewares, one after the other, and then calls the handlers.
    fn dispatch_behind(
        self: &Rc<Self>,
        middlewares: Vec<Middleware>,
        handlers: Rc<[Handler]>,
        event: &Event<'_>,
    ) {
        let Some(socket) = event.socket else { return };
        let (context, kept) = (Rc::clone(self), Kept::of(event));
        self.start(async move {
            for middleware in &middlewares {
                let decision = middleware(&mut kept.event(&context, socket));
                if let Err(refused) = decision.await {
                    return context.refused(socket, &kept, &refused);
                }
                // One that has gone meanwhile has no events any more.
                if !context.with(|state| state.is_connected(socket)) {
                    return;
                }
            }
            context.hear(&handlers, &mut kept.event(&context, socket));
        });
    }

    fn refused(self: &Rc<Self>, socket: SocketAddress, kept: &Kept, refused: &Refused) {
        let Some(handlers) = self.handlers(socket.namespace) else { return };
        let mut event = Event { refused: Some(refused), ..kept.event(self, socket) };
        self.hear(&handlers.refused, &mut event);
    }

    /// Calls those who hear of the events that a socket is sent.
    pub(super) fn outgoing(self: &Rc<Self>, socket: SocketAddress, frame: &Frame) {
        let handlers = self.with(|state| state.outgoing_listeners_of(socket));
        for packet in events_of(frame.bytes()) {
            let mut event = Event {
                name: &packet.name,
                args: &packet.args,
                attachments: &packet.attachments,
                ..plain_event(self, Some(socket), None)
            };
            self.hear(&handlers, &mut event);
        }
    }
}

/// An event in memory of its own.
struct Kept {
    name: String,
    args: Vec<u8>,
    attachments: Vec<Bytes>,
    ack: Option<AckTarget>,
}

impl Kept {
    fn of(event: &Event<'_>) -> Kept {
        Kept {
            name: event.name.to_owned(),
            args: event.args.to_vec(),
            attachments: event.attachments.to_vec(),
            ack: event.ack.clone(),
        }
    }

    fn event<'a>(&'a self, context: &'a Rc<Context>, socket: SocketAddress) -> Event<'a> {
        Event {
            name: &self.name,
            args: &self.args,
            attachments: &self.attachments,
            ack: self.ack.clone(),
            ..plain_event(context, Some(socket), None)
        }
    }
}

/// The events in what a client is sent; other packets are left out.
fn events_of(frames: &[u8]) -> Vec<Kept> {
    // They are our own: no limit of what a peer may send applies.
    let limits = Limits {
        attachments: usize::MAX,
        namespace_bytes: usize::MAX,
        json_depth: crate::base::limits::JSON_DEPTH_MAX,
        ..Limits::default()
    };
    let mut events: Vec<Kept> = Vec::new();
    let mut is_event = false;
    for (opcode, payload) in websocket::frames(frames) {
        if opcode == Opcode::Binary {
            if let Some(event) = events.last_mut().filter(|_| is_event) {
                event.attachments.push(Bytes::copy_from_slice(payload));
            }
            continue;
        }
        is_event = false;
        let Some(text) = payload.strip_prefix(b"4") else { continue };
        let Ok(packet) = socket::decode(text, &limits) else { continue };
        if let (Kind::Event | Kind::BinaryEvent, Body::Event { name, args }) =
            (packet.kind, packet.body)
        {
            let (name, args) = (name.into_owned(), args.to_vec());
            events.push(Kept { name, args, attachments: Vec::new(), ack: None });
            is_event = true;
        }
    }
    events
}

impl State {
    /// Whether somebody hears of what the sockets of a namespace are sent.
    pub(super) fn has_outgoing_listeners(&self, namespace: u16) -> bool {
        let space = self.namespaces.get(namespace);
        self.outgoing_listeners > 0
            || space.is_some_and(|space| !space.handlers.any_outgoing.is_empty())
    }

    fn outgoing_listeners_of(&self, socket: SocketAddress) -> Vec<Handler> {
        let space = self.namespaces.get(socket.namespace);
        let mut handlers =
            space.map(|space| space.handlers.any_outgoing.clone()).unwrap_or_default();
        let found = self.socket_key(socket).and_then(|key| self.sockets.get(key));
        let extra = found.and_then(|socket| socket.extra.as_ref());
        if let Some(listeners) = extra.and_then(|extra| extra.listeners.as_ref()) {
            handlers.extend(listeners.any(Direction::Outgoing));
        }
        handlers
    }

    fn is_connected(&self, socket: SocketAddress) -> bool {
        let found = self.socket_key(socket).and_then(|key| self.sockets.get(key));
        found.is_some_and(|socket| socket.phase == SocketPhase::Connected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::Encoder;

    #[test]
    fn the_events_of_what_a_client_is_sent_are_found_with_their_attachments() {
        let mut encoder = Encoder::default();
        let mut frames = Vec::new();
        frames.extend_from_slice(encoder.event("/a", None, "one", br#",1,"x""#, &[]).bytes());
        frames.extend_from_slice(encoder.ack("/a", 7, b",2", &[]).bytes());
        let attachments = [Bytes::from_static(b"\x01"), Bytes::from_static(b"\x02")];
        let placeholders = br#",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
        let binary = encoder.event("/", Some(3), "two", placeholders, &attachments);
        frames.extend_from_slice(binary.bytes());
        let events = events_of(&frames);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(events[0].args, br#"1,"x""#);
        assert_eq!(events[1].attachments, attachments);
    }
}
