//! The life of a socket: middlewares, connection, disconnection.

use std::rc::Rc;

use crate::base::slab::Key;
use crate::command::SocketAddress;
use crate::proto::engine::Protocol;
use crate::proto::socket::DisconnectReason;
use crate::session::departure::Departure;

use super::context::{Context, Release};
use super::handler::{Event, Handlers, Middleware, Refused};
use super::log;
use super::state::{Socket, SocketPhase, State};

impl Context {
    /// A client asks to join a namespace: its middlewares decide.
    pub(super) fn connect(self: &Rc<Self>, socket: SocketAddress) {
        let Some(handlers) = self.handlers(socket.namespace) else { return };
        let is_known = self.with(|state| state.skips_middlewares(socket));
        if handlers.middlewares.is_empty() || is_known {
            return self.connected(socket, &handlers);
        }
        let context = Rc::clone(self);
        self.start(async move {
            for middleware in &handlers.middlewares {
                let decision = context.ask(middleware, socket);
                if let Err(refused) = decision.await {
                    return context.with(|state| state.refuse_socket(socket, &refused));
                }
                if !context.with(|state| state.is_connecting(socket)) {
                    return;
                }
            }
            context.connected(socket, &handlers);
        });
    }

    fn ask(
        self: &Rc<Self>,
        middleware: &Middleware,
        socket: SocketAddress,
    ) -> super::handler::Decision {
        // A panic ends this client's attempt: its guard refuses the socket.
        let guard = RefuseOnPanic { context: Rc::clone(self), socket, is_armed: true };
        let decision = middleware(&mut plain_event(self, Some(socket), None));
        Box::pin(async move {
            let mut guard = guard;
            let result = decision.await;
            guard.is_armed = false;
            result
        })
    }

    fn connected(self: &Rc<Self>, socket: SocketAddress, handlers: &Handlers) {
        if !self.with(|state| state.accept(socket)) {
            return;
        }
        let mut event = plain_event(self, Some(socket), None);
        for parked in self.call(&handlers.connect, &mut event) {
            self.park(parked);
        }
    }

    /// Calls the handlers of a socket that is about to go; it is in its rooms as long as they do
    /// not wait.
    pub(super) fn disconnecting(self: &Rc<Self>, socket: Key, departure: Departure) {
        let Some(address) = self.with(|state| state.address(socket)) else { return };
        if let Some(handlers) = self.handlers(address.namespace) {
            let mut event = plain_event(self, Some(address), Some(departure));
            for parked in self.call(&handlers.disconnecting, &mut event) {
                self.park(parked);
            }
        }
        self.with(|state| state.depart(socket, departure));
    }

    /// Calls the disconnect handlers of a socket, which is forgotten when the last one has ended.
    pub(super) fn disconnect(self: &Rc<Self>, socket: Key, departure: Departure) {
        let Some(address) = self.with(|state| state.address(socket)) else { return };
        let release = Rc::new(Release { context: Rc::clone(self), socket });
        let Some(handlers) = self.handlers(address.namespace) else { return };
        let mut event = plain_event(self, Some(address), Some(departure));
        for parked in self.call(&handlers.disconnect, &mut event) {
            let release = Rc::clone(&release);
            self.park(Box::pin(async move {
                let _release = release;
                parked.await;
            }));
        }
    }

    pub(super) fn handlers(&self, namespace: u16) -> Option<Rc<Handlers>> {
        self.with(|state| {
            let space = state.namespaces.get(namespace)?;
            Some(Rc::clone(&space.handlers))
        })
    }

    /// A session has opened.
    pub(super) fn engine_opened(self: &Rc<Self>, session: Key) {
        let Some(handlers) = self.handlers(0) else { return };
        let mut event = Event { session: Some(session), ..plain_event(self, None, None) };
        if !self.shared.settings.has_namespaces {
            for parked in self.call(&handlers.connect, &mut event) {
                self.park(parked);
            }
        }
        for parked in self.call(&handlers.session, &mut event) {
            self.park(parked);
        }
    }

    /// A session of a server without namespaces has gone.
    pub(super) fn engine_closed(self: &Rc<Self>, session: Key, departure: Departure) {
        let Some(handlers) = self.handlers(0) else { return };
        let mut event =
            Event { session: Some(session), ..plain_event(self, None, Some(departure)) };
        for parked in self.call(&handlers.disconnect, &mut event) {
            self.park(parked);
        }
    }

