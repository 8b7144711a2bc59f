//! A namespace: its handlers, and emits to its sockets.

use std::sync::Arc;

use crate::proto::json::Arguments;
use crate::shard::handler::{Definition, Trigger};
use crate::shard::shared::Shared;

use super::emit::{Emitted, Emitter};
use super::handler::{self, Handler, Middleware};
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
        self.add(&Trigger::Connect, handler)
    }

    /// Runs `handler` for each event of this name that a client sends. Several handlers of one
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
    pub fn on<A>(&self, event: &str, handler: impl Handler<A>) -> &Namespace {
        let is_reserved = crate::proto::socket::RESERVED_EVENTS.contains(&event);
        assert!(!is_reserved, "{event:?} is reserved: see `on_connect` and `on_disconnect`");
        self.add(&Trigger::Event(event), handler)
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
        self.add(&Trigger::Disconnect, handler)
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
        self.definition.add_middleware(handler::middleware_recipe(middleware));
        self.shared.changed();
        self
    }

    /// Sends an event to every socket of the namespace. See [`Emitter::emit`].
    pub fn emit(&self, event: &str, args: impl Arguments) -> Emitted {
        self.emitter().emit(event, args)
    }

    /// Aims at the sockets that are in any of these rooms. See [`Emitter::to`].
    pub fn to(&self, rooms: impl IntoTargets) -> Emitter {
        self.emitter().to(rooms)
    }

    /// The same as [`to`](Namespace::to); `in` is a keyword of Rust.
    pub fn in_(&self, rooms: impl IntoTargets) -> Emitter {
        self.emitter().to(rooms)
    }

    /// Aims at the sockets that are in none of these rooms. See [`Emitter::except`].
    pub fn except(&self, rooms: impl IntoTargets) -> Emitter {
        self.emitter().except(rooms)
    }

    /// Whether the packet that follows may be compressed. See [`Emitter::compress`].
    pub fn compress(&self, compress: bool) -> Emitter {
        self.emitter().compress(compress)
    }

    /// Aims at everybody; modifiers may follow.
    pub fn emitter(&self) -> Emitter {
        Emitter::new(Arc::clone(&self.shared), Arc::clone(&self.definition))
    }

    fn add<A>(&self, trigger: &Trigger<'_>, handler: impl Handler<A>) -> &Namespace {
        self.definition.add_handler(trigger, handler::recipe(handler));
        self.shared.changed();
        self
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
