//! A namespace: its handlers, and emits to its sockets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::base::id::SocketId;
use crate::proto::json::{ArgsError, Arguments, FromArguments};
use crate::shard::handler::{Definition, Gate, Place, Trigger};
use crate::shard::shared::Shared;
use crate::shard::watch::Label;

use super::ack::Acknowledgements;
use super::emit::{Emitted, Emitter};
use super::event::{Asks, Emits, Heard, Named};
use super::fetch::FetchSockets;
use super::handler::{self, Handler, Middleware};
use super::handshake::Handshake;
use super::socket::Socket;
use super::targets::IntoTargets;

/// A namespace of a server. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Namespace {
    pub(crate) shared: Arc<Shared>,
    pub(crate) definition: Arc<Definition>,
}

impl Namespace {
    /// Its name, beginning with a slash.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// The children of a parent ([`Server::of_pattern`](crate::Server::of_pattern)); none for any
    /// other namespace.
    pub fn children(&self) -> Vec<Namespace> {
        let children = self.shared.registry.children(&self.definition).into_iter();
        let shared = &self.shared;
        children.map(|definition| Namespace { shared: Arc::clone(shared), definition }).collect()
    }

    /// Runs `handler` for each client that has joined (`connection`). The client has been told by
    /// then, so that what the handler emits arrives behind it.
    ///
    /// ```
    /// use fanfare::{Auth, Server, Socket};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Profile { name: String }
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on_connect(async |socket: Socket, Auth(profile): Auth<Profile>| {
    ///     socket.broadcast().emit("joined", &profile.name);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_connect<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::Connect, Place::Last, handler)
    }

    /// Runs `handler` for each event of this name that a client sends. For an
    /// [`Event`](crate::Event) its arguments must be those of the event. Several handlers of one
    /// event run in the order in which they were registered; the first of them that answers
    /// acknowledges. An event without a handler is ignored.
    ///
    /// The events of one client begin in the order in which it sent them. A handler that waits lets
    /// later events begin before it ends.
    ///
    /// ```
    /// use fanfare::{Ack, Data, Server};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on("sum", async |Data((a, b)): Data<(i64, i64)>, ack: Ack| {
    ///     ack.send(a + b);
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the name is one of those that Socket.IO reserves: `connect`, `connect_error`,
    /// `disconnect`, `disconnecting`, `newListener`, `removeListener`. No client can send them.
    pub fn on<A>(&self, event: impl Heard<A>, handler: impl Handler<A>) -> &Namespace {
        let event = event.name();
        let is_reserved = crate::proto::socket::is_reserved(event);
        assert!(!is_reserved, "{event:?} is reserved: see `on_connect` and `on_disconnect`");
        self.add(Trigger::Event(event.into()), Place::Last, handler)
    }

    /// Runs `handler` for each socket that has gone (`disconnect`). It has left its rooms by then;
    /// its data can still be read.
    ///
    /// ```
    /// use fanfare::{DisconnectReason, Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on_disconnect(async |socket: Socket, reason: DisconnectReason| {
    ///     println!("{} has gone: {reason}", socket.id());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_disconnect<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::Disconnect, Place::Last, handler)
    }