    /// A session of a server without namespaces has sent a message.
    pub(super) fn engine_message(self: &Rc<Self>, session: Key, data: &[u8], is_binary: bool) {
        let Some(handlers) = self.handlers(0) else { return };
        let event = plain_event(self, None, None);
        let mut event = Event { session: Some(session), args: data, is_binary, ..event };
        for parked in self.call(&handlers.message, &mut event) {
            self.park_event(&event, parked);
        }
    }
}

/// An event without a name, arguments or anything else.
pub(super) fn plain_event<'a>(
    context: &'a Rc<Context>,
    socket: Option<SocketAddress>,
    departure: Option<Departure>,
) -> Event<'a> {
    Event {
        context,
        socket,
        session: None,
        name: "",
        args: b"",
        attachments: &[],
        is_binary: false,
        ack: None,
        packet: None,
        departure,
        refused: None,
        lagged: None,
    }
}

/// Refuses a socket whose middleware did not come to a decision.
struct RefuseOnPanic {
    context: Rc<Context>,
    socket: SocketAddress,
    is_armed: bool,
}

impl Drop for RefuseOnPanic {
    fn drop(&mut self) {
        if self.is_armed {
            let message = "Internal server error".to_owned();
            let refused = Refused { message, data: None };
            self.context.with(|state| state.refuse_socket(self.socket, &refused));
        }
    }
}

impl State {
    fn is_connecting(&self, socket: SocketAddress) -> bool {
        let socket = self.socket_key(socket).and_then(|key| self.sockets.get(key));
        socket.is_some_and(|socket| socket.phase == SocketPhase::Connecting)
    }

    /// Joins a socket to its namespace and tells the client. `false` when it has gone meanwhile.
    fn accept(&mut self, address: SocketAddress) -> bool {
        if !self.is_connecting(address) {
            return false;
        }
        self.queue_batch();
        let Some(key) = self.socket_key(address) else { return false };
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        let Some(space) = self.namespaces.get_mut(address.namespace) else {
            return false;
        };
        socket.phase = SocketPhase::Connected;
        socket.position = space.sockets.len() as u32;
        space.sockets.push(key.index);
        let session = socket.session;
        if !self.resume(key) {
            // It comes back once more, and joins afresh.
            self.end_session(session, DisconnectReason::TransportError);
            return false;
        }
        if let Some(space) = self.namespaces.get(address.namespace) {
            log::connected(self.index, key, &space.definition.name, self.has_come_back(key));
        }
        let pid = self.sockets.get(key).and_then(Socket::pid);
        self.tell_begun(address);
        // Before the handlers of the connection: the client drops what comes ahead of this reply.
        let protocol = self.protocol(session).unwrap_or_default();
        self.send_packet(session, address.namespace, |packets| match protocol {
            Protocol::V4 => packets.connect(address.id(), pid),
            Protocol::V3(_) => packets.connect_v4(),
        });
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.session.connected();
        }
        true
    }

    /// Tells a client that it may not join. It may try again.
    fn refuse_socket(&mut self, address: SocketAddress, refused: &Refused) {
        if !self.is_connecting(address) {
            return;
        }
        let Some(key) = self.socket_key(address) else { return };
        let Some(socket) = self.sockets.get(key) else { return };
        let session = socket.session;
        let protocol = self.protocol(session).unwrap_or_default();
        log::refused_socket(self.index, key, &refused.message);
        self.send_packet(session, address.namespace, |packets| {
            let (message, data) = (&refused.message, refused.data.as_deref());
            match protocol {
                Protocol::V4 => packets.connect_error(message, data),
                Protocol::V3(_) => packets.error_v4(message, data),
            }
        });
        self.socket_gone(key, DisconnectReason::ServerNamespaceDisconnect);
        let limit = self.shared.settings.options.limits.namespaces_per_session;
        let refusals =
            self.sessions.get_mut(session).map(|entry| entry.session.namespaces.refused());
        if refusals.is_some_and(|refusals| refusals > limit) {
            self.violation(session, crate::session::Violation::State);
        }
    }
}
