//! From an event to the handlers that hear of it: those of all events, the middlewares that may
//! refuse it, and its own.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::base::frame::Frame;
use crate::base::limits::Limits;
use crate::command::SocketAddress;
use crate::proto::msgpack;
use crate::proto::parser::{self, Form, Message, Parser};
use crate::proto::socket::{self, Body, Packet};
use crate::proto::websocket::{self, Opcode};

use super::connect::plain_event;
use super::context::Context;
use super::handler::{AckTarget, Event, Handler, Middleware, Refused};
use super::listeners::Direction;
use super::message::{EventStep, HeardBy};
use super::state::{SocketPhase, State};

impl Context {
    /// Calls all who hear of an event, in place as far as none of them waits.
    pub(super) fn dispatch(self: &Rc<Self>, step: EventStep<'_>, attachments: &[Bytes]) {
        let several = match &step.heard_by {
            HeardBy::Handlers(handlers) => handlers.len() > 1,
            HeardBy::OthersFirst(_) => true,
        };
        let used = several.then(|| Arc::new(AtomicBool::new(false)));
        let mut event = Event {
            name: &step.name,
            args: step.args,
            attachments,
            ack: step.ack.map(|id| AckTarget { id, used }),
            ..plain_event(self, Some(step.socket), None)
        };
        match step.heard_by {
            HeardBy::Handlers(handlers) => self.hear(&handlers, &mut event),
            HeardBy::OthersFirst(audience) => {
                self.hear(&audience.any, &mut event);
                match audience.middlewares.is_empty() {
                    true => self.hear_at_last(step.socket, &mut event),
                    false => self.dispatch_behind(audience.middlewares, &event),
                }
            }
        }
    }

    /// Calls the handlers of an event, unless the socket has gone while others heard of it.
    fn hear_at_last(self: &Rc<Self>, socket: SocketAddress, event: &mut Event<'_>) {
        let handlers = self.with(|state| {
            let key = state.socket_key(socket).filter(|_| state.is_connected(socket))?;
            state.event_handlers(key, socket.namespace, event.name)
        });
        if let Some(handlers) = handlers {
            self.hear(&handlers, event);
        }
    }

    fn hear(self: &Rc<Self>, handlers: &[Handler], event: &mut Event<'_>) {
        for parked in self.call(handlers, event) {
            self.park_event(event, parked);
        }
    }

    /// Asks the middlewares, one after the other, and then calls the handlers.
    fn dispatch_behind(self: &Rc<Self>, middlewares: Vec<Middleware>, event: &Event<'_>) {
        let Some(socket) = event.socket else { return };
        let (context, kept) = (Rc::clone(self), Kept::of(event));
        let counted = self.count_event(event);
        let owed = event.ack.as_ref().map(|_| self.owes(socket));
        self.start(async move {
            let _counted = (counted, owed);
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
            context.hear_at_last(socket, &mut kept.event(&context, socket));
        });
    }

    fn refused(self: &Rc<Self>, socket: SocketAddress, kept: &Kept, refused: &Refused) {
        let Some(handlers) = self.handlers(socket.namespace) else { return };
        let mut event = Event { refused: Some(refused), ..kept.event(self, socket) };
        self.hear(&handlers.refused, &mut event);
    }