    /// Runs `handler` for each socket that is about to go (`disconnecting`): it is in its rooms as
    /// long as the handler does not wait, so that the others in them can be told.
    ///
    /// ```
    /// use fanfare::{Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on_disconnecting(async |socket: Socket| {
    ///     for room in socket.rooms() {
    ///         socket.to(room).emit("left", socket.id().to_string());
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_disconnecting<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::Disconnecting, Place::Last, handler)
    }

    /// Runs `handler` for every event that a client sends, whatever its name, before the handlers
    /// of that event (`onAny`). Ask for [`EventName`](crate::EventName) to know which it is.
    ///
    /// ```
    /// use fanfare::{EventName, Raw, Server};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").on_any(async |EventName(event): EventName, args: Raw| {
    ///     println!("{event}: {} bytes", args.args().len());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_any<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::Any, Place::Last, handler)
    }

    /// As [`on_any`](Namespace::on_any), before those that are there (`prependAny`).
    pub fn prepend_any<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::Any, Place::First, handler)
    }

    /// Runs `handler` for every event that a client is sent (`onAnyOutgoing`), broadcasts included:
    /// once for each recipient. It costs the shortcut that broadcasts take otherwise. What
    /// `handler` emits before it waits is not told to such handlers again: that would never end.
    pub fn on_any_outgoing<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::AnyOutgoing, Place::Last, handler)
    }

    /// As [`on_any_outgoing`](Namespace::on_any_outgoing), before those that are there
    /// (`prependAnyOutgoing`).
    pub fn prepend_any_outgoing<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::AnyOutgoing, Place::First, handler)
    }

    /// Runs `handler` for each event that a middleware has refused, as the event `error` of the
    /// reference: ask for [`Refuse`](crate::Refuse) to know why.
    pub fn on_refused<A>(&self, handler: impl Handler<A>) -> &Namespace {
        self.add(Trigger::Refused, Place::Last, handler)
    }

    /// Forgets the handlers of an event (`removeAllListeners`). Answers whether there were any.
    pub fn off(&self, event: impl Named) -> bool {
        self.remove(&Trigger::Event(event.name().into()))
    }

    /// Forgets the handlers of all events (`offAny`). Answers whether there were any.
    pub fn off_any(&self) -> bool {
        self.remove(&Trigger::Any)
    }

    /// Forgets the handlers of all events that clients are sent (`offAnyOutgoing`). Answers whether
    /// there were any.
    pub fn off_any_outgoing(&self) -> bool {
        self.remove(&Trigger::AnyOutgoing)
    }

    /// Asks `middleware` before the handlers of each event (`socket.use`, for all sockets of the
    /// namespace). Those of a namespace are asked in the order in which they were registered; the
    /// first that refuses ends it, and [`on_refused`](Namespace::on_refused) is told. The client is
    /// not.
    ///
    /// ```
    /// use fanfare::{EventName, Refuse, Server, Socket};
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").packet_middleware(async |_: &Socket, EventName(event): EventName| {
    ///     match event.starts_with("admin:") {
    ///         true => Err(Refuse::new("not yours")),
    ///         false => Ok(()),
    ///     }
    /// });
    /// io.of("/").on_refused(async |socket: Socket, why: Refuse| {
    ///     println!("{}: {}", socket.id(), why.message());
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn packet_middleware<A>(&self, middleware: impl Middleware<A>) -> &Namespace {
        self.ask(Gate::Packet, middleware)
    }

    /// Asks `middleware` before a client joins (`use`). Those of a namespace are asked in the order
    /// in which they were registered; the first that refuses ends it, and the client gets its
    /// [`Refuse`](crate::Refuse) as `connect_error`.
    ///
    /// ```
    /// use fanfare::{Auth, Refuse, Server, Socket};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Token { token: String }
    ///
    /// # fn main() -> fanfare::Result<()> {
    /// let io = Server::builder().build()?;
    /// io.of("/").middleware(async |_: &Socket, Auth(auth): Auth<Token>| {
    ///     match auth.token == "open sesame" {
    ///         true => Ok(()),
    ///         false => Err(Refuse::new("not authorized")),
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn middleware<A>(&self, middleware: impl Middleware<A>) -> &Namespace {
        self.ask(Gate::Connection, middleware)
    }

    /// Sends an event to every socket of the namespace. See [`Emitter::emit`].
    pub fn emit<P: Arguments>(&self, event: impl Emits<P>, args: P) -> Emitted {
        self.emitter().emit(event, args)
    }

    /// Aims at the sockets that are in any of these rooms. See [`Emitter::to`].
    pub fn to(&self, rooms: impl IntoTargets) -> Emitter {
        self.emitter().to(rooms)
    }

    /// Sends an event to every socket of the namespace and gathers what they acknowledge. See
    /// [`Emitter::emit_with_ack`].
    ///
    /// # Errors
    /// The same.
    pub fn emit_with_ack<T: FromArguments, P: Arguments>(
        &self,
        event: impl Asks<P, T>,
        args: P,
    ) -> Acknowledgements<T> {
        self.emitter().emit_with_ack(event, args)
    }

    /// The same as [`to`](Namespace::to); `in` is a keyword of Rust.
    pub fn in_(&self, rooms: impl IntoTargets) -> Emitter {
        self.emitter().to(rooms)
    }

    /// Aims at the sockets that are in none of these rooms. See [`Emitter::except`].
    pub fn except(&self, rooms: impl IntoTargets) -> Emitter {
        self.emitter().except(rooms)
    }

    /// Only the latest event of this key matters. See [`Emitter::coalesce`].
    pub fn coalesce(&self, key: impl Into<Arc<str>>) -> Emitter {
        self.emitter().coalesce(key)
    }

    /// Whether the packet that follows may be compressed. See [`Emitter::compress`].
    pub fn compress(&self, compress: bool) -> Emitter {
        self.emitter().compress(compress)
    }

    /// Aims at everybody; modifiers may follow.
    pub fn emitter(&self) -> Emitter {
        Emitter::new(Arc::clone(&self.shared), Arc::clone(&self.definition))
    }

    /// Tells which sockets there are. See [`Emitter::fetch_sockets`].
    pub fn fetch_sockets(&self) -> FetchSockets {
        self.emitter().fetch_sockets()
    }

    /// The ids of its sockets. See [`Emitter::all_sockets`].
    pub async fn all_sockets(&self) -> HashSet<SocketId> {
        self.emitter().all_sockets().await
    }

    /// Makes all sockets join rooms. See [`Emitter::sockets_join`].
    pub fn sockets_join(&self, rooms: impl IntoTargets) -> Emitted {
        self.emitter().sockets_join(rooms)
    }

    /// Makes all sockets leave rooms. See [`Emitter::sockets_leave`].
    pub fn sockets_leave(&self, rooms: impl IntoTargets) -> Emitted {
        self.emitter().sockets_leave(rooms)
    }

    /// Disconnects all sockets. See [`Emitter::disconnect_sockets`].
    pub fn disconnect_sockets(&self, close: bool) -> Emitted {
        self.emitter().disconnect_sockets(close)
    }

    /// Its sockets, on all shards, to be awaited on any thread (`namespace.sockets`).
    ///
    /// ```no_run
    /// # async fn example(io: fanfare::Server) {
    /// println!("{} clients", io.of("/").sockets().await.len());
    /// # }
    /// ```
    pub async fn sockets(&self) -> HashMap<SocketId, Socket> {
        let found = self.fetch_sockets().await;
        found.iter().map(|socket| (socket.id(), socket.socket())).collect()
    }

    /// Sends the event `message` to all sockets.
    pub fn send(&self, args: impl Arguments) -> Emitted {
        self.emit("message", args)
    }

    /// The same as [`send`](Namespace::send).
    pub fn write(&self, args: impl Arguments) -> Emitted {
        self.send(args)
    }

    /// Aims at everybody whose client is writable at that moment. See [`Emitter::volatile`].
    pub fn volatile(&self) -> Emitter {
        self.emitter().volatile()
    }

    /// Aims at everybody of this process. See [`Emitter::local`].
    pub fn local(&self) -> Emitter {
        self.emitter().local()
    }

    /// How long the `emit_with_ack` that follows waits. See [`Emitter::timeout`].
    pub fn timeout(&self, timeout: Duration) -> Emitter {
        self.emitter().timeout(timeout)
    }

    fn remove(&self, trigger: &Trigger) -> bool {
        let removed = self.definition.remove_handlers(trigger);
        self.shared.changed();
        removed
    }

    fn add<A>(&self, trigger: Trigger, place: Place, handler: impl Handler<A>) -> &Namespace {
        let label = Label::of(self.name(), &trigger);
        self.definition.add_handler(trigger, place, handler::recipe(label, handler));
        self.shared.changed();
        self
    }

    fn ask<A>(&self, gate: Gate, middleware: impl Middleware<A>) -> &Namespace {
        let recipe = handler::middleware_recipe(Label::of_gate(self.name(), gate), middleware);
        self.definition.add_middleware(gate, recipe);
        self.shared.changed();
        self
    }
}

/// A client that asks for a namespace that nobody has made by name: what
/// [`Server::of_matching`](crate::Server::of_matching) decides about.
#[derive(Clone, Debug)]
pub struct Candidate(pub(super) crate::shard::registry::Candidate);

impl Candidate {
    /// The name it asks for, beginning with a slash.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it sent with that (`auth` of the client); `{}` if nothing.
    ///
    /// # Errors
    /// It is no `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, ArgsError> {
        crate::proto::json::from_args(self.0.auth.as_deref().unwrap_or(b"{}"), &[])
    }

    /// The request that opened its session, if it is kept.
    pub fn handshake(&self) -> Option<Handshake> {
        let auth = self.0.auth.as_deref().map(Box::from);
        self.0.request.clone().map(|request| Handshake::new(request, auth))
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Namespace").field(&self.name()).finish()
    }
}

impl std::fmt::Debug for super::server::Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address()).finish_non_exhaustive()
    }
}