    /// Calls those who hear of the events that a socket is sent.
    pub(super) fn outgoing(self: &Rc<Self>, socket: SocketAddress, frame: &Frame) {
        let handlers = self.with(|state| {
            state.is_telling = true;
            state.outgoing_listeners_of(socket)
        });
        for packet in events_of(frame.bytes(), &self.shared.settings.form) {
            let mut event = Event {
                name: &packet.name,
                args: &packet.args,
                attachments: &packet.attachments,
                ..plain_event(self, Some(socket), None)
            };
            for parked in self.call(&handlers, &mut event) {
                self.park(parked);
            }
        }
        self.with(|state| state.is_telling = false);
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

    /// An event that a client is sent; `None` for another packet.
    fn sent(packet: Packet<'_>, attachments: Vec<Bytes>) -> Option<Kept> {
        let Body::Event { name, args } = packet.body else { return None };
        Some(Kept { name: name.into_owned(), args: args.to_vec(), attachments, ack: None })
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
fn events_of(frames: &[u8], form: &Form) -> Vec<Kept> {
    // They are our own: no limit of what a peer may send applies.
    let limits = Limits {
        attachments: usize::MAX,
        namespace_bytes: usize::MAX,
        json_depth: crate::base::limits::JSON_DEPTH_MAX,
        ..Limits::default()
    };
    match form {
        Form::Json => events_of_json(frames, &limits),
        Form::MessagePack => events_of_message_pack(frames, &limits),
        Form::Own(parser) => events_of_own(frames, &**parser, &limits),
    }
}

fn events_of_json(frames: &[u8], limits: &Limits) -> Vec<Kept> {
    let mut events: Vec<Kept> = Vec::new();
    let mut is_event = false;
    for (opcode, payload) in websocket::frames(frames) {
        if opcode == Opcode::Binary {
            if let Some(event) = events.last_mut().filter(|_| is_event) {
                event.attachments.push(Bytes::copy_from_slice(payload));
            }
            continue;
        }
        let packet = payload.strip_prefix(b"4").map(|text| socket::decode(text, limits));
        let event = packet.and_then(Result::ok).and_then(|packet| Kept::sent(packet, Vec::new()));
        is_event = event.is_some();
        events.extend(event);
    }
    events
}

fn events_of_message_pack(frames: &[u8], limits: &Limits) -> Vec<Kept> {
    let mut text = Vec::new();
    let mut events = Vec::new();
    for (_, message) in websocket::frames(frames) {
        if let Ok((packet, attachments)) = msgpack::decode(message, &mut text, limits) {
            events.extend(Kept::sent(packet, attachments));
        }
    }
    events
}

fn events_of_own(frames: &[u8], own: &dyn Parser, limits: &Limits) -> Vec<Kept> {
    let (mut messages, mut events) = (Vec::new(), Vec::new());
    for (opcode, payload) in websocket::frames(frames) {
        messages.push(match opcode {
            Opcode::Binary => Message::Binary(Bytes::copy_from_slice(payload)),
            _ => Message::Text(String::from_utf8_lossy(payload.get(1..).unwrap_or(b"")).into()),
        });
        match parser::isolated(|| own.decode(&messages)) {
            Ok(None) => continue,
            Ok(Some(packet)) => {
                let attachments = packet.attachments.clone();
                let checked = packet.check(limits).ok();
                events.extend(checked.and_then(|packet| Kept::sent(packet, attachments)));
            }
            Err(_) => {}
        }
        messages.clear();
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
    use crate::fanout::{Encoder, Encoding};

    fn check(form: &Form) {
        let mut encoder = Encoder::default();
        let mut frames = Vec::new();
        let mut add = |packet: Encoding<'_>| frames.extend_from_slice(packet.unwrap().bytes());
        add(encoder.packets(form, "/a").event(None, "one", br#",1,"x""#, &[]));
        add(encoder.packets(form, "/a").ack(7, b",2", &[]));
        let attachments = [Bytes::from_static(b"\x01"), Bytes::from_static(b"\x02")];
        let placeholders = br#",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;
        add(encoder.packets(form, "/").event(Some(3), "two", placeholders, &attachments));
        add(encoder.packets(form, "/").disconnect());
        let events = events_of(&frames, form);
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(events[0].args, br#"1,"x""#);
        assert_eq!(events[1].attachments, attachments);
    }

    #[test]
    fn the_events_of_what_a_client_is_sent_are_found_with_their_attachments() {
        check(&Form::Json);
        check(&Form::MessagePack);
    }
}
